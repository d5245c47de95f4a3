"""The outermost layer of every request.

It finds the public base URL (configured, or from X-Forwarded-* of trusted proxies, or from Host), the caller, serves
both slash forms of every path (U-044), turns exceptions into error documents, and counts.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uws_service import telemetry
from uws_service.auth import ANONYMOUS, Network, identify, is_trusted, networks
from uws_service.domain.errors import UnsupportedMediaType, UsageError, UwsError
from uws_service.web.call import Call, Gate
from uws_service.web.errors import error_response
from uws_service.web.hosts import LocalNames
from uws_service.web.presented import PRESENTATION
from uws_service.web.resource import SAFE_VERBS
from uws_service.web.settings import EdgeSettings

log = structlog.get_logger(__name__)

CLIENT_GONE = 499
"""What metrics show for a client that went away before its answer."""
NOSNIFF = (b"x-content-type-options", b"nosniff")
_HOST = re.compile(r"[A-Za-z0-9._~:\[\]-]{1,255}")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")


class Edge:
    """ASGI middleware around the routes."""

    def __init__(self, app: ASGIApp, settings: EdgeSettings) -> None:
        self.app = app
        self.base_url = settings.base_url
        self.root_path = settings.root_path
        self.trusted: tuple[Network, ...] = networks(settings.trusted_proxies)
        self.identity_header = settings.identity_header.lower().encode() if settings.identity_header else None
        self.presentation = settings.presentation
        self.gate: Gate | None = None
        self.local_names = LocalNames(settings)
        self._trust: dict[str | None, bool] = {}
        self._counters: dict[tuple[str, str, int], Any] = {}
        self._histograms: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        PRESENTATION.set(self.presentation)
        status = 0
        call = scope["uws.call"] = Call(ANONYMOUS, self.base_url or "", "", gate=self.gate)

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append(NOSNIFF)
                if call.identity.owner is not None:
                    message["headers"].append((b"x-vo-authenticated", _shown(call.identity.owner)))
            await send(message)

        try:
            self._prepare(scope, call)
            await self.app(scope, receive, counted)
        except UwsError as error:
            if status:
                raise
            await self._answer(error, scope, receive, counted)
        except ClientDisconnect:
            status = status or CLIENT_GONE  # nobody is left to answer
        except Exception as error:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if status:
                raise
            await self._answer(_unexpected(error), scope, receive, counted)
        finally:
            self._count(call, scope["method"], status, time.perf_counter() - began)
            if call.gate is not None and (scope["method"] not in SAFE_VERBS or status in _REFUSED):
                self._audit(call.gate, call, scope, status)

    def _audit(self, gate: Gate, call: Call, scope: Scope, status: int) -> None:
        """Log who did, or tried, what from where.

        The path is logged without its query, which may hold a secret.
        """
        if not gate.audits:
            return
        log.info(
            "audit",
            actor=call.identity.actor,
            issuer=call.identity.issuer,
            by=call.by,
            method=scope["method"],
            path=scope["path"][:512],
            status=status,
            origin=call.origin,
        )

    def _prepare(self, scope: Scope, call: Call) -> None:
        """Find the caller and the public base URL.

        The prefix and the last slash are taken off the path.
        """
        host = forwarded_host = forwarded_proto = forwarded_prefix = forwarded_for = identity_value = cookie = None
        authorization: list[bytes] | None = None
        coding = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name.startswith(b"x-forwarded-"):
                if name == b"x-forwarded-host":
                    forwarded_host = value
                elif name == b"x-forwarded-proto":
                    forwarded_proto = value
                elif name == b"x-forwarded-prefix":
                    forwarded_prefix = value
                elif name == b"x-forwarded-for":
                    forwarded_for = value if forwarded_for is None else forwarded_for + b"," + value
            elif name == self.identity_header:
                identity_value = value
            elif name == b"authorization":
                authorization = [*(authorization or ()), value]
            elif name == b"cookie":
                cookie = value if cookie is None else cookie + b"; " + value
            elif name == b"content-encoding":
                coding += value
        client = scope["client"][0] if scope.get("client") else None
        called_host = host
        prefix = self.root_path or scope.get("root_path", "")
        scheme = scope["scheme"]
        identity = ANONYMOUS
        origin = client or ""
        direct = not (forwarded_host or forwarded_proto or forwarded_prefix or forwarded_for)
        if (identity_value or not direct) and self._trusts(client):
            host = _first(forwarded_host) or host
            scheme = (_first(forwarded_proto) or scheme.encode()).decode("latin-1").lower()
            if forwarded_prefix:
                prefix = (_first(forwarded_prefix) or b"").decode("latin-1").rstrip("/")
            identity = identify(identity_value.decode("utf-8", "replace") if identity_value else None)
            if forwarded_for is not None:
                origin = self._origin(forwarded_for) or origin
        base = self.base_url or _base(scheme, host, scope, prefix)
        call.identity, call.base, call.origin = identity, base, origin
        call.authorization, call.cookie, call.direct = authorization, cookie, direct
        path: str = scope["path"]
        if prefix and (path == prefix or path.startswith(prefix + "/")):
            path = path[len(prefix) :] or "/"
        if len(path) > 1 and path[-1] == "/":
            path = path.rstrip("/") or "/"
        scope["path"] = path
        scope["root_path"] = ""
        # No page of another name has a token that is good here; where none is looked at, it could send any.
        is_ours = path.startswith(("/agent/v1/", "/runner/v1/")) or (self.gate and self.gate.verifies_tokens)
        if authorization is None or not is_ours:
            self.local_names.require(scope, called_host)
        if coding:
            _require_plain(coding.decode("latin-1"))

    def _origin(self, forwarded_for: bytes) -> str:
        """Return the address that the outermost trusted proxy saw.

        Each proxy appends the address that it got the request from; what others wrote may be false.
        """
        for entry in reversed(forwarded_for.decode("latin-1").split(",")):
            address = entry.strip()[:64]
            if not address.isprintable():
                return ""
            if not self._trusts(address):
                return address
        return ""

    def _trusts(self, client: str | None) -> bool:
        trusted = self._trust.get(client)
        if trusted is None:
            if len(self._trust) > 10_000:
                self._trust.clear()
            trusted = self._trust[client] = is_trusted(client, self.trusted)
        return trusted

    async def _answer(self, error: UwsError, scope: Scope, receive: Receive, send: Send) -> None:
        response = error_response(error, Request(scope, receive))
        await response(scope, receive, send)

    def _count(self, call: Call, method: str, status: int, seconds: float) -> None:
        route = call.resource.__name__ if call.resource is not None else "none"
        method = method if method in _METHODS else "other"
        key = (route, method, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = telemetry.REQUESTS.labels(route, method, str(status))
        counter.inc()
        if not call.waited:
            histogram = self._histograms.get(route)
            if histogram is None:
                histogram = self._histograms[route] = telemetry.REQUEST_SECONDS.labels(route)
            histogram.observe(seconds)


_HEADER_SAFE = "@/:!$&'()*+,;=~ "
"""Characters of an owner that stand in a header as they are."""
_REFUSED = frozenset({401, 403, 429})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


@lru_cache(4096)
def _require_plain(coding: str) -> None:
    """Refuse a body in a coding.

    Its bytes would pass for a value (RFC 9110 §8.4).
    """
    if coding.lower() != "identity":
        raise UnsupportedMediaType(f"A body with Content-Encoding {coding[:40]!r} is not taken; send it as it is.")


@lru_cache(4096)
def _shown(owner: str) -> bytes:
    return quote(owner, _HEADER_SAFE).encode()


def _unexpected(error: Exception) -> UwsError:
    return UwsError("Something went wrong inside the service; its log says what. Nothing was changed by this request.")


def _first(value: bytes | None) -> bytes | None:
    """Return the first of a proxy chain's values."""
    return value.split(b",", 1)[0].strip() if value else None


def _base(scheme: str, host: bytes | None, scope: Scope, prefix: str) -> str:
    """Return the public root as the request shows it.

    Names that could not be in a URL are refused.
    """
    if host is None:
        server = scope.get("server") or ("localhost", None)
        authority = f"{server[0]}:{server[1]}" if server[1] else str(server[0])
    else:
        authority = host.decode("latin-1")
    if not _HOST.fullmatch(authority):
        raise UsageError("The Host header is not a host name.")
    if scheme not in ("http", "https"):
        raise UsageError("The X-Forwarded-Proto header must be http or https.")
    if not _PREFIX.fullmatch(prefix):
        raise UsageError("The X-Forwarded-Prefix header is not a path.")
    return f"{scheme}://{authority}{prefix}"

"""Verification of tokens: signature, claims, introspection, cache.

The cache is keyed by the token's SHA-256 and holds valid tokens only. An entry ends with its token, and all end when an
issuer withdraws a key.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx2
import structlog

from uws_service import telemetry
from uws_service.auth.answers import BadAnswer, fetch_answer
from uws_service.auth.claims import identity_of, is_jwt, peek, require_claims, require_form
from uws_service.auth.credentials import invalid
from uws_service.auth.identity import Identity
from uws_service.auth.keys import IssuerFault, IssuerKeys
from uws_service.auth.quotas import BadTokens
from uws_service.auth.settings import Auth
from uws_service.byte_cache import ByteCache
from uws_service.domain.errors import ServiceUnavailable

log = structlog.get_logger(__name__)

MAX_REFUSED = 20_000
"""Refused tokens that are cached at once."""
CACHE_BYTES = 32 * 1024 * 1024
"""Bytes of all cached identities."""
MAX_IDENTITY_BYTES = 64 * 1024
"""Bytes of one cached identity."""
OPAQUE_SECONDS = 60.0
"""For so long at most an introspection is cached: a revoked token ends soon."""
REFUSED_SECONDS = 10.0
"""For so long a refusal is cached, so that nobody can make us ask the issuer all the time."""
MAX_INTROSPECTIONS = 20
"""Introspections at once at one issuer."""
MAX_CONNECTIONS = 30
"""Connections to one issuer: introspection leaves some for its keys and for logins."""
_VERIFIED = telemetry.TOKENS.labels("verified")


class Tokens:
    """Verifies tokens of all issuers in the settings.

    Parameters
    ----------
    clock
        The present instant in seconds since the epoch.
    rank
        Adds to an identity what it is here, such as an administrator.
    """

    def __init__(
        self,
        settings: Auth,
        *,
        clock: Callable[[], float] = time.time,
        rank: Callable[[Identity], Identity] = lambda identity: identity,
    ) -> None:
        self.settings = settings
        self._rank = rank
        self._clock = clock
        # Connections of its own for each issuer: one that is slow delays its own callers alone.
        self.issuers = {
            issuer.url.rstrip("/"): IssuerKeys(
                issuer, _client(settings.timeout), clock, stale=settings.stale_keys, changed=self.forget
            )
            for issuer in settings.issuers
        }
        self._bad_tokens = BadTokens(settings.bad_tokens)
        self._verified: ByteCache[bytes, tuple[Identity, float, int]] = ByteCache(CACHE_BYTES, MAX_IDENTITY_BYTES)
        self._headers: ByteCache[bytes, tuple[Identity, float, str]] = ByteCache(CACHE_BYTES, MAX_IDENTITY_BYTES)
        self._refused: dict[bytes, float] = {}
        self._introspections = {url: asyncio.Semaphore(MAX_INTROSPECTIONS) for url in self.issuers}

    async def close(self) -> None:
        """Close all connections."""
        for issuer in self.issuers.values():
            await issuer.http.aclose()

    def forget(self) -> None:
        """Verify every token anew."""
        self._verified.clear()
        self._headers.clear()

    def cached_header(self, header: bytes) -> tuple[Identity, str] | None:
        """Return the cached identity of an Authorization header, and the token in it."""
        entry = self._headers.get(hashlib.sha256(header).digest())
        return (entry[0], entry[2]) if entry is not None and self._clock() < entry[1] else None

    async def identify(self, header: bytes, token: str, *, address: str) -> Identity:
        """Return the identity of the token in an Authorization header, and cache it by the header.

        Raises what `verify` raises.
        """
        key = hashlib.sha256(token.encode()).digest()
        entry = self._verified.get(key)
        if entry is None or self._clock() >= entry[1]:
            with self.counted(address):
                identity, _ = await self._verify(token, key, None)
            entry = self._verified.get(key)  # none if it was too large
        else:
            identity = entry[0]
        if entry is not None:
            _, until, size = entry
            self._headers.put(hashlib.sha256(header).digest(), (identity, until, token), size + len(token))
        return identity

    def cached(self, token: str) -> Identity | None:
        """Return the cached identity of a token."""
        entry = self._verified.get(hashlib.sha256(token.encode()).digest())
        return entry[0] if entry is not None and self._clock() < entry[1] else None

    async def verify(
        self, token: str, *, address: str = "", issuer: IssuerKeys | None = None
    ) -> tuple[Identity, float]:
        """Return a token's identity, and when the token expires.

        Parameters
        ----------
        address
            Where the token came from: an address that sent too many bad ones waits. Empty: not counted.
        issuer
            The only issuer that it may be from. None: any that is trusted.

        Raises
        ------
        AuthenticationRequired
            The token is not good; the message says why.
        TooManyRequests
            Too many bad ones came from this address.
        ServiceUnavailable
            The issuer can't be asked now.
        """
        with self.counted(address):
            return await self._verify(token, hashlib.sha256(token.encode()).digest(), issuer)

    def counted(self, address: str) -> AbstractContextManager[None]:
        """Count what is tried inside as a bad token of an address, unless it turns out to be good."""
        return self._bad_tokens.counted(address, self._clock())

    async def _verify(self, token: str, key: bytes, issuer: IssuerKeys | None) -> tuple[Identity, float]:
        try:
            if is_jwt(token):
                identity, ends = await self._verify_jwt(token, issuer)
                until = min(ends + self.settings.leeway, self._clock() + self.settings.cache)
            else:
                identity, ends = await self._introspect(token, key, issuer)
                until = min(ends, self._clock() + min(OPAQUE_SECONDS, self.settings.cache))
        except Exception as error:
            telemetry.TOKENS.labels("unavailable" if isinstance(error, ServiceUnavailable) else "refused").inc()
            raise
        _VERIFIED.inc()
        identity = self._rank(identity)
        size = _size(identity)
        self._verified.put(key, (identity, until, size), size)
        return identity, ends

    async def _verify_jwt(self, token: str, only: IssuerKeys | None) -> tuple[Identity, float]:
        peeked, kind = peek(token)
        issuer = self.issuers.get(peeked.issuer.rstrip("/"))
        if issuer is None:
            urls = ", ".join(keys.settings.url for keys in self.issuers.values())
            raise invalid(f"Tokens of the issuer {peeked.issuer[:200]!r} are not taken; taken: {urls}.")
        if only not in (None, issuer):
            raise invalid(f"The token is of the issuer {issuer.settings.host}, which did not give it.")
        require_form(peeked, kind, issuer.settings)
        claims, issuer_name = await self.verified_claims(issuer, token, peeked.key_id)
        ends = require_claims(claims, issuer.settings, issuer_name, self._clock(), self.settings.leeway)
        return identity_of(claims, issuer.settings), ends

    async def verified_claims(self, issuer: IssuerKeys, token: str, key_id: str) -> tuple[Mapping[str, Any], str]:
        """Verify the signature.

        Return the claims and the issuer's name.
        """
        from joserfc import jwt  # with all of cryptography, which a service without issuers never needs
        from joserfc.errors import JoseError

        issuer_name, keys = await issuer.keys(key_id)
        if not keys:
            raise invalid(f"The token is signed with a key that {issuer.settings.host} does not have.")
        for key in keys:
            try:
                return jwt.decode(token, key, algorithms=list(issuer.settings.algorithms)).claims, issuer_name
            except (JoseError, ValueError, TypeError):
                continue
        raise invalid(f"The token's signature is not that of {issuer.settings.host}.")

    def _introspecting(self, token: str) -> IssuerKeys | None:
        """Return the issuer that may see an opaque token."""
        for issuer in self.issuers.values():
            if issuer.settings.introspection and token.startswith(issuer.settings.token_prefix or ""):
                return issuer
        return None

    async def _introspect(self, token: str, key: bytes, only: IssuerKeys | None) -> tuple[Identity, float]:
        issuer = self._introspecting(token)
        if issuer is None or only not in (None, issuer):
            raise invalid("The token is not a signed JWT, nor one that an issuer can be asked about.")
        now = self._clock()
        if self._refused.get(key, 0) > now:
            raise invalid("The token is not known to its issuer, or no longer.")
        try:
            async with self._introspection(issuer):
                claims = await self._ask(issuer, token)
                name = (await issuer.metadata()).issuer
        except IssuerFault as error:
            log.warning("an issuer can't be asked about a token", issuer=issuer.settings.url, problem=str(error))
            raise ServiceUnavailable("The issuer of this token can't be asked now.", retry_after=5) from None
        if claims.get("active") is not True:
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            self._refused[key] = now + REFUSED_SECONDS
            raise invalid("The token is not known to its issuer, or no longer.")
        claims = {"iss": name, **claims}
        ends = require_claims(claims, issuer.settings, name, now, self.settings.leeway)
        return identity_of(claims, issuer.settings), ends

    @asynccontextmanager
    async def _introspection(self, issuer: IssuerKeys) -> AsyncIterator[None]:
        """Hold one of the issuer's places.

        Raise `IssuerFault` if none is free in time.
        """
        places = self._introspections[issuer.settings.url.rstrip("/")]
        try:
            async with asyncio.timeout(self.settings.timeout):
                await places.acquire()
        except TimeoutError:
            raise IssuerFault("too many tokens wait for it") from None
        try:
            yield
        finally:
            places.release()

    async def _ask(self, issuer: IssuerKeys, token: str) -> dict[str, Any]:
        settings = issuer.settings
        url = (await issuer.metadata()).endpoint("introspection_endpoint")
        return await self.post(issuer, url, {"token": token, "token_type_hint": "access_token"}, settings.client_id)

    async def post(
        self, issuer: IssuerKeys, url: str, form: Mapping[str, str], client_id: str | None
    ) -> dict[str, Any]:
        """Send a form to the issuer, authenticated as its client; raise `IssuerFault`."""
        secret = issuer.settings.client_secret
        headers, data = {"accept": "application/json"}, dict(form)
        if secret is not None and client_id is not None:
            pair = f"{quote(client_id, safe='')}:{quote(secret.get_secret_value(), safe='')}"  # RFC 6749 §2.3.1
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif client_id is not None:
            data["client_id"] = client_id
        try:
            answer = await fetch_answer(issuer.http, "POST", url, data=data, headers=headers)
            value = answer.json()
        except BadAnswer as error:
            raise IssuerFault(f"{url}: {error}") from None
        if answer.status != 200 or not isinstance(value, dict):
            word = str((value.get("error") if isinstance(value, dict) else None) or "")[:100]
            refusal = word if answer.status in (400, 401, 403) else ""
            raise IssuerFault(f"{url} answers {answer.status} {word}".rstrip(), refusal)
        return value


def _client(timeout: float) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        timeout=timeout,
        limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        follow_redirects=False,
        trust_env=False,
        headers={"user-agent": "uws-service"},
    )


def _size(identity: Identity) -> int:
    """Estimate the bytes of an identity, with its key."""
    return 32 + 2 * len(repr(identity))

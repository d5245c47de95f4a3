"""The servers that get webhooks: which may be named, and one request to one (E-024, E-025).

The same rules as for what jobs fetch: every address of a name is checked, the connection goes to an address that was
checked, nothing is followed, and proxies in the environment are not used. The whole exchange has one time limit.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2

from uws_service.agent.fetch import FetchError, Policy, resolve
from uws_service.domain.errors import UsageError
from uws_service.service.notification_settings import Webhooks

TIMEOUT_SECONDS = 15.0
PORTS = frozenset({443, 8443})
MAX_URL_CHARACTERS = 2000
_PRINTABLE = re.compile(r"[!-~]+")


class Answer(NamedTuple):
    """What a receiver answered; ``retry_after`` in milliseconds."""

    status: int
    retry_after: int | None = None


class Unreached(Exception):
    """No answer; the text says why, for the subscriber."""


class Receivers:
    """Sends requests to servers that callers name."""

    def __init__(self, settings: Webhooks, user_agent: str) -> None:
        self.settings = settings
        self._user_agent = user_agent
        self._policy = Policy(settings.allow_private, settings.allow_hosts, timeout=TIMEOUT_SECONDS)
        self._client: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def require_allowed(self, url: str) -> None:
        """Raise `UsageError` unless events may be sent there."""
        host, port = self._checked(url)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await asyncio.to_thread(resolve, host, port, self._policy)
        except (FetchError, TimeoutError) as error:
            raise UsageError(f"URL: {error or 'its host is not found in time.'}") from None

    def _checked(self, url: str) -> tuple[str, int]:
        """Return host and port of a URL."""
        problem = "URL must be an https URL of a server of yours"
        if len(url) > MAX_URL_CHARACTERS or not _PRINTABLE.fullmatch(url):
            raise UsageError(f"{problem}, without spaces, of at most {MAX_URL_CHARACTERS} characters.")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"{problem}: {error}.") from None
        schemes = ("https", "http") if self.settings.allow_private else ("https",)
        if parts.scheme not in schemes or not host:
            raise UsageError(f"{problem}.")
        if parts.username is not None or parts.fragment or "#" in url:
            raise UsageError(f"{problem}, without a user, a password and a fragment.")
        port = port if port is not None else 443 if parts.scheme == "https" else 80
        is_named = host.lower() in {name.lower() for name in self.settings.allow_hosts}
        if port not in PORTS and not (is_named or self.settings.allow_private):
            raise UsageError(f"{problem}, at port {' or '.join(map(str, sorted(PORTS)))}.")
        return host, port

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Send a request.

        Return its answer without the body.

        Raises
        ------
        Unreached
            The host is not allowed any more, or there was no answer in time.
        """
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._post(url, body, headers)
        except TimeoutError:
            raise Unreached(f"no answer in {TIMEOUT_SECONDS:.0f} s") from None
        except (FetchError, UsageError) as error:
            raise Unreached(str(error)) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError) as error:
            raise Unreached(f"{type(error).__name__}: {error}"[:200]) from None

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        host, port = self._checked(url)
        addresses = await asyncio.to_thread(resolve, host, port, self._policy)
        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=ssl.create_default_context(), trust_env=False, follow_redirects=False, timeout=TIMEOUT_SECONDS
            )
        address = addresses[0]
        literal = f"[{address}]" if ":" in address else address
        parts = urlsplit(url)
        target = parts._replace(netloc=f"{literal}:{port}", fragment="").geturl()
        host_name = f"[{host}]" if ":" in host else host
        authority = host_name if port == (443 if parts.scheme == "https" else 80) else f"{host_name}:{port}"
        request = self._client.build_request(
            "POST",
            target,
            content=body,
            headers={**headers, "host": authority, "user-agent": self._user_agent, "connection": "close"},
            extensions={"sni_hostname": host},
        )
        response = await self._client.send(request, stream=True)
        await response.aclose()
        return Answer(response.status_code, _milliseconds(response.headers.get("retry-after")))


def _milliseconds(value: str | None) -> int | None:
    """Return the seconds of a Retry-After header.

    A date is not looked at.
    """
    return int(value) * 1000 if value is not None and value.isascii() and value.isdigit() and len(value) < 8 else None

"""The runner's way to the service: HTTPS from here to there, and nothing in the other direction.

The runner speaks for its site as long as a session's lease holds, by a clock that goes on while the machine sleeps.
Before it begins an attempt it asks `Link.may_act`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import structlog

from uws_service import __version__
from uws_service.domain.errors import ServiceUnavailable, UwsError
from uws_service.runner.settings import Client, RunnerSettings, secret_in
from uws_service.sites.remote.messages import Key

log = structlog.get_logger(__name__)

FINAL = frozenset({400, 403, 413, 422})
"""Statuses after which the same request never succeeds, if they come from the service itself."""
ANSWER_BYTES = 64 * 1024 * 1024
"""Of an answer in JSON: orders hold what attempts run."""
SESSION = "session"
MARGIN_SECONDS = 4.0
"""So long before the lease's end the runner stops to act on it."""
TIMEOUT_SECONDS = 20.0
TOKEN_MARGIN_SECONDS = 30.0
ERROR_BYTES = 4096


class LinkDown(ServiceUnavailable):
    """The service can't be called now, or says so itself."""


class Refusal(UwsError):
    """The service's answer is no, and will stay so."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class SessionOver(UwsError):
    """Another session speaks for the site."""

    status = 409


class Credentials:
    """What the runner shows.

    Its key, or a token of its client that is fetched when it is needed.
    """

    def __init__(self, settings: RunnerSettings, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._client: Client | None = settings.client
        self._key = secret_in(settings.key_file) if settings.key_file is not None else ""
        self._secret = secret_in(settings.client.secret_file) if settings.client is not None else ""
        self._until = 0.0

    async def current(self) -> str:
        """Return what is to be shown now.

        Raise `LinkDown` if the issuer does not answer.
        """
        if self._client is None or time.monotonic() < self._until:
            return self._key
        form = {"grant_type": "client_credentials"}
        form |= {"scope": self._client.scope} if self._client.scope else {}
        form |= {"audience": self._client.audience} if self._client.audience else {}
        try:
            answer = await self._http.post(
                self._client.token_url, data=form, auth=httpx2.BasicAuth(self._client.client_id, self._secret)
            )
            content = answer.json() if answer.status_code == 200 else {}
            self._key = str(content["access_token"])
            lifetime = float(content.get("expires_in", 300))
        except (httpx2.HTTPError, OSError, KeyError, TypeError, ValueError) as error:
            raise LinkDown(f"The issuer gives no token: {type(error).__name__}", retry_after=5) from None
        self._until = time.monotonic() + max(1.0, lifetime - TOKEN_MARGIN_SECONDS)
        return self._key

    def drop(self) -> None:
        """Fetch another token at the next request.

        This one was refused.
        """
        self._until = 0.0


class Link:
    """Calls the service for one site.

    Parameters
    ----------
    settings
        Where the service is, and what the runner shows there.
    """

    def __init__(self, settings: RunnerSettings) -> None:
        context = ssl.create_default_context(cafile=str(settings.ca) if settings.ca is not None else None)
        timeout = httpx2.Timeout(TIMEOUT_SECONDS, connect=10.0)
        headers = {"user-agent": f"uws-runner/{__version__}", "accept": "application/json"}
        self._http = httpx2.AsyncClient(verify=context, timeout=timeout, headers=headers, follow_redirects=False)
        self._root = f"{settings.service}/runner/v1/{settings.site}"
        self._credentials = Credentials(settings, self._http)
        self._session = ""
        self._lease = 0.0
        self._good_until = 0.0
        self.last_contact = _uptime()
        """When the service last answered (seconds of `_uptime`)."""
        self.is_up = False
        """Whether the last request was answered."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when the link comes up."""

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def may_act(self) -> bool:
        """Return whether the runner certainly speaks for the site now."""
        return _uptime() < self._good_until

    def silence(self) -> float:
        """Return for how many seconds the service has not answered."""
        return _uptime() - self.last_contact

    async def open(self, hello: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a session; return what the service says.

        Raises
        ------
        LinkDown
            It can't be called.
        Refusal
            It does not take this runner: its key is wrong, or another one speaks for the site.
        """
        self._session = ""
        content: dict[str, Any] = await self.post(SESSION, hello)
        self._session = f"{hello['runner']} {content['epoch']}"
        self._lease = float(content["lease"])
        self._good_until = _uptime() + self._lease - MARGIN_SECONDS
        return content

    async def end(self) -> None:
        """End the session."""
        self._good_until = 0.0
        if self._session:
            await self.request("DELETE", SESSION)

    async def post(self, path: str, content: Mapping[str, Any], *, wait: float = 0.0) -> Any:
        """Send JSON; return the JSON that comes back. ``wait`` is how long the service may take on purpose."""
        body = json.dumps(content).encode()
        return await self.request("POST", path, body, {"content-type": "application/json"}, wait=wait)

    async def put(self, path: str, chunks: AsyncIterator[bytes], size: int, sha256: str) -> None:
        """Send a file of a known size and digest."""
        headers = {"content-length": str(size), "x-content-sha256": sha256, "content-type": "application/octet-stream"}
        await self.request("PUT", path, chunks, headers)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        wait: float = 0.0,
    ) -> Any:
        """Send a request.

        Return the JSON of its answer, or nothing.
        """
        async with self._answer(method, path, body, headers or {}, wait) as answer:
            content = b""
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > ANSWER_BYTES:
                    raise LinkDown(f"{path}: the answer is too large")
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise LinkDown(f"{path}: the answer is not JSON") from None

    async def download(self, path: str) -> AsyncIterator[bytes]:
        """Yield the bytes of a file.

        Raise `LinkDown` if it is cut short.
        """
        async with self._answer("GET", path, None, {}, 0.0) as answer:
            announced, size = answer.headers.get("content-length", ""), 0
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
                yield chunk
            if announced.isdigit() and size != int(announced):
                raise LinkDown(f"{path}: cut short")

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: bytes | AsyncIterator[bytes] | None, headers: Mapping[str, str], wait: float
    ) -> AsyncIterator[httpx2.Response]:
        began = _uptime()
        session = self._session
        if not session and path != SESSION:
            raise LinkDown(f"{path}: there is no session yet")
        shown = {"authorization": f"Bearer {await self._credentials.current()}"}
        if session:
            shown["x-uws-runner"] = session
        timeout = httpx2.Timeout(TIMEOUT_SECONDS + wait, connect=10.0)
        url = f"{self._root}/{path}"
        try:
            async with self._http.stream(
                method, url, content=body, headers={**headers, **shown}, timeout=timeout
            ) as answer:
                if answer.status_code >= 300:
                    await self._complain(method, path, answer)
                if session and session == self._session:
                    self._good_until = max(self._good_until, began + self._lease - MARGIN_SECONDS)
                self._answered()
                yield answer
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            self._failed(error)
            raise LinkDown(f"{path}: {type(error).__name__} {error}".strip()) from None

    def _answered(self) -> None:
        self.last_contact = _uptime()
        if not self.is_up:
            self.is_up = True
            log.info("the service answers")
            self.on_change()

    def _failed(self, error: Exception) -> None:
        if self.is_up:
            self.is_up = False
            log.warning("the service can't be called", error=f"{type(error).__name__} {error}".strip())

    async def _complain(self, method: str, path: str, answer: httpx2.Response) -> None:
        """Raise what a refusal means.

        Only the service's own words count as its no, as results are dropped then: a proxy on the way may say anything.
        """
        content = b""
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > ERROR_BYTES:
                break
        status, message = answer.status_code, _message_of(content, answer.status_code)
        if status == 401:
            self._credentials.drop()
        if message and status == 409:
            self._good_until = 0.0
            raise SessionOver(message)
        if message and (status in FINAL or (status == 404 and method == "GET")):
            raise Refusal(message, status)
        raise LinkDown(f"{path}: {status} {message or 'without words of the service'}", retry_after=2)


def attempt_path(key: Key, rest: str) -> str:
    """Return the path of something of an attempt."""
    return f"attempts/{key[0]}/{key[1]}/{rest}"


async def pause(seconds: float, wake: asyncio.Event | None = None) -> None:
    """Wait so long, or until an event is set."""
    if wake is None:
        await asyncio.sleep(seconds)
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(wake.wait(), seconds)


def _message_of(content: bytes, status: int) -> str:
    """Return the words of the service's error document.

    Empty for one of somebody else.
    """
    try:
        value = json.loads(content)
        return str(value["message"])[:500] if value["status"] == status else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _uptime() -> float:
    """Return seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

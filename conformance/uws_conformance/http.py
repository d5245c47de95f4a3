"""The HTTP client of the checks.

It never follows a redirect by itself, records each exchange, and bounds time, size and rate.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urljoin

import httpx2

from uws_conformance.outcomes import Broken, Skipped

MAX_BODY_CHARACTERS = 20_000  # of a body in a report
BOUNDARY = "uws-conformance-boundary-5b1d0c"
SECRET_HEADERS = ("authorization", "cookie", "set-cookie", "x-vo-bearer", "proxy-authorization")
Form = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """A response as it was received.

    No redirect was followed; header names are in lower case.
    """

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    challenges: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def media_type(self) -> str:
        """Return the media type without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def location(self) -> str:
        """Return the absolute ``Location``, or an empty string."""
        raw = self.headers.get("location", "")
        return urljoin(self.url, raw) if raw else ""

    def __str__(self) -> str:
        return f"{self.method} {self.url} → {self.status}"


@dataclass(frozen=True)
class Exchange:
    """A recorded request and reply without credentials."""

    method: str
    url: str
    request_headers: Mapping[str, str]
    request_body: str
    status: int
    reply_headers: Mapping[str, str]
    reply_body: str
    seconds: float


@dataclass
class Limits:
    """The limits of the client."""

    timeout: float = 30.0
    max_body_bytes: int = 8_000_000
    total_seconds: float = 900.0  # for all checks together
    requests_per_second: float = 0.0  # 0: unlimited
    read_only: bool = False


@dataclass(frozen=True)
class Identity:
    """Headers with credentials; without any it is anonymous."""

    name: str = "anonymous"
    headers: Mapping[str, str] = field(default_factory=dict)


ANONYMOUS = Identity()


class Client:
    """A client that records its exchanges.

    Requests carry the identity of the client unless another is given.
    """

    def __init__(self, limits: Limits, identity: Identity = ANONYMOUS, verify: bool = True) -> None:
        self.limits, self.identity = limits, identity
        self.exchanges: list[Exchange] = []
        self.secrets: set[str] = set(identity.headers.values())
        self._lock = threading.Lock()
        self._next_start = 0.0
        self._http = httpx2.Client(verify=verify, follow_redirects=False, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(
        self,
        method: str,
        url: str,
        form: Form | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        boundary: str = BOUNDARY,
        chunked: bool = False,
        identity: Identity | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Send a request and return the reply.

        Trouble with the connection breaks the check with a clear message.
        """
        if self.limits.read_only and method not in ("GET", "HEAD", "OPTIONS"):
            raise Skipped("--read-only: nothing is created or changed")
        self._wait_for_turn()
        sender = self.identity if identity is None else identity
        self.secrets.update(sender.headers.values())
        request_headers = {
            "Accept": "*/*",
            "User-Agent": "uws-conformance",
            "Accept-Encoding": "identity",
            **sender.headers,
        }
        request_headers |= headers or {}
        if files is not None:
            content, request_headers["Content-Type"] = multipart(form or (), files, boundary)
        elif form is not None and content is None:
            content = urlencode(form).encode()
            request_headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        timeout_seconds = timeout or self.limits.timeout
        reply = self._send_within(
            timeout_seconds, method, url, request_headers, iter([content]) if chunked and content else content
        )
        self._record(reply, request_headers, content or b"")
        return reply

    def _send_within(
        self,
        timeout_seconds: float,
        method: str,
        url: str,
        request_headers: Mapping[str, str],
        content: bytes | Iterator[bytes] | None,
    ) -> Reply:
        """Exchange within a time limit, in a thread.

        A server may send headers so slowly that no read times out.
        """
        outcome: list[Reply | BaseException] = []

        def exchange() -> None:
            try:
                outcome.append(self._exchange(timeout_seconds, method, url, request_headers, content))
            except Exception as error:  # raised again below, in the caller's thread
                outcome.append(error)

        thread = threading.Thread(target=exchange, daemon=True)
        thread.start()
        thread.join(timeout_seconds + 1)
        if not outcome:
            raise Broken(f"{method} {url}: no complete answer within {timeout_seconds:g} s")
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def _exchange(
        self,
        timeout_seconds: float,
        method: str,
        url: str,
        request_headers: Mapping[str, str],
        content: bytes | Iterator[bytes] | None,
    ) -> Reply:
        started = time.monotonic()
        body = bytearray()
        try:
            with self._http.stream(
                method, url, content=content, headers=request_headers, timeout=timeout_seconds
            ) as response:
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > self.limits.max_body_bytes:
                        raise Broken(f"{method} {url}: the answer is longer than {self.limits.max_body_bytes} bytes")
                    if time.monotonic() - started > timeout_seconds:
                        raise Broken(f"{method} {url}: the answer did not end within {timeout_seconds:g} s")
        except httpx2.TimeoutException as error:
            raise Broken(f"{method} {url}: no answer within {timeout_seconds:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise Broken(f"{method} {url}: {error or type(error).__name__}") from error
        seconds = time.monotonic() - started
        headers = {name.lower(): value for name, value in response.headers.items()}
        challenges = tuple(response.headers.get_list("www-authenticate"))
        return Reply(method, url, response.status_code, headers, bytes(body), seconds, challenges)

    def _wait_for_turn(self) -> None:
        if self.limits.requests_per_second <= 0:
            return
        with self._lock:
            now = time.monotonic()
            pause = max(0.0, self._next_start - now)
            self._next_start = max(now, self._next_start) + 1 / self.limits.requests_per_second
        time.sleep(pause)

    def _record(self, reply: Reply, request_headers: Mapping[str, str], content: bytes) -> None:
        exchange = Exchange(
            reply.method,
            self._redact(reply.url),
            self._redact_headers(request_headers),
            self._redact(content.decode("utf-8", "replace")[:MAX_BODY_CHARACTERS]),
            reply.status,
            self._redact_headers(reply.headers),
            self._redact(reply.text[:MAX_BODY_CHARACTERS]),
            reply.seconds,
        )
        with self._lock:
            self.exchanges.append(exchange)

    def _redact_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {
            key: "(redacted)" if key.lower() in SECRET_HEADERS else self._redact(value)
            for key, value in headers.items()
        }

    def _redact(self, text: str) -> str:
        for secret in self.secrets:
            for part in {secret, secret.rpartition(" ")[2]}:
                if len(part) > 3:
                    text = text.replace(part, "(redacted)")
        return re.sub(r"(//)[^/@\s]+@", r"\1(redacted)@", text)


def multipart(form: Form, files: Mapping[str, tuple[str, bytes, str]], boundary: str = BOUNDARY) -> tuple[bytes, str]:
    """Return a multipart body and its Content-Type.

    ``files`` maps part names to file name, bytes and media type.
    """
    lines: list[bytes] = []
    for name, value in form:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        lines.append(head.encode())
    for name, (filename, data, media_type) in files.items():
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
            f"Content-Type: {media_type}\r\n\r\n"
        )
        lines.append(head.encode() + data + b"\r\n")
    return b"".join([*lines, f"--{boundary}--\r\n".encode()]), f'multipart/form-data; boundary="{boundary}"'

"""The HTTP client: never follows a redirect by itself, records each exchange, bounds time, size and rate."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urljoin

import httpx2

from uws_conformance.outcomes import Broken, Skipped

KEPT = 20_000  # characters of a body that a report shows
BOUNDARY = "uws-conformance-boundary-5b1d0c"
SECRET = ("authorization", "cookie", "set-cookie", "x-vo-bearer", "proxy-authorization")
Form = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """One answer as it came: no redirect followed, header names in lower case."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    challenges: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def location(self) -> str:
        """``Location`` made absolute, or an empty string."""
        raw = self.headers.get("location", "")
        return urljoin(self.url, raw) if raw else ""

    def __str__(self) -> str:
        return f"{self.method} {self.url} → {self.status}"


@dataclass(frozen=True)
class Exchange:
    """A request and its reply for the reports, credentials taken out."""

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
    """The manners of the client."""

    timeout: float = 30.0
    size: int = 8_000_000
    total: float = 900.0  # seconds for all checks together
    rate: float = 0.0  # requests in a second, 0: as fast as they come
    read_only: bool = False


@dataclass(frozen=True)
class Identity:
    """Who asks: headers that carry the credentials; none is anonymous."""

    name: str = "anonymous"
    headers: Mapping[str, str] = field(default_factory=dict)


ANONYMOUS = Identity()


class Client:
    """Sends requests for one identity unless told another, and remembers them in ``exchanges``."""

    def __init__(self, limits: Limits, identity: Identity = ANONYMOUS, verify: bool = True) -> None:
        self.limits, self.identity = limits, identity
        self.exchanges: list[Exchange] = []
        self.secrets: set[str] = set(identity.headers.values())
        self._lock = threading.Lock()
        self._next = 0.0
        self._http = httpx2.Client(verify=verify, follow_redirects=False, trust_env=False)

    def close(self) -> None:
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
        """Send one request; trouble with the connection breaks the check with a clear line."""
        if self.limits.read_only and method not in ("GET", "HEAD", "OPTIONS"):
            raise Skipped("--read-only: nothing is created or changed")
        self._pace()
        who = self.identity if identity is None else identity
        self.secrets.update(who.headers.values())
        sent = {"Accept": "*/*", "User-Agent": "uws-conformance", "Accept-Encoding": "identity", **who.headers}
        sent |= headers or {}
        if files is not None:
            content, sent["Content-Type"] = multipart(form or (), files, boundary)
        elif form is not None and content is None:
            content = urlencode(form).encode()
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        limit = timeout or self.limits.timeout
        reply = self._within(limit, method, url, sent, iter([content]) if chunked and content else content)
        self._record(reply, sent, content or b"")
        return reply

    def _within(
        self, limit: float, method: str, url: str, sent: Mapping[str, str], content: bytes | Iterator[bytes] | None
    ) -> Reply:
        """The exchange in a thread of its own: a server may also send headers so slowly that no read times out."""
        found: list[Reply | BaseException] = []

        def exchange() -> None:
            try:
                found.append(self._exchange(limit, method, url, sent, content))
            except Exception as error:  # raised again below, by the caller's thread
                found.append(error)

        thread = threading.Thread(target=exchange, daemon=True)
        thread.start()
        thread.join(limit + 1)
        if not found:
            raise Broken(f"{method} {url}: no whole answer within {limit:g} s")
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    def _exchange(
        self, limit: float, method: str, url: str, sent: Mapping[str, str], content: bytes | Iterator[bytes] | None
    ) -> Reply:
        started = time.monotonic()
        body = bytearray()
        try:
            with self._http.stream(method, url, content=content, headers=sent, timeout=limit) as answer:
                for chunk in answer.iter_raw():
                    body += chunk
                    if len(body) > self.limits.size:
                        raise Broken(f"{method} {url}: the answer is longer than {self.limits.size} bytes")
                    if time.monotonic() - started > limit:
                        raise Broken(f"{method} {url}: the answer did not end within {limit:g} s")
        except httpx2.TimeoutException as error:
            raise Broken(f"{method} {url}: no answer within {limit:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise Broken(f"{method} {url}: {error or type(error).__name__}") from error
        seconds = time.monotonic() - started
        headers = {name.lower(): value for name, value in answer.headers.items()}
        challenges = tuple(answer.headers.get_list("www-authenticate"))
        return Reply(method, url, answer.status_code, headers, bytes(body), seconds, challenges)

    def _pace(self) -> None:
        if self.limits.rate <= 0:
            return
        with self._lock:
            now = time.monotonic()
            pause = max(0.0, self._next - now)
            self._next = max(now, self._next) + 1 / self.limits.rate
        time.sleep(pause)

    def _record(self, reply: Reply, sent: Mapping[str, str], content: bytes) -> None:
        exchange = Exchange(
            reply.method,
            self._clean(reply.url),
            self._safe(sent),
            self._clean(content.decode("utf-8", "replace")[:KEPT]),
            reply.status,
            self._safe(reply.headers),
            self._clean(reply.text[:KEPT]),
            reply.seconds,
        )
        with self._lock:
            self.exchanges.append(exchange)

    def _safe(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {key: "(redacted)" if key.lower() in SECRET else self._clean(value) for key, value in headers.items()}

    def _clean(self, text: str) -> str:
        for secret in self.secrets:
            for part in {secret, secret.rpartition(" ")[2]}:
                if len(part) > 3:
                    text = text.replace(part, "(redacted)")
        return re.sub(r"(//)[^/@\s]+@", r"\1(redacted)@", text)


def multipart(form: Form, files: Mapping[str, tuple[str, bytes, str]], boundary: str = BOUNDARY) -> tuple[bytes, str]:
    """A multipart body with its Content-Type; ``files`` maps part names to file name, bytes and media type."""
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

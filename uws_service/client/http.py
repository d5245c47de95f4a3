"""HTTP as UWS needs it.

Redirects that are answers, not only detours; credentials that stay at home; bounded bodies.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

import httpx2

from uws_service import __version__
from uws_service.client.documents import read_xml
from uws_service.client.errors import BadDocument, ClientError, NetworkError, ServerError

MAX_REDIRECTS = 10
MAX_BODY_BYTES = 256 * 1024**2
"""Largest document that is read into memory, in bytes; results are streamed and have no such limit."""
ACCEPT = "application/xml, text/xml;q=0.9, text/plain;q=0.8, */*;q=0.5"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read whole.

    ``url`` is where it came from in the end.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def media_type(self) -> str:
        """Return the Content-Type as the server wrote it."""
        return self.headers.get("content-type", "")

    @property
    def location(self) -> str | None:
        """Return the Location as an absolute URL (a relative one is allowed by RFC 9110)."""
        location = self.headers.get("location")
        return _next(self.url, location) if location else None


class Http:
    """A connection to one server.

    Parameters
    ----------
    url
        Any URL of the service. Its scheme, host and port are the only ones that ``headers``, and a user name and
        password in the URL, are ever sent to.
    headers
        Credentials and the like.
    authorize
        Gives the Authorization header of each request, unless ``headers`` or the URL hold one; asked every time, as
        a token may have to be refreshed.
    timeout
        Seconds without a byte after which an answer is given up.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        authorize: Callable[[], str | None] | None = None,
        timeout: float = 30.0,
    ) -> None:
        parts = _parts(url)
        self.authorize = authorize
        self.timeout = timeout
        self.headers = dict(headers or {})
        self.origin = _origin(parts)
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self.headers.setdefault("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        self._client = httpx2.Client(
            follow_redirects=False,
            timeout=timeout,
            headers={"User-Agent": f"uws-service/{__version__}", "Accept": ACCEPT},
        )

    def __enter__(self) -> Http:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def get(self, url: str, *, timeout: float | None = None, tries: int = 2) -> Answer:
        """GET, redirects followed.

        Once more if the connection fails. Raises for a status of 400 and above.
        """
        for tries_left in reversed(range(tries)):
            try:
                return self.send("GET", url, timeout=timeout)
            except NetworkError:
                if tries_left == 0:
                    raise
        raise AssertionError

    def send(self, method: str, url: str, *, timeout: float | None = None, **options: Any) -> Answer:
        """Send one request and read its answer.

        GET follows all redirects. The redirect of another method is its answer (U-010, U-023, U-120) and is returned,
        but for 307 and 308, and a 301 or 302 to the same path, which only say where the resource has moved to.

        Raises
        ------
        ClientError
            No answer, too many redirects, a status of 400 and above, or too long a body.
        """
        with self.stream(method, url, timeout=timeout, **options) as response:
            body = bytearray()
            for chunk in self.chunks(response):
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise BadDocument(f"{response.url} answers with more than {MAX_BODY_BYTES} bytes")
            return Answer(response.status_code, response.headers, bytes(body), str(response.url))

    @contextmanager
    def stream(
        self, method: str, url: str, *, timeout: float | None = None, **options: Any
    ) -> Iterator[httpx2.Response]:
        """Send a request.

        The body is yet to be read.
        """
        seconds = timeout or self.timeout
        url = _bare(url)
        first_url = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._request(method, url, seconds, options)
            try:
                target = _moved(method, response)
                if target is None:
                    if response.status_code >= 400:
                        raise self._refusal(response)
                    yield response
                    return
            finally:
                response.close()
            url = target
        raise BadDocument(f"{first_url} redirects more than {MAX_REDIRECTS} times")

    def chunks(self, response: httpx2.Response) -> Iterator[bytes]:
        """Yield the body of a streamed answer, with errors in our words."""
        with _translated(str(response.url), self.timeout):
            yield from response.iter_bytes()

    def _request(self, method: str, url: str, seconds: float, options: Mapping[str, Any]) -> httpx2.Response:
        headers = dict(options.get("headers") or {})
        if _origin(_parts(url)) == self.origin:
            headers = {**self.headers, **headers}
            if self.authorize is not None and not any(name.lower() == "authorization" for name in headers):
                value = self.authorize()
                headers |= {"Authorization": value} if value else {}
        other_options = {key: value for key, value in options.items() if key != "headers"}
        with _translated(url, seconds):
            timeouts = httpx2.Timeout(seconds, connect=min(seconds, 15))
            request = self._client.build_request(method, url, headers=headers, timeout=timeouts, **other_options)
            return self._client.send(request, stream=True)

    def _refusal(self, response: httpx2.Response) -> ServerError:
        body = bytearray()
        with contextlib.suppress(NetworkError):  # the status alone says enough
            for chunk in self.chunks(response):
                body += chunk
                if len(body) > 1024**2:
                    break
        status = response.status_code
        message = f"{response.url} answers {status} {response.reason_phrase}".rstrip()
        words = error_words(bytes(body), response.headers.get("content-type", ""))
        if status == 401:
            schemes = re.findall(r"(?:^|,\s*)([A-Za-z][A-Za-z0-9_.-]*)(?=\s|,|$)", _challenges(response))
            offered = f" ({', '.join(dict.fromkeys(schemes))})" if schemes else ""
            words = f"it wants you to authenticate{offered}; {words or 'give a header or a token'}"
        return ServerError(
            f"{message}: {words}" if words else message, status, _seconds(response.headers.get("retry-after"))
        )


def error_words(body: bytes, media_type: str) -> str:
    """Return what an error document says, in one line.

    Empty if it says nothing that a person could read.
    """
    kind = media_type.partition(";")[0].strip().lower()
    text = body.decode("utf-8", "replace")
    if "html" in kind or text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
        return ""  # a page for a browser, often a proxy's
    if "json" in kind:
        try:
            value = json.loads(text)
        except ValueError:
            return ""
        texts = [value.get(key) for key in ("message", "detail", "error")] if isinstance(value, dict) else [value]
        return next((" ".join(text.split()) for text in texts if isinstance(text, str) and text.strip()), "")
    if "xml" in kind or text.lstrip().startswith("<?xml"):
        return _votable_words(body)
    return " ".join(text.split())[:1000]


def _votable_words(body: bytes) -> str:
    """Return the text of ``INFO name="QUERY_STATUS"`` (D-048), whatever the VOTable version."""
    try:
        root = read_xml(body)
    except BadDocument:
        return ""
    for element in root.iter():
        if element.tag.rpartition("}")[2] == "INFO" and element.get("name") == "QUERY_STATUS":
            return " ".join("".join(element.itertext()).split())
    return ""


def _challenges(response: httpx2.Response) -> str:
    return ", ".join(response.headers.get_list("www-authenticate"))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.strip().isdigit() else None


def _moved(method: str, response: httpx2.Response) -> str | None:
    """Return where the same request has to go instead.

    None if this is the answer.
    """
    status, location = response.status_code, response.headers.get("location")
    if status not in REDIRECTS or not location:
        return None
    current_url = str(response.url)
    target = _next(current_url, location)
    if method in ("GET", "HEAD") or status in (307, 308):
        return target
    is_same_path = urlsplit(target).path.rstrip("/") == urlsplit(current_url).path.rstrip("/") and target != current_url
    return target if status in (301, 302) and is_same_path else None


def _next(current_url: str, location: str) -> str:
    """Return the absolute target of a redirect.

    From https it never leads to http.
    """
    try:
        target = urlsplit(urljoin(current_url, location.strip()))
        before = _parts(current_url)
        if before.scheme == "https" and target.scheme == "http":
            # A server behind a proxy that ends TLS and does not know its public scheme.
            if target.hostname != before.hostname:
                raise ClientError(f"{current_url} redirects from https to http: {urlunsplit(target)}")
            target = target._replace(scheme="https", netloc=before.netloc)
        return _bare(urlunsplit(target._replace(fragment="")))
    except ValueError:
        raise BadDocument(f"{current_url} redirects to something that is no URL") from None


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ClientError(f"{url} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClientError(f"{url} is not a URL that begins with http:// or https://")
    return parts


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]


def _bare(url: str) -> str:
    """Return the URL without user name and password."""
    parts = _parts(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def _translated(url: str, seconds: float) -> Iterator[None]:
    """Turn the library's exceptions into our own."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    try:
        yield
    except httpx2.TimeoutException as error:
        problem = "no connection to" if isinstance(error, httpx2.ConnectTimeout) else "no answer from"
        raise NetworkError(
            f"{problem} {host} in {seconds:g} s", may_have_arrived=not isinstance(error, _NEVER_SENT)
        ) from error
    except httpx2.ConnectError as error:
        raise NetworkError(f"can't connect to {host}: {_why(error)}", may_have_arrived=False) from error
    except httpx2.InvalidURL as error:
        raise ClientError(f"{url} is not a URL: {error}") from error
    except httpx2.DecodingError as error:
        raise NetworkError(
            f"{host} sent a body that can't be decompressed: {_why(error)}", may_have_arrived=True
        ) from error
    except httpx2.TransportError as error:
        raise NetworkError(
            f"the connection to {host} broke: {_why(error)}", may_have_arrived=not isinstance(error, _NEVER_SENT)
        ) from error


def _why(error: Exception) -> str:
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__

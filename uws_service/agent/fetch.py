"""Fetch a file that a user's parameter names, and nothing that only this machine's network can reach.

Standard library only. Every address that a name resolves to is checked, the connection goes to the very address that
was checked (so the name can't change in between), and each redirect is checked anew. Proxies in the environment are
not used.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

CHUNK_BYTES = 1 << 16
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that IPv6 has given out; other blocks hold wrapped, local and retired addresses."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
INNER = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv4Network("168.63.129.16/32"))
"""Looks like the open internet to Python's tables; clouds tell their machines secrets there (RFC 6890, Azure)."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class FetchError(Exception):
    """The file could not be fetched.

    The text says why, for the user.
    """


@dataclass(frozen=True)
class Policy:
    """What may be fetched.

    ``timeout`` is in seconds without a byte; ``allow_hosts`` may have inner addresses.
    """

    allow_private: bool = False
    allow_hosts: tuple[str, ...] = ()
    max_redirects: int = 5
    timeout: float = 60.0


def authority(url: str) -> str | None:
    """Return the host of a URL as a token may be meant for it, with its port unless that is 443.

    None if nothing secret may be sent there: it is neither https nor this very machine.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return None
    local = False
    if parts.scheme == "http":
        with contextlib.suppress(ValueError):
            local = ipaddress.ip_address(host).is_loopback
    if not host or not (local or parts.scheme == "https"):
        return None
    port = port or (443 if parts.scheme == "https" else 80)
    return host if port == 443 else f"{host}:{port}"


def fetch(url: str, path: str | Path, *, max_size: int, policy: Policy, tokens: Mapping[str, str] | None = None) -> int:
    """Write what a URL gives to a file.

    Its size in bytes.

    ``tokens`` by `authority`: the one of the URL that was asked for is sent to it, and to no other host or port that
    it leads to.

    Raises
    ------
    FetchError
        Wrong scheme, inner address, too many redirects, status other than 200, larger than ``max_size``, no answer.
    """
    token_host = authority(url)
    token = (tokens or {}).get(token_host) if token_host is not None else None
    for _ in range(policy.max_redirects + 1):
        connection, target = connect(url, policy)
        try:
            headers = {"Accept": "*/*", "User-Agent": "uws-service"}
            if token is not None and authority(url) == token_host:
                headers["Authorization"] = f"Bearer {token}"
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as answer:
                if answer.status in REDIRECTS and answer.headers.get("Location"):
                    url = redirected(url, answer.headers["Location"])
                    continue
                if answer.status != 200:
                    raise FetchError(f"{shown(url)} answered {answer.status} {answer.reason}.")
                return _save(answer, Path(path), max_size, url)
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "strerror", None) or error or type(error).__name__  # without a path of ours
            raise FetchError(f"{shown(url)} could not be fetched: {cause}.") from error
        finally:
            connection.close()
    raise FetchError(f"{shown(url)}: more than {policy.max_redirects} redirects.")


def redirected(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise FetchError(f"{shown(url)} leads to something that is not a URL: {error}.") from error


def _save(answer: http.client.HTTPResponse, path: Path, max_size: int, url: str) -> int:
    size = 0
    length = answer.length  # None if the server did not say
    if length is not None and length > max_size:
        raise FetchError(f"{shown(url)} has {length} bytes; at most {max_size} are allowed.")
    decode = _decoder(answer, url)
    written = 0
    with path.open("wb") as file:
        while chunk := answer.read(CHUNK_BYTES):
            size += len(chunk)
            for part in decode(chunk):
                written += len(part)
                if written > max_size:
                    raise FetchError(f"{shown(url)} is larger than the {max_size} bytes that are allowed.")
                file.write(part)
        if length is not None and size != length:
            raise FetchError(f"{shown(url)} was cut short: {size} of {length} bytes.")
        if size and any(decode(b"")):
            raise FetchError(f"{shown(url)} was cut short: its gzip coding has no end.")
    return written


def _decoder(answer: http.client.HTTPResponse, url: str) -> Callable[[bytes], Iterator[bytes]]:
    """Return what undoes the content codings of an answer (RFC 9110 §8.4), some bytes at a time.

    Object stores send what was stored with a coding as it is, whatever Accept-Encoding says. Of the end, ``b""``, the
    decoder makes nothing if the coding has ended too, and one word if not.
    """
    codings = [
        name
        for value in answer.headers.get_all("Content-Encoding", [])
        for word in value.split(",")
        if (name := word.strip().lower()) not in ("", "identity")
    ]
    if not codings:
        return lambda chunk: iter((chunk,) if chunk else ())
    if len(codings) > 1 or codings[0] not in ("gzip", "x-gzip", "deflate"):
        names = ", ".join(codings)[:80]
        raise FetchError(f"{shown(url)} comes in the content coding {names!r}; gzip and deflate are undone.")
    return _Inflater(codings[0] != "deflate", url).decode


class _Inflater:
    """Undoes gzip, which may have several members, or deflate, in pieces of bound size."""

    def __init__(self, gzip: bool, url: str) -> None:
        self._bits = zlib.MAX_WBITS | (16 if gzip else 0)
        self._url = url
        self._engine = zlib.decompressobj(self._bits)

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        if not chunk:
            if not self._engine.eof:
                yield b"unfinished"
            return
        try:
            while chunk:
                if self._engine.eof:
                    self._engine = zlib.decompressobj(self._bits)
                part = self._engine.decompress(chunk, CHUNK_BYTES)
                if part:
                    yield part
                chunk = self._engine.unconsumed_tail or self._engine.unused_data
            while not self._engine.eof and (part := self._engine.decompress(b"", CHUNK_BYTES)):
                yield part
        except zlib.error as error:
            raise FetchError(f"{shown(self._url)} is not in the content coding that it declares: {error}.") from None


def shown(url: str) -> str:
    """Return a URL as an error may show it.

    Without user, password and query.
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]


def connect(url: str, policy: Policy) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection to a checked address, and the request's target."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        # Nothing of it is shown: without its parts nobody knows where a password ends.
        raise FetchError(f"A URL that was given can't be read: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError(f"{shown(url)} is not allowed: only http and https URLs are fetched.")
    if any(character <= " " or character == "\x7f" for character in url):
        raise FetchError("A URL must not contain spaces or control characters.")
    host = parts.hostname
    port = port or (443 if parts.scheme == "https" else 80)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=policy.timeout)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=policy.timeout)
    try:
        plain = _dial(resolve(host, port, policy), port, policy.timeout)
        connection.sock = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=host) if parts.scheme == "https" else plain
        )
    except OSError as error:
        raise FetchError(f"{shown(url)} could not be reached: {error}.") from error
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return connection, quote(target, safe="%/:=&?~#+!$,;'@()*[]|^`{}\"\\<>")  # only what is not ASCII


def _dial(addresses: list[str], port: int, timeout: float) -> socket.socket:
    """Return a connection to the first address that takes one."""
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, port), timeout=timeout)
    return socket.create_connection((addresses[-1], port), timeout=timeout)


def resolve(host: str, port: int, policy: Policy) -> list[str]:
    """Return the addresses of the host.

    Every one of them must be allowed.
    """
    try:
        records = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"The host {host[:100]!r} is not known: {error}.") from error
    addresses = list(dict.fromkeys(str(record[4][0]) for record in records))
    if not (policy.allow_private or host.lower() in {name.lower() for name in policy.allow_hosts}):
        for address in addresses:
            if not is_public(address):
                raise FetchError(f"The host {host[:100]!r} is not allowed: it has an address of an inner network.")
    return addresses


def is_public(address: str) -> bool:
    """Return whether an address belongs to the open internet, also when it is wrapped in an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed in NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if parsed not in GLOBAL_UNICAST:
            return False
    elif any(parsed in network for network in INNER):
        return False
    return parsed.is_global and not parsed.is_multicast

"""Put files into a storage element by WebDAV, with their checksums."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx2

from uws_service.agent.fetch import authority
from uws_service.data.answers import TEMPORARY, CatalogueFault

REDIRECTS_MAX = 5
PARENTS_MAX = 20
EXISTS = frozenset({200, 201, 204, 301, 405, 409})
"""Answers to MKCOL after which the next folder is tried: it is there, or somebody makes it at the same moment."""


@dataclass(frozen=True, slots=True)
class Deposited:
    """A file of a storage element."""

    size: int
    checksums: Mapping[str, str]


async def upload(
    http: httpx2.AsyncClient,
    url: str,
    read: Callable[[], AsyncIterator[bytes]],
    size: int,
    tokens: Mapping[str, str],
) -> Deposited:
    """Send a file; return its size and checksums.

    Parameters
    ----------
    read
        Opens the file; called again if it must be sent again.
    tokens
        By `authority` of the URL; a token is sent to no other host that the storage leads to.

    Raises
    ------
    CatalogueFault
        The storage does not take it, or has another size afterwards.
    """
    host = authority(url)
    token = tokens.get(host) if host is not None else None
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    try:
        answer, deposited = await _put(http, url, read, size, headers)
        if answer.status_code in (403, 404, 409):  # its folder may be missing
            await _make_folders(http, url, headers)
            answer, deposited = await _put(http, url, read, size, headers)
        _require(answer, url, "put")
        await _verify(http, url, size, headers)
    except httpx2.HTTPError as error:
        raise CatalogueFault(f"{host} does not take the file: {type(error).__name__} {error}".rstrip()) from None
    return deposited


class _Sender:
    """Reads a file as it is sent, and computes its checksums."""

    def __init__(self, read: Callable[[], AsyncIterator[bytes]]) -> None:
        self._read = read
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._adler = 1
        self._size = 0

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the file."""
        async for chunk in self._read():
            self._md5.update(chunk)
            self._adler = zlib.adler32(chunk, self._adler)
            self._size += len(chunk)
            yield chunk

    def deposited(self) -> Deposited:
        """Return what was sent."""
        checksums = {"md5": self._md5.hexdigest(), "adler32": f"{self._adler & 0xFFFFFFFF:08x}"}
        return Deposited(self._size, checksums)


async def _put(
    http: httpx2.AsyncClient, url: str, read: Callable[[], AsyncIterator[bytes]], size: int, headers: Mapping[str, str]
) -> tuple[httpx2.Response, Deposited]:
    """Send the file, redirects followed.

    Storages lead to the machine that has the room.
    """
    first = authority(url)
    for _ in range(REDIRECTS_MAX + 1):
        sender = _Sender(read)
        sent = {"content-length": str(size), "content-type": "application/octet-stream"}
        sent |= headers if authority(url) == first else {}
        answer = await http.put(url, content=sender.body(), headers=sent)
        if answer.status_code in (307, 308) and "location" in answer.headers:
            url = urljoin(url, answer.headers["location"])
            continue
        return answer, sender.deposited()
    raise CatalogueFault(f"{first} leads elsewhere more than {REDIRECTS_MAX} times", transient=False)


async def _make_folders(http: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> None:
    parts = urlsplit(url)
    names = parts.path.split("/")[1:-1]
    for length in range(1, min(len(names), PARENTS_MAX) + 1):
        folder = f"{parts.scheme}://{parts.netloc}/{'/'.join(names[:length])}/"
        answer = await http.request("MKCOL", folder, headers=dict(headers))
        if answer.status_code not in EXISTS and length == len(names):
            _require(answer, url, "folder")


async def _verify(http: httpx2.AsyncClient, url: str, size: int, headers: Mapping[str, str]) -> None:
    answer = await http.head(url, headers={**headers, "accept-encoding": "identity"})
    length = answer.headers.get("content-length", "")
    if answer.status_code == 200 and length.isdigit() and int(length) != size:
        raise CatalogueFault(f"{urlsplit(url).hostname} has {length} bytes of {size} after the upload")


def _require(answer: httpx2.Response, url: str, action: str) -> None:
    if not 200 <= answer.status_code < 300:
        raise CatalogueFault(
            f"{urlsplit(url).hostname} answers {answer.status_code} to the {action}",
            transient=answer.status_code in TEMPORARY or answer.status_code == 507,
            status=answer.status_code,
        )

"""Images where they lie, read in parts only.

A source is named in the index of a collection, by its operator; a client never names one.

    images/m13.fits                       a file, relative to the index; it must not leave the index's folder
    package://astropy/wcs/…/image.fits    a file of an installed Python package
    https://example.org/images/m13.fits   a server that gives parts of files (RFC 9110 §14)
    s3://bucket/images/m13.fits?endpoint=https://…&region=…

Keys for S3 come from a JSON file with ``access_key_id`` and ``secret_access_key``, which the operator's command names;
without one the bucket must be public.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from uws_service.soda.errors import BadImage, Unavailable

BLOCK_BYTES = 32 * 1024
"""Read at least where headers are read."""
MAX_BLOCKS = 256
"""Of blocks in memory."""

Span = tuple[int, int]
"""First byte and the one after the last."""


class Source(Protocol):
    """A file that is read in parts."""

    name: str
    size: int

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """Read the bytes of each span."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class LocalSource:
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for ever
            self.size = os.fstat(self._file).st_size
        except OSError as error:
            raise BadImage(f"{self.name} can't be read: {error.strerror}.") from None

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """Read the bytes of each span."""
        try:
            return [os.pread(self._file, end - start, start) for start, end in spans]
        except OSError as error:
            raise BadImage(f"{self.name} can't be read: {error.strerror}.") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class RemoteSource:
    """An object of a store, over HTTP or S3.

    Spans that lie close together are requested at once.
    """

    def __init__(self, store: Any, path: str, name: str) -> None:
        import obstore

        self.name, self._store, self._path = name, store, path
        self.size = int(self._request(obstore.head, store, path)["size"])

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """Read the bytes of each span."""
        import obstore

        if not spans:
            return []
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        content = self._request(
            obstore.get_ranges, self._store, self._path, starts=starts, ends=ends, coalesce=16 * 1024
        )
        return [bytes(part) for part in content]

    def _request(self, function: Any, *arguments: Any, **options: Any) -> Any:
        from obstore.exceptions import BaseError, GenericError, JoinError

        try:
            return function(*arguments, **options)
        except FileNotFoundError:
            raise BadImage(f"{self.name} is not where the index says.") from None
        except (BaseError, OSError) as error:
            lines = re.sub(r"https?://\S+", "…", str(error)).strip().splitlines()
            text = f"{self.name} can't be read: {(lines or [type(error).__name__])[0][:200]}"
            transient = isinstance(error, GenericError | JoinError | OSError)
            raise (Unavailable if transient else BadImage)(text) from None

    def close(self) -> None:
        """Do nothing: nothing is held."""


def open_source(text: str, folder: Path | None, keys: Path | None = None) -> Source:
    """Open the source of an image.

    Parameters
    ----------
    text
        As in the index.
    folder
        The index's folder; None: it lies in none, and names no files.
    keys
        A file with keys for S3.

    Raises
    ------
    BadImage
        It can't be opened, or leaves its folder.
    """
    parts = urlsplit(text)
    name = text.partition("?")[0].rpartition("/")[2]
    if parts.scheme in ("http", "https"):
        return _http(text, name)
    if parts.scheme == "s3":
        return _s3(text, name, keys)
    if parts.scheme == "package":
        return LocalSource(package_file(text))
    if folder is None:
        raise BadImage(f"{name} has no folder.")
    return LocalSource(_within(folder, text))


def package_file(text: str) -> Path:
    """Return the path of ``package://NAME/path``.

    It can't leave the package.
    """
    top, _, path_in_package = text.removeprefix("package://").partition("/")
    spec = importlib.util.find_spec(top) if top.isidentifier() else None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise BadImage(f"the Python package {top[:80]!r} is not installed.")
    return _within(Path(places[0]), path_in_package)


def _within(folder: Path, text: str) -> Path:
    path = Path(os.path.realpath(folder / text.replace("\0", "")))
    if "\0" in text or Path(text).is_absolute() or not path.is_relative_to(os.path.realpath(folder)):
        raise BadImage(f"{Path(text).name} lies outside the folder of the collection.")
    return path


def _http(url: str, name: str) -> Source:
    from obstore.store import HTTPStore

    parts = urlsplit(url)
    if parts.username or parts.password or not parts.hostname:
        raise BadImage(f"the URL of {name} must name a host, and no user or password.")
    options: Any = {"allow_http": parts.scheme == "http", "timeout": "60s", "connect_timeout": "10s"}
    folder_path, _, file_name = parts.path.rpartition("/")
    if parts.query:
        raise BadImage(f"the URL of {name} has a query; only plain paths are read.")
    store = HTTPStore.from_url(f"{parts.scheme}://{parts.netloc}{folder_path or '/'}", client_options=options)
    return RemoteSource(store, unquote(file_name), name)


def _s3(url: str, name: str, keys: Path | None) -> Source:
    from obstore.store import S3Store

    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if parts.username or parts.password or not parts.netloc or set(query) - {"endpoint", "region"}:
        raise BadImage(f"the URL of {name} must be s3://bucket/key?endpoint=URL&region=NAME, without keys.")
    config: Any = {"region": query.get("region", "us-east-1")}
    if endpoint := query.get("endpoint"):
        config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    config |= _keys(keys) if keys is not None else {"skip_signature": True}
    options: Any = {"allow_http": bool(endpoint and endpoint.startswith("http:")), "timeout": "60s",
                    "connect_timeout": "10s"}  # fmt: skip
    store = S3Store(parts.netloc, config=config, client_options=options)
    return RemoteSource(store, unquote(parts.path.lstrip("/")), name)


def _keys(path: Path) -> dict[str, str]:
    try:
        keys = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(keys[name]) for name in ("access_key_id", "secret_access_key")}
    except (OSError, ValueError, KeyError, TypeError):
        raise BadImage("the file with the keys for S3 can't be read.") from None


class Reader(io.RawIOBase):
    """A source as a file for astropy.

    Blocks stay in memory, so headers cost few requests.
    """

    mode = "rb"

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.end = source.size
        """Where the file ends for the reader."""
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.end}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as fit, fewer only at the end."""
        end = min(self._position + len(buffer), self.end)
        if end <= self._position:
            return 0
        first, last = self._position // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        missing = [number for number in range(first, last + 1) if number not in self._blocks]
        spans = [(number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, self.source.size)) for number in missing]
        self._blocks.update(zip(missing, self.source.read(spans), strict=True))
        content = b"".join(self._blocks[number] for number in range(first, last + 1))
        part = content[self._position - first * BLOCK_BYTES : end - first * BLOCK_BYTES]
        buffer[: len(part)] = part
        self._position += len(part)
        while len(self._blocks) > MAX_BLOCKS:
            self._blocks.popitem(last=False)
        return len(part)

"""Many files as one archive, made while it is sent: in memory there is never more than a chunk (no part of UWS).

Zip has its sizes behind each file, and 64-bit fields; tar is that of POSIX.1-2001 (pax).
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from uws_service.protocol.file_names import ending_of

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
MAX_NAME_CHARACTERS = 100
BLOCK_BYTES = 512


class Entry(NamedTuple):
    """A file of an archive.

    Size in bytes, instant in milliseconds.
    """

    name: str
    size: int
    changed: int
    read: Callable[[], AsyncIterator[bytes]]


def safe_name(name: str, media_type: str) -> str:
    """Return a name that is good in any folder of any system: no path, no dot or dash in front, an ending."""
    plain = _UNSAFE.sub("_", name).lstrip(".-")[:MAX_NAME_CHARACTERS] or "file"
    return plain if "." in plain else plain + ending_of(media_type)


def distinct(names: Sequence[str]) -> list[str]:
    """Return names of which no two are the same, whatever case a system minds."""
    taken_names: set[str] = set()
    result = []
    for name in names:
        stem, dot, ending = name.partition(".")
        number, candidate = 1, name
        while candidate.lower() in taken_names:
            number += 1
            candidate = f"{stem}-{number}{dot}{ending}"
        taken_names.add(candidate.lower())
        result.append(candidate)
    return result


class _Sink(io.RawIOBase):
    """Takes what a writer writes, to be handed on; it can't be wound back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def drain(self) -> bytes:
        """Return what has come since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


async def zip_chunks(entries: Sequence[Entry]) -> AsyncIterator[bytes]:
    """Yield a zip archive.

    Nothing is compressed, as tables and images mostly are already.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for entry in entries:
            moment = datetime.fromtimestamp(entry.changed / 1000, UTC)
            info = zipfile.ZipInfo(entry.name, moment.timetuple()[:6])
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as file:
                async for chunk in entry.read():
                    file.write(chunk)
                    yield sink.drain()
            yield sink.drain()
    yield sink.drain()


async def tar_chunks(entries: Sequence[Entry]) -> AsyncIterator[bytes]:
    """Yield a tar archive.

    Raises
    ------
    OSError
        A file has another size than its job says; the archive ends there, unfinished.
    """
    for entry in entries:
        info = tarfile.TarInfo(entry.name)
        info.size, info.mtime, info.mode = entry.size, entry.changed // 1000, 0o644
        yield info.tobuf(tarfile.PAX_FORMAT)
        written = 0
        async for chunk in entry.read():
            written += len(chunk)
            yield chunk
        if written != entry.size:
            raise OSError(f"{entry.name} has {written} bytes instead of {entry.size}")
        yield b"\0" * (-entry.size % BLOCK_BYTES)
    yield b"\0" * (2 * BLOCK_BYTES)

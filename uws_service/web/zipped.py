"""A ZIP archive that is made while it is sent, in constant memory."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

_FIRST_YEAR, _LAST_YEAR = 1980, 2107


class Member(NamedTuple):
    """A file of the archive, and what opens it."""

    path: str
    read: Callable[[], AsyncIterator[bytes]]


class _Sink:
    """Takes what the archive writes until it is sent; it can't go back, so the archive does not try to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is nothing behind it."""

    def close(self) -> None:
        """Do nothing: the archive's end is taken like the rest of it."""

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def zip_chunks(members: Sequence[Member], at: int) -> AsyncIterator[bytes]:
    """Yield an archive of files, uncompressed.

    ``at`` is the time of all files, in milliseconds since the epoch: the same files give the same bytes.
    """
    moment = datetime.fromtimestamp(at // 1000, UTC)
    year = min(max(moment.year, _FIRST_YEAR), _LAST_YEAR)
    time = (year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for member in members:
            header = zipfile.ZipInfo(member.path, time)
            header.external_attr = 0o644 << 16
            with archive.open(header, "w", force_zip64=True) as file:
                async for chunk in member.read():
                    file.write(chunk)
                    yield sink.take()
            yield sink.take()
    yield sink.take()

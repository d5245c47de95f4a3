"""Tables that are compressed as a whole: gzip is undone, within bounds; other kinds are named and refused."""

from __future__ import annotations

import os
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from uws_service.tap.readers import Unreadable

GZIP = b"\x1f\x8b"
OTHERS = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x9d": "compress",
}
ALWAYS_BYTES = 64 << 20
"""So much may come out of any file."""
RATIO = 50
"""What a larger file may grow to; tables shrink to a fifth, hardly ever to a fiftieth."""
MOST_BYTES = 16 << 30
_CHUNK = 1 << 18


class Unpacked:
    """A temporary file without a name, which lives as long as this object."""

    def __init__(self, file: IO[bytes]) -> None:
        self._number = os.dup(file.fileno())
        self.path = Path(f"/proc/self/fd/{self._number}")
        self._close = weakref.finalize(self, os.close, self._number)


def unpacked(path: Path) -> Unpacked:
    """Return what a gzip file holds.

    Raises
    ------
    Unreadable
        It is broken, cut short, or unpacks to far more than a table would.
    """
    bound = min(max(ALWAYS_BYTES, RATIO * path.stat().st_size), MOST_BYTES)
    with path.open("rb") as packed, tempfile.TemporaryFile() as file:
        size, ended = 0, False
        for part in _parts(packed):
            if part is None:
                ended = True
                continue
            ended = False
            size += len(part)
            if size > bound:
                raise Unreadable(f"The gzip file unpacks to more than {bound} bytes.")
            file.write(part)
        if not ended:
            raise Unreadable("The gzip file is cut short.")
        file.flush()
        return Unpacked(file)


def _parts(packed: IO[bytes]) -> Iterator[bytes | None]:
    """The content in pieces, and None after each member of the file."""
    engine = zlib.decompressobj(zlib.MAX_WBITS | 16)
    waiting = b""
    try:
        while waiting or (waiting := packed.read(_CHUNK)):
            if engine.eof:
                waiting = waiting.lstrip(b"\0")  # members may be filled up
                if not waiting:
                    continue
                if not waiting.startswith(GZIP[: len(waiting)]):
                    raise Unreadable("The gzip file has something else after its end.")
                engine = zlib.decompressobj(zlib.MAX_WBITS | 16)
            yield engine.decompress(waiting, _CHUNK)
            waiting = engine.unconsumed_tail or engine.unused_data
            if engine.eof:
                yield None
    except zlib.error as error:
        raise Unreadable(f"The gzip file is broken: {error}.") from None

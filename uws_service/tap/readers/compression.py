"""Compressed tables: gzip is unpacked, others are refused.

What unpacks to far more than a table would is refused too.
"""

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
UNSUPPORTED = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x9d": "compress",
}
MIN_LIMIT_BYTES = 64 << 20
"""Any file may unpack to this size."""
MAX_RATIO = 50
"""A larger file may unpack to this multiple of its size; tables hardly ever compress that well."""
MAX_BYTES = 16 << 30
_CHUNK_BYTES = 1 << 18


class Unpacked:
    """An unnamed temporary file that lives as long as this object."""

    def __init__(self, file: IO[bytes]) -> None:
        self._number = os.dup(file.fileno())
        self.path = Path(f"/proc/self/fd/{self._number}")
        self._close = weakref.finalize(self, os.close, self._number)


def unpacked(path: Path) -> Unpacked:
    """Unpack a gzip file.

    Raises
    ------
    Unreadable
        It is broken, cut short, or unpacks to far more than a table would.
    """
    bound = min(max(MIN_LIMIT_BYTES, MAX_RATIO * path.stat().st_size), MAX_BYTES)
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
    """Yield the content in pieces, and None after each member."""
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
    pending = b""
    try:
        while pending or (pending := packed.read(_CHUNK_BYTES)):
            if decompressor.eof:
                pending = pending.lstrip(b"\0")  # members may be padded
                if not pending:
                    continue
                if not pending.startswith(GZIP[: len(pending)]):
                    raise Unreadable("The gzip file has something else after its end.")
                decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
            yield decompressor.decompress(pending, _CHUNK_BYTES)
            pending = decompressor.unconsumed_tail or decompressor.unused_data
            if decompressor.eof:
                yield None
    except zlib.error as error:
        raise Unreadable(f"The gzip file is broken: {error}.") from None

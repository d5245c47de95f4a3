"""Headers of FITS files from anywhere, checked before a library believes them.

astropy builds a list as long as NAXIS, reads until it meets END, and goes back by a negative size, for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

RECORD_BYTES = 2880
"""A FITS file is made of such records (FITS 4.0 §3.1)."""
MAX_NUMBER = 999
"""Of what keywords are numbered by: dimensions and columns (FITS 4.0 §4.4.1, §7.3.1)."""
MAX_HEADER_BYTES = 16 << 20
_END = b"END".ljust(80)
_FIRST = b"SIMPLE  ", b"XTENSION"


def walk(file: Any) -> Iterator[tuple[Any, int, int]]:
    """Yield each header of a file, with offset and size of its data.

    What is no header ends the file, as the standard lets anything follow the last extension (FITS 4.0 §3.5).

    Raises
    ------
    ValueError
        A header claims what no file has.
    """
    from astropy.io import fits

    offset = 0
    while True:
        file.seek(offset)
        content = _header_bytes(file)
        if not content:
            return
        header = fits.Header.fromstring(content)
        data_offset = offset + len(content)
        size = _data_bytes(header)
        yield header, data_offset, size
        offset = data_offset + -(-size // RECORD_BYTES) * RECORD_BYTES


def _header_bytes(file: Any) -> bytes:
    """Read the records of a header.

    None where there is no header.
    """
    content = bytearray()
    while len(content) < MAX_HEADER_BYTES:
        record = file.read(RECORD_BYTES)
        if len(record) < RECORD_BYTES or (not content and not record.startswith(_FIRST)):
            return b""
        content += record
        if any(record[start : start + 80] == _END for start in range(0, RECORD_BYTES, 80)):
            return bytes(content)
    raise ValueError(f"a header has no END in its first {MAX_HEADER_BYTES} bytes")


def _data_bytes(header: Any) -> int:
    """Return the size of the data behind a header (FITS 4.0 §4.4.1, §6.1, §7.1)."""
    for key in ("NAXIS", "TFIELDS", "ZNAXIS"):
        number = int(header[key] if key == "NAXIS" else header.get(key, 0))
        if not 0 <= number <= MAX_NUMBER:
            raise ValueError(f"a header has {key} = {number}; it is from 0 to {MAX_NUMBER}")
    dimensions = int(header["NAXIS"])
    axes = [int(header[f"NAXIS{number}"]) for number in range(1, dimensions + 1)]
    if axes and axes[0] == 0 and header.get("GROUPS") is True:
        axes = axes[1:]
    elements = math.prod(axes) if axes else 0
    extra, groups = int(header.get("PCOUNT", 0)), int(header.get("GCOUNT", 1))
    if min(axes, default=0) < 0 or extra < 0 or groups < 0:
        raise ValueError("a header has a negative size")
    return abs(int(header["BITPIX"])) // 8 * groups * (extra + elements)

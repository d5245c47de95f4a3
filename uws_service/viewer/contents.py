"""What a file holds that can be looked into: a table, an image, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uws_service.tap.readers import Unreadable, detect_format
from uws_service.tap.readers.compression import GZIP

BLOCK_BYTES = 2880
"""FITS 4.0 §3.1."""
CARD_BYTES = 80
MAX_HEADER_BLOCKS = 1000
MAX_UNITS = 64
"""Header-data units that are looked at."""
MAX_AXES = 999


def contents(path: Path) -> dict[str, Any]:
    """Return ``table`` and ``image``, each whether the file holds one.

    Raises
    ------
    Unreadable
        It holds neither.
    """
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    form = "" if packed else detect_format(path)
    if form != "fits":
        return {"table": True, "image": False}
    kinds = set(_units(path))
    if not kinds:
        raise Unreadable("The FITS file holds no table and no image.")
    return {"table": "BINTABLE" in kinds, "image": "IMAGE" in kinds}


def _units(path: Path) -> Iterator[str]:
    """Yield BINTABLE and IMAGE for the units of a FITS file that have data; no data is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for number in range(MAX_UNITS):
            header = _header(file)
            if header is None:
                return
            axes = _integer(header, "NAXIS")
            if not 0 <= axes <= MAX_AXES:
                return
            length = abs(_integer(header, "BITPIX")) // 8 if axes else 0
            for axis in range(1, axes + 1):
                length *= max(0, _integer(header, f"NAXIS{axis}"))
            kind = "IMAGE" if number == 0 else header.get("XTENSION", "").strip("' ")
            if kind == "IMAGE" and length and header.get("ZIMAGE") != "T":
                yield "IMAGE"
            if kind == "BINTABLE":
                yield "BINTABLE"
            length = (length + _integer(header, "PCOUNT")) * max(1, _integer(header, "GCOUNT", 1))
            place = file.tell() + -(-length // BLOCK_BYTES) * BLOCK_BYTES
            if not file.tell() <= place < size:
                return
            file.seek(place)


def _header(file: Any) -> dict[str, str] | None:
    """Return a header's cards as texts, or None at the end of the file."""
    cards: dict[str, str] = {}
    for _ in range(MAX_HEADER_BLOCKS):
        block = file.read(BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            return None
        text = block.decode("latin-1")
        for begin in range(0, BLOCK_BYTES, CARD_BYTES):
            card = text[begin : begin + CARD_BYTES]
            name = card[:8].rstrip()
            if name == "END":
                return cards
            if card[8:10] == "= ":
                cards.setdefault(name, card[10:].partition("/")[0].strip())
    return None


def _integer(header: dict[str, str], name: str, default: int = 0) -> int:
    text = header.get(name, "")
    return int(text) if text.lstrip("+-").isascii() and text.lstrip("+-").isdigit() and len(text) <= 18 else default

"""Extensions that a header refers to.

They belong to a cutout therefore:
- lookup tables of distortions (WCSDVARR, D2IMARR): each goes with the images that name it, moved as far as they are;
- tables of coordinates (``-TAB`` axes, FITS 4.0 §8.1.2.1), as they are;
- the table of beams of a radio cube (CASAMBM, BEAMS): the rows of the planes that are cut.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits

from uws_service.soda.axes import Pick
from uws_service.soda.errors import BadImage
from uws_service.soda.image import RECORD_BYTES, Image, Piece, require_whole

MAX_BEAM_BYTES = 64 * 1024 * 1024
_LOOKUP = re.compile(r"(CPDIS|D2IMDIS)(\d+)([A-Z]?)")
_TAB = re.compile(r"PS(\d+)_0([A-Z]?)")
_NAMES = {"CPDIS": ("DP", "WCSDVARR"), "D2IMDIS": ("D2IM", "D2IMARR")}
"""Keyword of the record that says which table, and the table's name."""
LOOKUPS = frozenset(name for _, name in _NAMES.values())


@dataclass(frozen=True, slots=True)
class Companion:
    """An extension of the cutout.

    ``span`` is where in the file its data are; ``content`` its data otherwise.
    """

    header: fits.Header
    span: tuple[int, int] = (0, 0)
    content: bytes = b""

    @property
    def size(self) -> int:
        """Return its bytes, header and padding included."""
        return (
            len(self.header.tostring())
            + -(-(self.span[1] - self.span[0] + len(self.content)) // RECORD_BYTES) * RECORD_BYTES
        )


def companions(image: Image) -> list[Companion]:
    """Return the companions of all pieces.

    Headers of pieces are changed where a table has another number in the cutout.
    Raises
    ------
    BadImage
        A table is missing, cut short, or can't be cut.
    """
    return [*_distortions(image), *_coordinates(image), *_beams(image)]


def _find(image: Image, name: str, version: int, level: int | None = None) -> Any:
    for hdu in image.hdus:
        if hdu.name == name.strip().upper() and hdu.ver == version and level in (None, hdu.level):
            return hdu
    raise BadImage(f"the extension {name.strip()},{version} is missing, to which a header refers")


def _copy(image: Image, hdu: Any, header: fits.Header) -> Companion:
    """Return an extension with its data as they are.

    Those of a compressed table of distortions are decompressed.
    """
    require_whole(image, hdu)
    for key in ("CHECKSUM", "DATASUM"):
        header.remove(key, ignore_missing=True)
    if isinstance(hdu, fits.CompImageHDU):
        kind = np.dtype(fits.BITPIX2DTYPE[int(header["BITPIX"])]).newbyteorder(">")
        return Companion(header, content=np.ascontiguousarray(hdu.data).astype(kind).tobytes())
    return Companion(header, (hdu._data_offset, hdu._data_offset + hdu._data_size))


def _distortions(image: Image) -> Iterator[Companion]:
    numbers: dict[tuple[str, int, tuple[int, ...]], int] = {}
    for piece in image.pieces:
        shift = tuple(pick.start for pick in piece.picks[:2])
        for name, key, version in _lookups(piece.header):
            number = numbers.get((name, version, shift))
            if number is None:
                hdu = _find(image, name, version)
                number = _unused_number(image, name, version, numbers)
                numbers[name, version, shift] = number
                yield _shift_table(image, hdu, number, shift)
            if number != version:
                if key is None:
                    raise BadImage(f"its images share {name} in a way that only the whole file can have (AXISCORR)")
                _refer(piece.header, key, number)


def _lookups(header: fits.Header) -> list[tuple[str, str | None, int]]:
    """Return the tables that a header looks up.

    Each by name, the keyword of its version, and the version.
    """
    tables: list[tuple[str, str | None, int]] = []
    for key in header:
        if (match := _LOOKUP.fullmatch(key)) and str(header[key]).strip().upper() == "LOOKUP":
            record, name = _NAMES[match[1]]
            version = f"{record}{match[2]}{match[3]}.EXTVER"
            tables.append((name, version, int(header.get(version, 1))))
    if "AXISCORR" in header and not any(name == "D2IMARR" for name, _, _ in tables):
        tables.append(("D2IMARR", None, 1))  # as STScI wrote it before 2012
    return tables


def _unused_number(image: Image, name: str, version: int, numbers: dict[tuple[str, int, tuple[int, ...]], int]) -> int:
    """Return a table's version in the cutout.

    It is an unused one if another piece has the table shifted otherwise.
    """
    used_numbers = {number for (table_name, _, _), number in numbers.items() if table_name == name}
    if version not in used_numbers:
        return version
    return max(used_numbers | {int(hdu.ver) for hdu in image.hdus if hdu.name == name}) + 1


def _refer(header: fits.Header, key: str, number: int) -> None:
    if key in header:
        header[key] = float(number)
    else:
        header.append(fits.Card(key.partition(".")[0], f"EXTVER: {number}"), end=True)


def _shift_table(image: Image, hdu: Any, number: int, shift: Sequence[int]) -> Companion:
    """Return a table for shifted pixels.

    Its reference value is a pixel of the image.
    """
    header = hdu.header.copy()
    header["EXTVER"] = number
    for axis, start in enumerate(shift[: int(header["NAXIS"])], 1):
        if start:
            header[f"CRVAL{axis}"] = float(header.get(f"CRVAL{axis}", 0.0)) - start
    return _copy(image, hdu, header)


def _coordinates(image: Image) -> Iterator[Companion]:
    copied = set()
    for piece in image.pieces:
        for key in piece.header:
            match = _TAB.fullmatch(key)
            if match is None or not str(piece.header[key]).strip():
                continue
            axis, letter = match.groups()
            version, level = (int(piece.header.get(f"PV{axis}_{index}{letter}", 1)) for index in (1, 2))
            table = (str(piece.header[key]).strip().upper(), version, level)
            if table not in copied:
                copied.add(table)
                hdu = _find(image, *table)
                yield _copy(image, hdu, hdu.header.copy())


def _beams(image: Image) -> Iterator[Companion]:
    pieces = sorted(
        image.pieces, key=lambda piece: (piece.header.get("CASAMBM") is not True, piece.axes.spectral is None)
    )
    for hdu in image.hdus:
        if not isinstance(hdu, fits.BinTableHDU) or isinstance(hdu, fits.CompImageHDU):
            continue
        columns = {str(hdu.header.get(f"TTYPE{n}", "")).upper() for n in range(1, int(hdu.header["TFIELDS"]) + 1)}
        if not {"BMAJ", "BMIN", "BPA"} <= columns:
            continue
        piece = pieces[0]
        planes = [_plane(piece, axis) for axis in (piece.axes.spectral, piece.axes.stokes)]
        if all(pick.is_whole for pick in planes):
            yield _copy(image, hdu, hdu.header.copy())
        elif (table := _rows(image, hdu, columns, *planes)) is not None:
            yield table
        else:
            piece.header.remove("CASAMBM", ignore_missing=True)
            piece.header.add_history(f"Left out: {hdu.name or 'a table of beams'}, whose rows name no planes")


def _plane(piece: Piece, axis: int | None) -> Pick:
    return Pick(0, 1, 1) if axis is None else piece.picks[axis]


def _rows(image: Image, hdu: Any, columns: set[str], channels: Pick, states: Pick) -> Companion | None:
    """Return the beams of some planes.

    None if a row does not tell its plane.
    """
    require_whole(image, hdu)
    if hdu.size > MAX_BEAM_BYTES:
        raise BadImage(f"its table of beams has {hdu.size} bytes; at most {MAX_BEAM_BYTES} are read")
    data = hdu.data
    if "CHAN" not in columns and len(data) != channels.size:
        return None
    selected = np.ones(len(data), bool)
    numbers = {}
    for name, pick in (("CHAN", channels), ("POL", states)):
        column = next((column_name for column_name in data.dtype.names or () if column_name.upper() == name), None)
        plane = np.arange(len(data)) if column is None else np.rint(data[column]).astype(np.int64)
        if column is None and name == "POL":
            continue
        first = 1 if column and pick.size > 1 and plane.min() == 1 and plane.max() == pick.size else 0
        selected &= np.isin(plane - first, np.arange(pick.start, pick.stop, pick.step))
        if column is not None:
            numbers[column] = (plane - first - pick.start) // pick.step + first
    table = fits.BinTableHDU(data=data[selected], header=hdu.header)
    for column, plane in numbers.items():
        table.data[column] = plane[selected]
    for key, pick in (("NCHAN", channels), ("NPOL", states)):
        if key in table.header:
            table.header[key] = pick.count
    return _encoded(table)


def _encoded(table: fits.BinTableHDU) -> Companion:
    out = io.BytesIO()
    for key in ("CHECKSUM", "DATASUM"):
        table.header.remove(key, ignore_missing=True)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(out, output_verify="silentfix")
    hdus = fits.open(io.BytesIO(out.getvalue()))  # noqa: TID251 -- what was written in the line above
    start = hdus[1]._data_offset
    return Companion(hdus[1].header, content=out.getvalue()[start : start + hdus[1]._data_size])

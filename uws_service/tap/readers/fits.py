"""The first binary table of a FITS file (FITS 4.0 §7.3).

astropy reads only the header. TNULL counts in stored numbers, before TSCAL and TZERO, so stored bytes are read here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from uws_service import fits_headers
from uws_service.adql.model import Column
from uws_service.tap.readers import FIRST_ONLY, Source, Unreadable, check_column_count
from uws_service.tap.readers.fits_cells import BITS, STORED, Stored, Values
from uws_service.tap.types import arrow_schema

BATCH_ROWS = 50_000
BATCH_BYTES = 16 << 20
_WORDS = {"L": "boolean", "X": "boolean", "B": "unsignedByte", "I": "short", "J": "int", "K": "long", "A": "char",
          "E": "float", "D": "double", "C": "float", "M": "double"}  # fmt: skip


def read(path: Path) -> Source:
    """Open a table with units, UCDs (TUCDn) and comments (TCOMMn).

    Columns without a form in VOTable are left out.
    """
    header, data_offset, has_more = _header(path)
    count = int(header["TFIELDS"])
    check_column_count(count)
    width, rows = int(header["NAXIS1"]), int(header["NAXIS2"])
    extra = int(header.get("PCOUNT", 0))
    if min(width, rows, extra) < 0 or data_offset + width * rows + extra > path.stat().st_size:
        raise Unreadable("The FITS file is cut short.")
    if rows and not width:
        raise Unreadable("The rows of the FITS table have no bytes.")
    table = np.memmap(path, np.uint8, "r", data_offset, (rows, width)) if rows else np.zeros((0, width), np.uint8)
    gap = int(header.get("THEAP", width * rows)) - width * rows
    if not 0 <= gap <= extra:
        raise Unreadable("The heap of the FITS table does not lie behind its rows.")
    begin = data_offset + width * rows + gap
    heap = np.memmap(path, np.uint8, "r", begin, (extra - gap,)) if extra > gap else np.zeros(0, np.uint8)
    columns: list[Column] = []
    values: list[Values] = []
    notes = [FIRST_ONLY] if has_more else []
    offset = 0
    for number in range(1, count + 1):
        stored = _stored(header, number, offset)
        offset += stored.width
        if offset > width:
            raise Unreadable("The columns of the FITS table are wider than its rows.")
        column, reason = _column(header, number, stored)
        if column is None:
            notes.append(f"the column {stored.name!r} is left out: {reason}")
            continue
        cells = Values(stored, table, heap)
        if column.datatype == "char" and cells.is_wide():
            column = replace(column, datatype="unicodeChar")
        if cells.beyond_long():
            column = replace(column, datatype="char", arraysize="*")
            notes.append(f"the column {stored.name!r} is read as text: some of its numbers have more than 63 bits")
        columns.append(column)
        values.append(cells)
    columns_read = tuple(columns)
    return Source(columns_read, _batches(values, columns_read, rows, width), rows, name=str(header.get("EXTNAME", "")),
                  notes=tuple(notes))  # fmt: skip


def _header(path: Path) -> tuple[Any, int, bool]:
    """Return the table's header, the offset of its rows, and whether further tables follow."""
    table: tuple[Any, int] | None = None
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # old files have harmless oddities
        try:
            for header, offset, _ in fits_headers.walk(file):
                if str(header.get("XTENSION", "")).strip() != "BINTABLE" or header.get("ZIMAGE") is True:
                    continue
                if table is not None:
                    return *table, True
                if header.get("ZTABLE") is True:  # its columns hold compressed bytes (FITS 4.0 §10.3)
                    raise Unreadable("The FITS table is compressed (ZTABLE); decompress it with funpack.")
                table = header, offset
        except (ValueError, KeyError) as error:
            if table is None:
                raise Unreadable(f"The FITS file can't be read: {error}.") from None
    if table is None:
        raise Unreadable("The FITS file has no binary table.")
    return *table, False


def _stored(header: Any, number: int, offset: int) -> Stored:
    """Parse TFORMn, TSCALn, TZEROn, TNULLn and TDIMn."""
    form = str(header[f"TFORM{number}"]).strip()
    match = re.fullmatch(r"(\d{0,9})([LXBIJKAEDCMPQ])(.*)", form)
    if match is None:
        raise Unreadable(f"The format {form[:40]!r} of column {number} of the FITS table is not known.")
    count = int(match.group(1)) if match.group(1) else 1
    code, suffix = match.group(2), match.group(3)
    pointer = ""
    if code in "PQ":
        if count > 1 or not suffix or suffix[0] not in STORED:
            raise Unreadable(f"The format {form[:40]!r} of column {number} of the FITS table is not known.")
        pointer, code, suffix = code, suffix[0], ""
    part = re.match(r"\d+", suffix)
    several = code == "A" and part is not None and 0 < int(part.group()) < count
    shape = re.findall(r"\d+", str(header.get(f"TDIM{number}", "")))
    null = header.get(f"TNULL{number}")
    return Stored(
        name=str(header.get(f"TTYPE{number}", "")).strip(),
        code=code,
        count=count,
        pointer=pointer,
        offset=offset,
        scale=header.get(f"TSCAL{number}", 1),
        zero=header.get(f"TZERO{number}", 0),
        null=int(null) if isinstance(null, int) and code in "BIJK" else None,
        texts=code == "A" and (several or len(shape) > 1),
    )


def _column(header: Any, number: int, stored: Stored) -> tuple[Column | None, str]:
    if stored.texts:
        return None, "arrays of texts are not taken"
    if not stored.count:
        return None, "it has no values"
    datatype = stored.becomes or _WORDS[stored.code]
    if datatype == "unsignedByte" and stored.null is not None and (stored.pointer or stored.count > 1):
        datatype = "short"  # a missing byte in an array has no form in VOTable
    size: str | None = None
    if datatype == "char" or stored.pointer:
        size = "*"
    elif stored.code in "CM":
        size = str(2 * stored.count)
    elif stored.count > 1 or (stored.code == BITS and header.get(f"TDIM{number}")):
        size = str(stored.count)
    words = {
        word: str(header.get(f"{word}{number}", "")).strip() for word in ("TUNIT", "TUCD", "TCOMM", "TUTYP", "TXTYP")
    }
    return Column(stored.name, datatype, size, words["TXTYP"] or None, words["TUNIT"] or None, words["TUCD"] or None,
                  words["TUTYP"] or None, words["TCOMM"]), ""  # fmt: skip


def _batches(values: Sequence[Values], columns: tuple[Column, ...], rows: int, width: int) -> Iterator[Any]:
    import pyarrow as pa

    schema = arrow_schema(columns)
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // max(width, 1)))
    for begin in range(0, rows, step):
        end = min(begin + step, rows)
        arrays = [
            column_values.array(begin, end, schema.field(number).type) for number, column_values in enumerate(values)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)

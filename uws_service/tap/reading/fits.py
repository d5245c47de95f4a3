"""The first binary table of a FITS file, some rows at a time (FITS 4.0 §7.3); astropy reads the rows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from uws_service.adql.model import Column
from uws_service.tap.reading import Source, Unreadable, limited
from uws_service.tap.types import arrow_schema

ROWS = 50_000
_TYPES = {"b1": "boolean", "u1": "unsignedByte", "i1": "short", "i2": "short", "u2": "int", "i4": "int", "u4": "long",
          "i8": "long", "u8": "long", "f4": "float", "f8": "double"}  # fmt: skip
# Bytes of an element in the heap, at least.
_HEAP = {"L": 1, "X": 0.125, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8, "C": 8, "M": 16}


def read(path: Path) -> Source:
    """Units, UCDs (TUCDn) and comments (TCOMMn) come along; columns with no form in VOTable are left out."""
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oddities of old files are not the reader's business
        file = fits.open(path, memmap=True)  # noqa: TID251 -- a file here, which begins with SIMPLE
        table = next((one for one in file if isinstance(one, fits.BinTableHDU)), None)
        if table is None:
            raise Unreadable("The FITS file has no binary table.")
        header = table.header
        limited(int(header["TFIELDS"]))
        if table.size > path.stat().st_size:
            raise Unreadable("The FITS file is cut short.")
        if header["NAXIS2"] > 0 and header["NAXIS1"] < 1:
            raise Unreadable("The rows of the FITS table have no bytes.")
        data = table.data
        _check_heap(table)
        columns, kept, nulls, notes = [], [], [], []
        for number, name in enumerate(table.columns.names, 1):
            array = data.field(name)
            described = _column(name, array, header, number)
            if described is None:
                notes.append(f"the column {name!r} is left out: arrays of texts or of arrays are not taken")
                continue
            columns.append(described)
            kept.append(name)
            nulls.append(header.get(f"TNULL{number}"))
    found = tuple(columns)
    rows = _batches(file, data, kept, found, nulls)
    return Source(found, rows, len(data), name=str(header.get("EXTNAME", "")), notes=tuple(notes))


def _check_heap(table: Any) -> None:
    """Arrays of variable length lie in the table's heap, and no two of them in the same place (FITS 4.0 §7.3.5)."""
    rows = table.header["NAXIS1"] * table.header["NAXIS2"]
    size = table.header["PCOUNT"] - (table.header.get("THEAP", rows) - rows)
    pointers = np.asarray(table.data).view(np.ndarray)
    for column in table.columns:
        descriptor = re.match(r"[01]?[PQ]([A-Z])", column.format)
        if descriptor is None:
            continue
        counts, offsets = pointers[column.name].astype(float).reshape(-1, 2).T
        lengths = counts * _HEAP[descriptor.group(1)]
        if len(counts) and (counts.min() < 0 or offsets.min() < 0 or (offsets + lengths).max() > size
                            or lengths.sum(dtype=float) > size):  # fmt: skip
            raise Unreadable(f"The arrays of the column {column.name!r} do not lie in the FITS file.")


def _column(name: str, array: Any, header: Any, number: int) -> Column | None:
    kind = array.dtype
    size: str | None = None
    if kind.kind == "O":  # an array without a fixed size, from the heap
        element = next((one.dtype for one in array if len(one)), np.dtype("f8"))
        datatype, size = _TYPES.get(element.str[1:]), "*"
    elif kind.kind in "SU":
        if array.ndim > 1:
            return None
        datatype, size = "char", "*"
    else:
        datatype = _TYPES.get(kind.str[1:])
        if array.ndim > 1:
            size = "*" if array.ndim > 2 else str(array.shape[1])
    if datatype is None:
        return None
    words = {word: str(header.get(f"{word}{number}", "")).strip() for word in ("TUNIT", "TUCD", "TCOMM", "TUTYP")}
    return Column(name, datatype, size, None, words["TUNIT"] or None, words["TUCD"] or None, words["TUTYP"] or None,
                  words["TCOMM"])  # fmt: skip


def _batches(file: Any, data: Any, kept: list[str], columns: tuple[Column, ...], nulls: list[Any]) -> Iterator[Any]:
    kinds = arrow_schema(columns)
    with file:
        for begin in range(0, len(data), ROWS):
            part = data[begin : begin + ROWS]
            arrays = [
                _array(part.field(name), kinds.field(number).type, nulls[number]) for number, name in enumerate(kept)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=kinds)


def _array(values: Any, kind: Any, null: Any) -> Any:
    if values.dtype.kind in "SU":
        return pa.array([one.rstrip() or None for one in values.astype("U").tolist()], kind)
    if values.dtype.kind == "O":
        return pa.array([np.asarray(one).tolist() for one in values], kind)
    if values.ndim > 1:
        return pa.array([one.reshape(-1).tolist() for one in values], kind)
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    mask = None
    if native.dtype.kind == "f":
        mask = np.isnan(native)
    elif null is not None:
        mask = native == null
    return pa.array(native, mask=mask).cast(kind)

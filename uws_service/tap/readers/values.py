"""Values of VOTables to Arrow: texts of TABLEDATA, and rows of BINARY and BINARY2 (VOTable 1.4 §5, §6)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from uws_service.adql.model import Column
from uws_service.tap.readers import Unreadable
from uws_service.tap.types import TEXTS, arrow_schema, arrow_type, fixed_size, is_array

Nulls = list[str | None]
"""What stands for null in each column (VALUES null), as text."""
_TRUE = frozenset({"t", "true", "1"})
_FALSE = frozenset({"f", "false", "0"})
_FORMS = {"unsignedByte": "B", "short": "h", "int": "i", "long": "q", "float": "f", "double": "d"}


def from_texts(texts: Sequence[str | None], column: Column, null: str | None) -> Any:
    """A column's cells; an empty one is null, for texts as well, and so is what VALUES names."""
    kind = arrow_type(column)
    if column.datatype in TEXTS:
        return pa.array([one if one else None for one in texts], kind)
    read = _reader(column)
    try:
        if is_array(column):
            values: list[Any] = [[read(word) for word in one.split()] if one and one.strip() else None for one in texts]
            return pa.array(values, kind)
        return pa.array([None if not one or one.strip() in ("", null) else read(one) for one in texts], kind)
    except (ValueError, OverflowError, pa.ArrowInvalid) as error:
        what = " ".join(str(error).split())[:120]
        raise Unreadable(f"A value of the column {column.name!r} is no {column.datatype}: {what}.") from None


def _reader(column: Column) -> Callable[[str], Any]:
    if column.datatype == "boolean":
        return _boolean
    return float if column.datatype in ("float", "double") else _whole


def _boolean(text: str) -> bool | None:
    word = text.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _whole(text: str) -> int:
    word = text.strip()
    return int(word, 16) if word[:2].lower() == "0x" else int(word)


def binary_rows(data: bytes, columns: Sequence[Column], nulls: Nulls, *, flags: bool, size: int) -> Iterator[Any]:
    """Batches of rows; ``flags``: each row begins with its null bits (BINARY2)."""
    kinds = arrow_schema(columns)
    readers = [_cell(column) for column in columns]
    markers = [_marker(column, null) for column, null in zip(columns, nulls, strict=True)]
    width = (len(columns) + 7) // 8 if flags else 0
    cells: list[list[Any]] = [[] for _ in columns]
    place, total, count = 0, len(data), 0
    try:
        while place < total:
            bits = int.from_bytes(data[place : place + width], "big") if flags else 0
            place += width
            for number, read in enumerate(readers):
                value, place = read(data, place)
                gone = flags and bits >> (8 * width - 1 - number) & 1
                cells[number].append(None if gone or (markers[number] is not None and value == markers[number])
                                     else value)  # fmt: skip
            count += 1
            if count % size == 0:
                yield _arrays(cells, kinds)
                cells = [[] for _ in columns]
    except (struct.error, IndexError):
        raise Unreadable(f"The rows of the VOTable end in the middle of row {count + 1}.") from None
    if cells and cells[0]:
        yield _arrays(cells, kinds)


def _arrays(cells: Sequence[Sequence[Any]], kinds: Any) -> Any:
    arrays = [pa.array(cell, kinds.field(number).type) for number, cell in enumerate(cells)]
    return pa.RecordBatch.from_arrays(arrays, schema=kinds)


def _marker(column: Column, null: str | None) -> Any:
    if null is None or is_array(column) or column.datatype not in ("unsignedByte", "short", "int", "long"):
        return None
    try:
        return _whole(null)
    except ValueError:
        return None


def _cell(column: Column) -> Callable[[bytes, int], tuple[Any, int]]:
    """Reads one value at a place, and says where the next one begins."""
    fixed = fixed_size(column)
    count = 1 if column.arraysize is None else fixed
    if column.datatype in TEXTS:
        return _text_cell(count, 2 if column.datatype == "unicodeChar" else 1)
    if column.datatype == "boolean":
        return _boolean_cell(count)
    form = _FORMS[column.datatype]
    if not is_array(column):
        one = struct.Struct(f">{form}")

        def scalar(data: bytes, place: int) -> tuple[Any, int]:
            return one.unpack_from(data, place)[0], place + one.size

        return scalar
    unit = struct.calcsize(f">{form}")

    def several(data: bytes, place: int) -> tuple[Any, int]:
        number, place = _count(data, place, count, unit)
        return list(struct.unpack_from(f">{number}{form}", data, place)), place + number * unit

    return several


def _count(data: bytes, place: int, count: int | None, unit: int) -> tuple[int, int]:
    """How many elements follow: as declared, or as the four bytes before them say, if so many can be there."""
    if count is not None:
        return count, place
    (number,) = struct.unpack_from(">i", data, place)
    if number < 0 or number * unit > len(data) - place:
        raise IndexError
    return number, place + 4


def _text_cell(count: int | None, unit: int) -> Callable[[bytes, int], tuple[Any, int]]:
    def read(data: bytes, place: int) -> tuple[Any, int]:
        number, place = _count(data, place, count, unit)
        end = place + number * unit
        if end > len(data):
            raise IndexError
        raw = data[place:end]
        text = raw.decode("utf-16-be" if unit == 2 else "utf-8", "replace").partition("\0")[0]
        return (text.rstrip() if count is not None else text) or None, end

    return read


def _boolean_cell(count: int | None) -> Callable[[bytes, int], tuple[Any, int]]:
    def read(data: bytes, place: int) -> tuple[Any, int]:
        number, place = _count(data, place, count, 1)
        if place + number > len(data):
            raise IndexError
        values = [_boolean(chr(one)) for one in data[place : place + number]]
        return (values[0] if count == 1 else values), place + number

    return read

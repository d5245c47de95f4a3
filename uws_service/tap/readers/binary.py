"""Rows of BINARY and BINARY2 (VOTable 1.4 §5.3, §5.4) to Arrow, a column at a time.

Where each value lies is known from the counts alone; these are checked against the data before any value is read.
"""

from __future__ import annotations

import struct
from array import array as compact
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from uws_service.tap.readers import Unreadable
from uws_service.tap.readers.fields import BYTES, Field
from uws_service.tap.readers.words import scalars
from uws_service.tap.types import TEXTS, arrow_schema, arrow_type

ROWS = 20_000
"""Rows of one batch."""
BATCH_BYTES = 8 << 20
_COUNT = struct.Struct(">i")
_NUMBERS = {"unsignedByte": ">u1", "short": ">i2", "int": ">i4", "long": ">i8", "float": ">f4", "double": ">f8",
            "floatComplex": ">f4", "doubleComplex": ">f8"}  # fmt: skip
_TRUE, _FALSE, _NULL = b"Tt1", b"Ff0", b"? \0"


@dataclass(frozen=True, slots=True)
class Places:
    """Where rows begin, and where the values of each field with counts of its own begin, with their counts."""

    rows: Any
    starts: dict[int, Any]
    counts: dict[int, Any]


class Table:
    """All rows of a STREAM.

    Parameters
    ----------
    data
        The bytes.
    fields
        The columns of the document.
    flags
        Whether each row begins with its null bits (BINARY2).
    """

    def __init__(self, data: bytes, fields: Sequence[Field], *, flags: bool) -> None:
        self.data, self.fields = data, fields
        self.flags = (len(fields) + 7) // 8 if flags else 0
        # The standard counts elements; astropy counts slices of arrays whose last dimension alone is variable.
        self._slices = False
        try:
            self.places = self._found()
        except Unreadable:
            if all(one.count is not None or one.inner == 1 for one in fields):
                raise
            self._slices = True
            self.places = self._found()

    def _found(self) -> Places:
        fixed = [one.count is not None for one in self.fields]
        if all(fixed):
            width = self.flags + sum(map(width_of, self.fields))
            rows, rest = divmod(len(self.data), width) if width else (0, 0)
            if not width and self.data:
                raise Unreadable("The rows of the VOTable have no bytes.")
            if rest:
                raise Unreadable(f"The rows of the VOTable end in the middle of row {rows + 1}.")
            return Places(np.arange(rows, dtype=np.int64) * width, {}, {})
        return self._walked()

    def _walked(self) -> Places:
        data, total = self.data, len(self.data)
        steps, before = [], self.flags
        starts = {n: compact("q") for n, one in enumerate(self.fields) if one.count is None}
        counts = {n: compact("q") for n in starts}
        for number, one in enumerate(self.fields):
            if one.count is None:
                factor = one.inner if self._slices else 1
                steps.append((before, starts[number], counts[number], BYTES[one.datatype], factor, one.inner))
                before = 0
            else:
                before += width_of(one)
        rows, place = compact("q"), 0
        while place < total:
            rows.append(place)
            for skip, start, count, unit, factor, inner in steps:
                place += skip
                number = _COUNT.unpack_from(data, place)[0] * factor if place + 4 <= total else -1
                place += 4
                size = number * unit if unit else (number + 7) // 8
                if number < 0 or size > total - place or number % inner:
                    raise Unreadable(f"The rows of the VOTable end in the middle of row {len(rows)}.")
                start.append(place)
                count.append(number)
                place += size
            place += before
        if place != total:
            raise Unreadable(f"The rows of the VOTable end in the middle of row {len(rows)}.")
        return Places(
            np.asarray(rows, np.int64),
            {n: np.asarray(one, np.int64) for n, one in starts.items()},
            {n: np.asarray(one, np.int64) for n, one in counts.items()},
        )

    def wide(self) -> set[int]:
        """Return the columns of char with bytes beyond ASCII."""
        found = set()
        for number, one in enumerate(self.fields):
            if one.datatype == "char" and one.column is not None:
                for begin, end in self._parts():
                    if not b"".join(self._cells(number, begin, end)).isascii():
                        found.add(number)
                        break
        return found

    def batches(self, columns: Sequence[Any]) -> Iterator[Any]:
        """Yield the rows, with ``columns`` for the fields that have one."""
        schema = arrow_schema(columns)
        taken = [number for number, one in enumerate(self.fields) if one.column is not None]
        for begin, end in self._parts():
            nulls = self._nulls(begin, end)
            arrays = [
                self._array(number, column, begin, end, None if nulls is None else nulls[:, number])
                for number, column in zip(taken, columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Ranges of rows that have a bound number of bytes together, or are one row."""
        rows, begin = self.places.rows, 0
        while begin < len(rows):
            end = int(np.searchsorted(rows, rows[begin] + BATCH_BYTES, "right"))
            end = min(max(end, begin + 1), begin + ROWS)
            yield begin, end
            begin = end

    def _nulls(self, begin: int, end: int) -> Any:
        if not self.flags:
            return None
        raw = b"".join(self.data[place : place + self.flags] for place in self.places.rows[begin:end].tolist())
        bits = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(-1, self.flags), axis=1)
        return bits.astype(bool)

    def _cells(self, number: int, begin: int, end: int) -> list[bytes]:
        """The bytes of each value of a field."""
        one = self.fields[number]
        if one.count is None:
            starts = self.places.starts[number][begin:end]
            ends = starts + _sizes(one, self.places.counts[number][begin:end])
            return [self.data[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        offset, base = 0, self.places.rows[begin:end] + self.flags
        for before in range(number - 1, -1, -1):
            if self.fields[before].count is None:
                counts = self.places.counts[before][begin:end]
                base = self.places.starts[before][begin:end] + _sizes(self.fields[before], counts)
                break
            offset += width_of(self.fields[before])
        width = width_of(one)
        return [self.data[a : a + width] for a in (base + offset).tolist()]

    def _array(self, number: int, column: Any, begin: int, end: int, nulls: Any) -> Any:
        one, cells = self.fields[number], self._cells(number, begin, end)
        kind = arrow_type(column)
        if one.datatype in TEXTS:
            return _texts(cells, one, kind, nulls)
        if not pa.types.is_list(kind):
            return _masked(_values(b"".join(cells), one, kind), nulls)
        if one.datatype == "bit":
            return _bits(cells, one, self.places.counts.get(number), begin, kind, nulls)
        values = _values(b"".join(cells), one, kind.value_type)
        if one.count is None:
            counts = self.places.counts[number][begin:end]
        else:
            counts = np.full(end - begin, one.count, np.int64)
        return _lists(values, counts * (2 if one.datatype.endswith("Complex") else 1), kind, nulls)


def width_of(one: Field) -> int:
    """The bytes of each value of a field that has a fixed number of elements."""
    count = one.count or 0
    return (count + 7) // 8 if one.datatype == "bit" else count * BYTES[one.datatype]


def _sizes(one: Field, counts: Any) -> Any:
    return (counts + 7) // 8 if one.datatype == "bit" else counts * BYTES[one.datatype]


def _lists(values: Any, counts: Any, kind: Any, nulls: Any) -> Any:
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    mask = pa.array(nulls) if nulls is not None and nulls.any() else None
    return pa.ListArray.from_arrays(offsets, values, type=kind, mask=mask)


def _masked(values: Any, nulls: Any) -> Any:
    if nulls is None or not nulls.any():
        return values
    import pyarrow.compute as pc

    return pc.if_else(pa.array(nulls), pa.scalar(None, values.type), values)


def _values(raw: bytes, one: Field, kind: Any) -> Any:
    """Elements of a type, without the one that VALUES names as null."""
    if one.datatype == "bit":
        return pa.array(np.frombuffer(raw, np.uint8) != 0)  # one bit; some writers put it at the lower end
    if one.datatype == "boolean":
        return _booleans(raw, one)
    numbers = np.frombuffer(raw, _NUMBERS[one.datatype])
    numbers = numbers.astype(numbers.dtype.newbyteorder("="))
    mask = None
    if one.null is not None and one.null.strip() and one.column is not None:
        (null,) = scalars(pa.array([one.null]), one.column, kind).to_pylist()
        mask = numbers == null if null is not None else None
    return pa.array(numbers, kind, mask=mask)


def _booleans(raw: bytes, one: Field) -> Any:
    letters = np.frombuffer(raw, np.uint8)
    true, false = np.isin(letters, list(_TRUE)), np.isin(letters, list(_FALSE))
    known = true | false | np.isin(letters, list(_NULL))
    if not known.all():
        raise Unreadable(f"A value of the column {one.name!r} is no boolean: {chr(letters[~known][0])!r}.")
    return pa.array(true, mask=~(true | false))


def _bits(cells: Sequence[bytes], one: Field, counts: Any, begin: int, kind: Any, nulls: Any) -> Any:
    """Packed bits, the first one highest."""
    if one.count is not None:
        packed = np.frombuffer(b"".join(cells), np.uint8).reshape(len(cells), -1)
        bits = np.unpackbits(packed, axis=1)[:, : one.count].reshape(-1)
        numbers = np.full(len(cells), one.count, np.int64)
    else:
        numbers = counts[begin : begin + len(cells)]
        rows = [
            np.unpackbits(np.frombuffer(cell, np.uint8))[:number]
            for cell, number in zip(cells, numbers.tolist(), strict=True)
        ]
        bits = np.concatenate(rows) if rows else np.zeros(0, np.uint8)
    return _lists(pa.array(bits.astype(bool)), numbers, kind, nulls)


def _texts(cells: Sequence[bytes], one: Field, kind: Any, nulls: Any) -> Any:
    """Texts end at the first NUL; blanks at the end of those of fixed size only fill them up."""
    if one.datatype == "unicodeChar":
        texts = [cell.decode("utf-16-be", "replace") for cell in cells]
    else:
        texts = [text_of(cell) for cell in cells]
    texts = [text.partition("\0")[0] for text in texts]
    if one.count is not None:
        texts = [text.rstrip(" ") for text in texts]
    return _masked(pa.array(texts, kind), nulls)


def text_of(raw: bytes) -> str:
    """Return bytes of char as text: UTF-8 (VOTable 1.5), or what older writers mean by other bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")

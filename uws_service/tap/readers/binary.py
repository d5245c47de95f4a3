"""Rows of BINARY and BINARY2 to Arrow (VOTable 1.4 §5.3, §5.4).

Offsets follow from the counts alone; these are checked against the data before any value is read.
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
from uws_service.tap.readers.text_values import scalars
from uws_service.tap.types import TEXTS, arrow_schema, arrow_type

BATCH_ROWS = 20_000
"""Rows of one batch."""
BATCH_BYTES = 8 << 20
_COUNT = struct.Struct(">i")
_NUMBERS = {"unsignedByte": ">u1", "short": ">i2", "int": ">i4", "long": ">i8", "float": ">f4", "double": ">f8",
            "floatComplex": ">f4", "doubleComplex": ">f8"}  # fmt: skip
_TRUE, _FALSE, _NULL = b"Tt1", b"Ff0", b"? \0"


@dataclass(frozen=True, slots=True)
class Offsets:
    """Offsets of the rows and of variable-length fields.

    ``counts`` are the numbers of elements of the fields in ``starts``.
    """

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
            self.offsets = self._locate()
        except Unreadable:
            if all(field.count is not None or field.inner == 1 for field in fields):
                raise
            self._slices = True
            self.offsets = self._locate()

    def _locate(self) -> Offsets:
        fixed = [field.count is not None for field in self.fields]
        if all(fixed):
            width = self.flags + sum(map(width_of, self.fields))
            rows, remainder = divmod(len(self.data), width) if width else (0, 0)
            if not width and self.data:
                raise Unreadable("The rows of the VOTable have no bytes.")
            if remainder:
                raise Unreadable(f"The rows of the VOTable end in the middle of row {rows + 1}.")
            return Offsets(np.arange(rows, dtype=np.int64) * width, {}, {})
        return self._locate_variable()

    def _locate_variable(self) -> Offsets:
        data, total = self.data, len(self.data)
        steps, before = [], self.flags
        starts = {n: compact("q") for n, field in enumerate(self.fields) if field.count is None}
        counts = {n: compact("q") for n in starts}
        for number, field in enumerate(self.fields):
            if field.count is None:
                factor = field.inner if self._slices else 1
                steps.append((before, starts[number], counts[number], BYTES[field.datatype], factor, field.inner))
                before = 0
            else:
                before += width_of(field)
        rows, offset = compact("q"), 0
        while offset < total:
            rows.append(offset)
            for skip, start, count, unit, factor, inner in steps:
                offset += skip
                number = _COUNT.unpack_from(data, offset)[0] * factor if offset + 4 <= total else -1
                offset += 4
                size = number * unit if unit else (number + 7) // 8
                if number < 0 or size > total - offset or number % inner:
                    raise Unreadable(f"The rows of the VOTable end in the middle of row {len(rows)}.")
                start.append(offset)
                count.append(number)
                offset += size
            offset += before
        if offset != total:
            raise Unreadable(f"The rows of the VOTable end in the middle of row {len(rows)}.")
        return Offsets(
            np.asarray(rows, np.int64),
            {n: np.asarray(values, np.int64) for n, values in starts.items()},
            {n: np.asarray(values, np.int64) for n, values in counts.items()},
        )

    def wide(self) -> set[int]:
        """Return the columns of char with non-ASCII bytes."""
        numbers = set()
        for number, field in enumerate(self.fields):
            if field.datatype == "char" and field.column is not None:
                for begin, end in self._parts():
                    if not b"".join(self._cells(number, begin, end)).isascii():
                        numbers.add(number)
                        break
        return numbers

    def batches(self, columns: Sequence[Any]) -> Iterator[Any]:
        """Yield the rows, with ``columns`` for the fields that have one."""
        schema = arrow_schema(columns)
        numbers = [number for number, field in enumerate(self.fields) if field.column is not None]
        for begin, end in self._parts():
            nulls = self._nulls(begin, end)
            arrays = [
                self._array(number, column, begin, end, None if nulls is None else nulls[:, number])
                for number, column in zip(numbers, columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of rows of bounded size, or single rows."""
        rows, begin = self.offsets.rows, 0
        while begin < len(rows):
            end = int(np.searchsorted(rows, rows[begin] + BATCH_BYTES, "right"))
            end = min(max(end, begin + 1), begin + BATCH_ROWS)
            yield begin, end
            begin = end

    def _nulls(self, begin: int, end: int) -> Any:
        if not self.flags:
            return None
        raw = b"".join(self.data[offset : offset + self.flags] for offset in self.offsets.rows[begin:end].tolist())
        bits = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(-1, self.flags), axis=1)
        return bits.astype(bool)

    def _cells(self, number: int, begin: int, end: int) -> list[bytes]:
        """Return the bytes of each value of a field."""
        field = self.fields[number]
        if field.count is None:
            starts = self.offsets.starts[number][begin:end]
            ends = starts + _sizes(field, self.offsets.counts[number][begin:end])
            return [self.data[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        offset, base = 0, self.offsets.rows[begin:end] + self.flags
        for previous in range(number - 1, -1, -1):
            if self.fields[previous].count is None:
                counts = self.offsets.counts[previous][begin:end]
                base = self.offsets.starts[previous][begin:end] + _sizes(self.fields[previous], counts)
                break
            offset += width_of(self.fields[previous])
        width = width_of(field)
        return [self.data[a : a + width] for a in (base + offset).tolist()]

    def _array(self, number: int, column: Any, begin: int, end: int, nulls: Any) -> Any:
        field, cells = self.fields[number], self._cells(number, begin, end)
        kind = arrow_type(column)
        if field.datatype in TEXTS:
            return _texts(cells, field, kind, nulls)
        if not pa.types.is_list(kind):
            return _with_nulls(_values(b"".join(cells), field, kind), nulls)
        if field.datatype == "bit":
            return _bits(cells, field, self.offsets.counts.get(number), begin, kind, nulls)
        values = _values(b"".join(cells), field, kind.value_type)
        if field.count is None:
            counts = self.offsets.counts[number][begin:end]
        else:
            counts = np.full(end - begin, field.count, np.int64)
        return _lists(values, counts * (2 if field.datatype.endswith("Complex") else 1), kind, nulls)


def width_of(field: Field) -> int:
    """Return the bytes of a fixed-size field's value."""
    count = field.count or 0
    return (count + 7) // 8 if field.datatype == "bit" else count * BYTES[field.datatype]


def _sizes(field: Field, counts: Any) -> Any:
    return (counts + 7) // 8 if field.datatype == "bit" else counts * BYTES[field.datatype]


def _lists(values: Any, counts: Any, kind: Any, nulls: Any) -> Any:
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    mask = pa.array(nulls) if nulls is not None and nulls.any() else None
    return pa.ListArray.from_arrays(offsets, values, type=kind, mask=mask)


def _with_nulls(values: Any, nulls: Any) -> Any:
    if nulls is None or not nulls.any():
        return values
    import pyarrow.compute as pc

    return pc.if_else(pa.array(nulls), pa.scalar(None, values.type), values)


def _values(raw: bytes, field: Field, kind: Any) -> Any:
    """Return elements of a type, with nulls for VALUES null."""
    if field.datatype == "bit":
        return pa.array(np.frombuffer(raw, np.uint8) != 0)  # one bit; some writers put it at the lower end
    if field.datatype == "boolean":
        return _booleans(raw, field)
    numbers = np.frombuffer(raw, _NUMBERS[field.datatype])
    numbers = numbers.astype(numbers.dtype.newbyteorder("="))
    mask = None
    if field.null is not None and field.null.strip() and field.column is not None:
        (null,) = scalars(pa.array([field.null]), field.column, kind).to_pylist()
        mask = numbers == null if null is not None else None
    return pa.array(numbers, kind, mask=mask)


def _booleans(raw: bytes, field: Field) -> Any:
    letters = np.frombuffer(raw, np.uint8)
    true, false = np.isin(letters, list(_TRUE)), np.isin(letters, list(_FALSE))
    valid = true | false | np.isin(letters, list(_NULL))
    if not valid.all():
        raise Unreadable(f"A value of the column {field.name!r} is no boolean: {chr(letters[~valid][0])!r}.")
    return pa.array(true, mask=~(true | false))


def _bits(cells: Sequence[bytes], field: Field, counts: Any, begin: int, kind: Any, nulls: Any) -> Any:
    """Unpack bits, the first one highest."""
    if field.count is not None:
        packed = np.frombuffer(b"".join(cells), np.uint8).reshape(len(cells), -1)
        bits = np.unpackbits(packed, axis=1)[:, : field.count].reshape(-1)
        numbers = np.full(len(cells), field.count, np.int64)
    else:
        numbers = counts[begin : begin + len(cells)]
        rows = [
            np.unpackbits(np.frombuffer(cell, np.uint8))[:number]
            for cell, number in zip(cells, numbers.tolist(), strict=True)
        ]
        bits = np.concatenate(rows) if rows else np.zeros(0, np.uint8)
    return _lists(pa.array(bits.astype(bool)), numbers, kind, nulls)


def _texts(cells: Sequence[bytes], field: Field, kind: Any, nulls: Any) -> Any:
    """Return texts up to the first NUL, without padding."""
    if field.datatype == "unicodeChar":
        texts = [cell.decode("utf-16-be", "replace") for cell in cells]
    else:
        texts = [text_of(cell) for cell in cells]
    texts = [text.partition("\0")[0] for text in texts]
    if field.count is not None:
        texts = [text.rstrip(" ") for text in texts]
    return _with_nulls(pa.array(texts, kind), nulls)


def text_of(raw: bytes) -> str:
    """Decode bytes of char.

    UTF-8 (VOTable 1.5), or Latin-1, which older writers mean by other bytes.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")

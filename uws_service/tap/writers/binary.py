"""Rows in BINARY2 (VOTable 1.4 §5.4), a column at a time.

Each row is a bit for every null column, then each value: big-endian, with the number of elements before a value without
a fixed size. Offsets follow from the lengths alone, so all values of a column are placed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uws_service.adql.model import Column
from uws_service.tap.types import TEXTS, fixed_size
from uws_service.tap.writers.base import null_element

Bytes = Any
"""numpy arrays of uint8."""
BIG_ENDIAN = {"unsignedByte": ">u1", "short": ">i2", "int": ">i4", "long": ">i8", "float": ">f4", "double": ">f8"}


@dataclass(frozen=True, slots=True)
class Cells:
    """A column's values as bytes.

    ``fixed`` has the shape (rows, width); ``variable`` are bytes with ``sizes`` and ``counts`` by row.
    """

    fixed: Bytes = None
    variable: Bytes = None
    sizes: Any = None
    counts: Any = None


def rows(batch: Any, columns: Sequence[Column]) -> bytes:
    """Encode all rows of a batch."""
    number = batch.num_rows
    if not number:
        return b""
    pieces: list[Any] = []
    block = [_flags(batch)]  # columns of one width that stand beside each other
    for array, column in zip(batch.columns, columns, strict=True):
        cells = cells_of(array, column)
        if cells.fixed is not None:
            block.append(cells.fixed)
            continue
        block.append(np.ascontiguousarray(cells.counts, ">i4").view(np.uint8).reshape(-1, 4))
        pieces += [_block(block), _variable(cells)]
        block = []
    if not pieces:
        return np.hstack(block).tobytes()
    if block:
        pieces.append(_block(block))
    _, offsets, data = pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.large_binary())).buffers()
    return bytes(memoryview(data)[: memoryview(offsets).cast("q")[number]])


def _block(columns: Sequence[Bytes]) -> Any:
    """Return columns of fixed width as one value for each row."""
    joined = np.ascontiguousarray(np.hstack(columns))
    width = joined.shape[1]
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(joined), [None, pa.py_buffer(joined)])
    return fixed.cast(pa.large_binary())


def _variable(cells: Cells) -> Any:
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(cells.sizes, dtype=np.int64)])
    content = np.ascontiguousarray(cells.variable)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(cells.sizes), buffers)


def _flags(batch: Any) -> Bytes:
    """Return the null bits, the first column highest."""
    if not any(array.null_count for array in batch.columns):
        return np.zeros((batch.num_rows, -(-batch.num_columns // 8)), np.uint8)
    nulls = np.column_stack([pc.is_null(array).to_numpy(zero_copy_only=False) for array in batch.columns])
    return np.packbits(nulls, axis=1)


def cells_of(array: Any, column: Column) -> Cells:
    """Return a column's values as bytes."""
    if column.datatype in TEXTS:
        return _text_cells(array, column)
    size = fixed_size(column)
    if pa.types.is_list(array.type):
        if size is not None and size != 1:
            return Cells(fixed=_fixed_lists(array, column, size))
        counts = pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype(np.int64)
        flat = _numbers(array.flatten(), column.datatype, null_element(array, column))
        return Cells(variable=flat.reshape(-1), sizes=counts * flat.shape[1], counts=counts)
    return Cells(fixed=_numbers(array, column.datatype))


def _numbers(array: Any, datatype: str, null: int = 0) -> Bytes:
    """Return a row of bytes for each number.

    A null float is NaN, any other null is ``null``.
    """
    if datatype == "boolean":
        values = array.to_numpy(zero_copy_only=False)
        letters = np.full((len(array), 1), ord("?"), np.uint8)
        letters[values == True, 0] = ord("T")  # noqa: E712 -- an array of objects where there are nulls
        letters[values == False, 0] = ord("F")  # noqa: E712
        return letters
    if array.null_count:
        filler = float("nan") if pa.types.is_floating(array.type) else null
        array = pc.fill_null(array, pa.scalar(filler, array.type))
    values = array.to_numpy(zero_copy_only=False)
    kind = np.dtype(BIG_ENDIAN[datatype])
    return np.ascontiguousarray(values.astype(kind)).view(np.uint8).reshape(-1, kind.itemsize)


def _fixed_lists(array: Any, column: Column, size: int) -> Bytes:
    """Encode lists of one declared length.

    Fill null ones.
    """
    lengths = pc.fill_null(pc.list_value_length(array), size)
    if pc.any(pc.not_equal(lengths, size)).as_py():
        raise ValueError(f"a value of the column {column.name!r} has not the declared {size} numbers")
    values = _numbers(array.flatten(), column.datatype, null_element(array, column))
    width = values.shape[1] * size
    if not array.null_count:
        return values.reshape(-1, width)
    filler = _numbers(pa.nulls(size, array.type.value_type), column.datatype).reshape(-1)
    filled = np.tile(filler, (len(array), 1))
    filled[pc.is_valid(array).to_numpy(zero_copy_only=False)] = values.reshape(-1, width)
    return filled


def _text_cells(array: Any, column: Column) -> Cells:
    """Encode texts: UTF-8, or UTF-16 for unicodeChar (VOTable 1.5 §2.1), which 1.4 has without pairs.

    They are cut or padded where the size is fixed.
    """
    encoded = pc.cast(pc.fill_null(array, ""), pa.binary())
    unit = 1
    if column.datatype == "unicodeChar":
        unit = 2
        plain = pc.fill_null(array, "").to_pylist()
        encoded = pa.array([text.encode("utf-16-be") for text in plain], pa.binary())
    size = fixed_size(column) if column.arraysize else 1
    if size is not None:
        width = size * unit
        padded = [text[:width].ljust(width, b"\0") for text in encoded.to_pylist()]
        return Cells(fixed=np.frombuffer(b"".join(padded), np.uint8).reshape(-1, width))
    sizes = pc.binary_length(encoded).to_numpy().astype(np.int64)
    return Cells(variable=_content(encoded), sizes=sizes, counts=sizes // unit)


def _content(array: Any) -> Bytes:
    _, offsets, data = array.buffers()
    if data is None:
        return np.zeros(0, np.uint8)
    starts = np.frombuffer(offsets, np.int32)
    return np.frombuffer(data, np.uint8)[starts[array.offset] : starts[array.offset + len(array)]]

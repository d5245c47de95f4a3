"""Arrow types of VOTable's columns, and batches cast to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from uws_service.adql.model import Column
from uws_service.adql.types import type_of
from uws_service.domain.errors import UsageError

_TYPES = {
    "boolean": pa.bool_(),
    "unsignedByte": pa.uint8(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "char": pa.string(),
    "unicodeChar": pa.string(),
    "timestamp": pa.timestamp("us"),
    "point": pa.list_(pa.float64()),
    "circle": pa.list_(pa.float64()),
    "polygon": pa.list_(pa.float64()),
}


def arrow_type(column: Column) -> pa.DataType:
    """Return a column's Arrow type in engines and results.

    Times (xtype ``timestamp``) are ``timestamp[us]`` without zone, in UTC; geometries and arrays are lists.
    """
    kind = type_of(column)
    if kind in _TYPES:
        return _TYPES[kind]
    if column.datatype in _TYPES:
        return pa.list_(_TYPES[column.datatype])
    if column.datatype in ("floatComplex", "doubleComplex"):
        return pa.list_(pa.float32() if column.datatype == "floatComplex" else pa.float64())
    return pa.binary()


def schema(columns: Sequence[Column], names: Sequence[str]) -> pa.Schema:
    """Return a schema of these columns under these names."""
    return pa.schema([(name, arrow_type(column)) for column, name in zip(columns, names, strict=True)])


def conform(batches: Iterable[pa.RecordBatch], schema: pa.Schema, label: str) -> Iterator[pa.RecordBatch]:
    """Yield batches cast to a schema.

    `UsageError` names the column.
    """
    for batch in batches:
        if batch.num_columns != len(schema):
            raise UsageError(f"{label} has rows of {batch.num_columns} columns instead of {len(schema)}.")
        arrays = [_cast(array, field, label) for array, field in zip(batch.columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class Stream:
    """Batches on their way into an engine.

    The engine hides errors of its input behind its own; ``error`` is the original one, if any.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        self._batches = batches
        self.error: BaseException | None = None
        self.reader = pa.RecordBatchReader.from_batches(schema, self._listen())

    def _listen(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


def _cast(array: pa.Array, field: pa.Field, label: str) -> pa.Array:
    if array.type == field.type:
        return array
    try:
        if pa.types.is_string(array.type) and pa.types.is_timestamp(field.type):
            array = pc.replace_substring_regex(array, r"Z$", "")
        return array.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        name, reason = field.name, f"{array.type} can't be read as {field.type}"
        raise UsageError(f"{label}, column '{name}': a value of type {reason}.") from None

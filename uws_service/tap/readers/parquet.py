"""Parquet with metadata from a VOTable inside or Arrow's fields.

The VOTable is that of the VOParquet convention 1.0.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from uws_service.adql.model import Column
from uws_service.tap.readers import Source, Unreadable
from uws_service.tap.readers.nested_lists import flat_type, flattened, is_list, is_nested, leaves
from uws_service.tap.types import TEXTS, column_type, conform

BATCH_ROWS = 10_000
"""Rows of one batch, fewer where they hold long arrays."""
MAX_BATCH_ELEMENTS = 2_000_000
"""Elements of arrays in one batch, by what the file says of them."""
MAX_BATCH_BYTES = 512 << 20
"""Texts of one batch when unpacked: a small dictionary can stand for any amount of text."""


def read(path: Path) -> Source:
    """Open a table.

    Columns without a VOTable type are left out.
    """
    plain = pyarrow.parquet.ParquetFile(path)
    texts = [field.name for field in plain.schema_arrow if _is_text(field.type)]
    file = pyarrow.parquet.ParquetFile(path, read_dictionary=texts)
    schema = plain.schema_arrow
    documented = _described(schema.metadata or {})
    columns: list[Column] = []
    included: list[int] = []
    notes: list[str] = []
    for number, field in enumerate(schema):
        try:
            datatype, size, xtype, reason = _type(file, number, field.type)
        except ValueError as error:
            notes.append(f"the column {field.name!r} is left out: {error}")
            continue
        if reason:
            notes.append(f"the column {field.name!r} is read as text: {reason}")
        words = {name.decode(): value.decode("utf-8", "replace") for name, value in (field.metadata or {}).items()}
        column = Column(field.name, datatype, size, xtype, words.get("unit"), words.get("ucd"), words.get("utype"),
                        words.get("description", ""))  # fmt: skip
        documentation = documented.get(field.name)
        if documentation is not None:
            column = replace(column, xtype=documentation.xtype or xtype, unit=documentation.unit, ucd=documentation.ucd,
                             utype=documentation.utype, description=documentation.description)  # fmt: skip
        columns.append(column)
        included.append(number)
    columns_read = tuple(columns)
    return Source(columns_read, _batches(file, included, columns_read), file.metadata.num_rows, notes=tuple(notes))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _type(file: Any, number: int, kind: Any) -> tuple[str, str | None, str | None, str]:
    """Return datatype, arraysize, xtype, and why numbers are texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_time(kind):
        return "char", "*", None, ""
    if is_nested(kind):
        kind = flat_type(kind, (batch.column(0) for batch in _read(file, [number])))
    datatype, size, xtype = column_type(kind)
    if datatype == "unsignedByte" and is_list(kind) and not _every(file, number, _has_all_elements):
        return "short", size, None, ""  # a missing byte has no form in VOTable
    if pa.types.is_uint64(kind) and not _every(file, number, _fits_long):
        return "char", "*", None, "some of its numbers have more than 63 bits"
    if pa.types.is_decimal(kind):
        if kind.scale <= 0 and _every(file, number, _fits_long):
            return "long", None, None, ""
        if not _every(file, number, _fits_double):
            return "char", "*", None, "some of its numbers have more digits than a double"
    if pa.types.is_timestamp(kind) and kind.unit == "ns" and not _every(file, number, _fits_microseconds):
        return "char", "*", None, "its times are finer than a microsecond"
    if datatype in TEXTS and _is_text(kind) and not _every(file, number, _is_ascii):
        datatype = "unicodeChar"
    return datatype, size, xtype, ""


def _every(file: Any, number: int, condition: Callable[[Any], bool]) -> bool:
    """Return whether all values of a column meet a condition."""
    return all(condition(batch.column(0)) for batch in _read(file, [number]))


def _is_ascii(array: Any) -> bool:
    values = array.dictionary if pa.types.is_dictionary(array.type) else array
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raise Unreadable("A text of the table is no UTF-8.") from None
    return pc.all(pc.string_is_ascii(values)).as_py() is not False


def _has_all_elements(array: Any) -> bool:
    return int(leaves(array).null_count) == 0


def _fits_long(array: Any) -> bool:
    return _casts(array, pa.int64())


def _fits_microseconds(array: Any) -> bool:
    return _casts(array, pa.timestamp("us", array.type.tz))


def _casts(array: Any, kind: Any) -> bool:
    try:
        pc.cast(array, kind, safe=True)
    except pa.ArrowInvalid:
        return False
    return True


def _fits_double(array: Any) -> bool:
    """Return whether every decimal is its double's shortest text."""
    doubles = pc.cast(array, pa.float64()).to_pylist()
    return all(
        exact is None or exact == type(exact)(repr(near))
        for exact, near in zip(array.to_pylist(), doubles, strict=True)
    )


def _read(file: Any, numbers: list[int]) -> Iterator[Any]:
    """Yield batches of some columns, smaller for long arrays."""
    schema = file.schema_arrow
    metadata, rows = file.metadata, BATCH_ROWS
    arrays = {schema.field(number).name for number in numbers if pa.types.is_nested(schema.field(number).type)}
    for group in range(metadata.num_row_groups if arrays else 0):
        part = metadata.row_group(group)
        for place in range(part.num_columns):
            chunk = part.column(place)
            if chunk.path_in_schema.partition(".")[0] in arrays and part.num_rows:
                rows = min(rows, max(1, MAX_BATCH_ELEMENTS * part.num_rows // max(1, chunk.num_values)))
    names = [schema.field(number).name for number in numbers]
    if len(set(schema.names)) < len(schema.names):
        raise Unreadable("Two columns of the Parquet file have the same name.")
    for batch in file.iter_batches(batch_size=rows, columns=names):
        yield batch.select(names)


def _batches(file: Any, included: list[int], columns: tuple[Column, ...]) -> Iterator[Any]:
    for batch in _read(file, included):
        if sum(map(_unpacked_bytes, batch.columns)) > MAX_BATCH_BYTES:
            raise Unreadable("The texts of the table need more memory than there is.")
        arrays = [flattened(array) if is_nested(array.type) else array for array in batch.columns]
        yield conform(pa.RecordBatch.from_arrays(arrays, names=batch.schema.names), columns)


def _unpacked_bytes(array: Any) -> int:
    """Return the bytes of texts in a dictionary array."""
    if not pa.types.is_dictionary(array.type):
        return 0
    lengths = pc.binary_length(array.dictionary).cast(pa.int64())
    return int(pc.sum(pc.take(lengths, array.indices)).as_py() or 0)


def _described(metadata: dict[bytes, bytes]) -> dict[str, Column]:
    content = metadata.get(b"IVOA.VOTable-Parquet.content")
    if content is None:
        return {}
    from uws_service.tap.readers.votable import read as read_votable

    with tempfile.NamedTemporaryFile(suffix=".vot") as draft:
        draft.write(content)
        draft.flush()
        return {column.name: column for column in read_votable(Path(draft.name)).columns}

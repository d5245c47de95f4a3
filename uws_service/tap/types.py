"""VOTable's types and Arrow's, in both directions.

VOTable 1.4 §2.1 has the types and §6 their meaning; DALI 1.1 §3.3 the xtypes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from uws_service.adql.model import Column

_ARROW = {
    "boolean": pa.bool_(),
    "unsignedByte": pa.uint8(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "char": pa.string(),
    "unicodeChar": pa.string(),
}
TEXTS = frozenset({"char", "unicodeChar"})
NULL_ELEMENTS = {"short": -(2**15), "int": -(2**31), "long": -(2**63)}
"""What stands for a missing element in an array of whole numbers, where a format has no other word (VALUES null).

Every byte is a value, so readers make arrays with missing bytes arrays of short."""
_TEXTUAL = {"bool": "boolean", "uint8": "unsignedByte", "int8": "short", "int16": "short", "int32": "int",
            "int64": "long", "uint16": "int", "uint32": "long", "uint64": "long", "halffloat": "float",
            "float": "float", "double": "double", "string": "char", "large_string": "char"}  # fmt: skip


def is_array(column: Column) -> bool:
    """Return whether a value is several numbers.

    An array of characters is one text.
    """
    return column.arraysize not in (None, "", "1") and column.datatype not in TEXTS


def fixed_size(column: Column) -> int | None:
    """Return the fixed number of elements, or None."""
    size = column.arraysize or ""
    return int(size) if re.fullmatch(r"\d+", size) else None


def arrow_type(column: Column) -> Any:
    """Return the Arrow type of a column."""
    if column.datatype not in _ARROW:
        raise ValueError(f"{column.name}: the datatype {column.datatype!r} is not known")
    element = _ARROW[column.datatype]
    return pa.list_(element) if is_array(column) else element


def arrow_schema(columns: Sequence[Column]) -> Any:
    """Return the Arrow schema of columns."""
    return pa.schema([pa.field(column.name, arrow_type(column)) for column in columns])


def column_type(kind: Any) -> tuple[str, str | None, str | None]:
    """Return datatype, arraysize and xtype of an Arrow type.

    ValueError for types that VOTable does not have.
    """
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "char", "*", "timestamp"
    if pa.types.is_dictionary(kind):
        return column_type(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner, size, _ = column_type(kind.value_type)
        if size is not None:
            raise ValueError("arrays of texts or of arrays have no form in VOTable's tables here")
        return inner, str(kind.list_size) if pa.types.is_fixed_size_list(kind) else "*", None
    if pa.types.is_decimal(kind):
        return "double", None, None
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "unsignedByte", "*", None
    if pa.types.is_null(kind):
        return "char", "*", None
    name = _TEXTUAL.get(str(kind))
    if name is None:
        raise ValueError(f"the type {kind} has no form in VOTable")
    return name, "*" if name == "char" else None, None


def conform(batch: Any, columns: Sequence[Column]) -> Any:
    """Return the batch with the declared names and types.

    Raises
    ------
    ValueError
        A value does not fit its declared type; the text names the column.
    """
    arrays = []
    for array, column in zip(batch.columns, columns, strict=True):
        try:
            arrays.append(_conformed(array, column))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"the column {column.name!r}: {' '.join(str(error).split())[:200]}") from error
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))


def require_sizes(batch: Any, columns: Sequence[Column]) -> None:
    """Check that values have their declared sizes: readers of binary forms would take other ones for them.

    Raises
    ------
    ValueError
        An array has another number of elements than declared, or a text is longer; the text names the column.
    """
    for array, column in zip(batch.columns, columns, strict=True):
        is_text = column.datatype in TEXTS
        size = 1 if is_text and not column.arraysize else fixed_size(column)
        if size is None or not (is_text or is_array(column)):
            continue
        if is_text:  # a char is a byte, a unicodeChar two
            pairs = pc.count_substring_regex(array, "[\\x{10000}-\\x{10FFFF}]")
            lengths = pc.binary_length(array) if column.datatype == "char" else pc.add(pc.utf8_length(array), pairs)
            wrong = pc.greater(lengths, size)
        else:
            lengths = pc.list_value_length(array)
            wrong = pc.not_equal(lengths, size)
        if pc.any(wrong).as_py():
            units = "characters" if is_text else "elements"
            raise ValueError(
                f"a value of the column {column.name!r} has {lengths.filter(wrong)[0]} {units}; {size} are declared"
            )


def _conformed(array: Any, column: Column) -> Any:
    target = arrow_type(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type == target:
        return array
    if column.datatype in TEXTS and (pa.types.is_timestamp(array.type) or pa.types.is_date(array.type)):
        return timestamps(array)
    if pa.types.is_list(target) and (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        return pa.array([None if value is None else list(value) for value in array.to_pylist()], target)
    if pa.types.is_decimal(array.type) and pa.types.is_integer(target):
        return pc.cast(array, target, safe=True)
    return pc.cast(array, target, safe=not pa.types.is_floating(target))


def timestamps(array: Any) -> Any:
    """Format instants as DALI does, in UTC without a zone.

    Fractions of a second appear where there are any.
    """
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = pc.cast(array, pa.timestamp(array.type.unit, "UTC"))
        array = pc.cast(array, pa.timestamp(array.type.unit))
    if pa.types.is_date(array.type):
        array = pc.cast(array, pa.timestamp("ms"), safe=False)
    # Not strftime, which looks for a database of time zones: images of pods may have none.
    text = pc.replace_substring(pc.cast(array, pa.string()), " ", "T")
    return pc.replace_substring_regex(pc.replace_substring_regex(text, r"\.0+$", ""), r"(\.\d*?[1-9])0+$", r"\1")

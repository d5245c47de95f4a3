"""The types of ADQL values (ADQL 2.1 §3).

They are those of VOTable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from uws_service.adql.model import Column

# "null" is the type of NULL; "other" is what can only be returned: arrays, bytes.
INTEGERS = ("unsignedByte", "short", "int", "long")
NUMBERS = (*INTEGERS, "float", "double")
STRINGS = ("char", "unicodeChar")
GEOMETRIES = ("point", "circle", "polygon")

_PHRASES = {
    "boolean": "a truth value",
    "timestamp": "a time",
    "point": "a POINT",
    "circle": "a CIRCLE",
    "polygon": "a POLYGON",
    "null": "NULL",
    "other": "an array",
}


def in_words(kind: str) -> str:
    """Return a type in words for a person."""
    if kind in NUMBERS:
        return "a number"
    return "a string" if kind in STRINGS else _PHRASES[kind]


def type_of(column: Column) -> str:
    """Return the type of a column's values."""
    if column.datatype in STRINGS:
        return "timestamp" if column.xtype == "timestamp" else column.datatype
    if column.xtype in GEOMETRIES and column.datatype in ("float", "double"):
        return column.xtype
    if column.arraysize not in (None, "", "1"):
        return "other"
    return column.datatype if column.datatype in (*NUMBERS, "boolean") else "other"


def column_of(kind: str, name: str) -> Column:
    """Return a result's column of that type."""
    if kind in ("timestamp", "null"):
        return Column(name, "char", "*", "timestamp" if kind == "timestamp" else None)
    if kind in GEOMETRIES:
        return Column(name, "double", {"point": "2", "circle": "3", "polygon": "*"}[kind], kind)
    return Column(name, kind, "*" if kind in STRINGS else None)


def common(first: str, second: str) -> str | None:
    """Return the type that holds both, or None."""
    if first == second or second == "null":
        return first
    if first == "null":
        return second
    if first in NUMBERS and second in NUMBERS:
        kinds = {first, second}
        if "float" in kinds and kinds & {"int", "long"}:
            return "double"
        return max(first, second, key=NUMBERS.index)
    if first in STRINGS and second in STRINGS:
        return "unicodeChar"
    return None


def widened(column: Column, kind: str) -> Column:
    """Return the column with another type."""
    if type_of(column) == kind:
        return column
    bare = column_of(kind, column.name)
    return replace(column, datatype=bare.datatype, arraysize=bare.arraysize, xtype=bare.xtype)


def with_room(column: Column, others: Iterable[Column]) -> Column:
    """Return the column with a size that others' values fit too."""
    if column.arraysize is None and column.datatype not in STRINGS:
        return column
    if all(other.arraysize == column.arraysize for other in others):
        return column
    return replace(column, arraysize="*")

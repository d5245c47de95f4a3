"""The types of ADQL values, which are those of VOTable, and how they go together (ADQL 2.1 §3)."""

from __future__ import annotations

from dataclasses import replace

from uws_service.adql.model import Column

# "null" is the type of NULL; "other" is what can only be returned: arrays, bytes.
INTEGERS = ("unsignedByte", "short", "int", "long")
NUMBERS = (*INTEGERS, "float", "double")
STRINGS = ("char", "unicodeChar")
GEOMETRIES = ("point", "circle", "polygon")

_WORDS = {
    "boolean": "a truth value",
    "timestamp": "a time",
    "point": "a POINT",
    "circle": "a CIRCLE",
    "polygon": "a POLYGON",
    "null": "NULL",
    "other": "an array",
}


def in_words(kind: str) -> str:
    """A type for a person."""
    if kind in NUMBERS:
        return "a number"
    return "a string" if kind in STRINGS else _WORDS[kind]


def type_of(column: Column) -> str:
    """The type of a column's values."""
    if column.datatype in STRINGS:
        return "timestamp" if column.xtype == "timestamp" else column.datatype
    if column.xtype in GEOMETRIES and column.datatype in ("float", "double"):
        return column.xtype
    if column.arraysize not in (None, "", "1"):
        return "other"
    return column.datatype if column.datatype in (*NUMBERS, "boolean") else "other"


def column_of(kind: str, name: str) -> Column:
    """A column of a result with values of that type."""
    if kind in ("timestamp", "null"):
        return Column(name, "char", "*", "timestamp" if kind == "timestamp" else None)
    if kind in GEOMETRIES:
        return Column(name, "double", {"point": "2", "circle": "3", "polygon": "*"}[kind], kind)
    return Column(name, kind, "*" if kind in STRINGS else None)


def common(left: str, right: str) -> str | None:
    """The type that holds values of both; None when there is none."""
    if left == right or right == "null":
        return left
    if left == "null":
        return right
    if left in NUMBERS and right in NUMBERS:
        both = {left, right}
        if "float" in both and both & {"int", "long"}:
            return "double"
        return max(left, right, key=NUMBERS.index)
    if left in STRINGS and right in STRINGS:
        return "unicodeChar"
    return None


def widened(column: Column, kind: str) -> Column:
    """The column with another type but the same words about it."""
    if type_of(column) == kind:
        return column
    bare = column_of(kind, column.name)
    return replace(column, datatype=bare.datatype, arraysize=bare.arraysize, xtype=bare.xtype)

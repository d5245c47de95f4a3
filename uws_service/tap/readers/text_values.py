"""Values written as text, to Arrow arrays of a declared type.

CSV, ECSV and TABLEDATA have such values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from uws_service.adql.model import Column
from uws_service.tap.readers import Unreadable
from uws_service.tap.types import TEXTS, arrow_type

INTEGERS = frozenset({"unsignedByte", "short", "int", "long"})
TRUE, FALSE, UNKNOWN = ("t", "true", "1"), ("f", "false", "0"), ("?",)
_FORTRAN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[dD][+-]?\d+")


def typed(texts: Any, column: Column, null: str | None = None) -> Any:
    """Parse a column's values.

    ``null`` stands for a missing number (VALUES null).

    Raises
    ------
    Unreadable
        A value is not of the column's type; the text names both.
    """
    kind = arrow_type(column)
    if column.datatype in TEXTS:
        return texts.cast(kind)
    if not pa.types.is_list(kind):
        return scalars(texts, column, kind, null)
    words = pc.split_pattern_regex(pc.utf8_trim_whitespace(texts), r"\s+")
    lengths = pc.fill_null(pc.list_value_length(words), 0)
    values = scalars(words.flatten(), column, kind.value_type, null)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, values, type=kind)


def scalars(texts: Any, column: Column, kind: Any, null: str | None = None) -> Any:
    """Parse single values of an Arrow type.

    Blank texts are null.
    """
    words = pc.utf8_trim_whitespace(texts)
    words = pc.if_else(pc.equal(pc.binary_length(words), 0), pa.scalar(None, words.type), words)
    if pa.types.is_boolean(kind):
        return _booleans(words, column)
    try:
        values = pc.cast(words, kind)
    except pa.ArrowInvalid:
        values = _by_hand(words, column, kind)
    if null is not None and null.strip():
        mark = _by_hand(pa.array([null.strip()]), column, kind)[0]
        values = pc.if_else(pc.equal(values, mark), pa.scalar(None, kind), values)
    return values


def _booleans(words: Any, column: Column) -> Any:
    lower = pc.utf8_lower(words)
    yes, no = pc.is_in(lower, pa.array(TRUE)), pc.is_in(lower, pa.array(FALSE))
    valid = pc.or_(pc.or_(yes, no), pc.is_in(lower, pa.array(UNKNOWN)))
    if pc.any(pc.and_(pc.is_valid(words), pc.invert(valid))).as_py():
        wrong = words.filter(pc.and_(pc.is_valid(words), pc.invert(valid)))[0].as_py()
        raise _wrong(wrong, column)
    return pc.if_else(pc.or_(yes, no), yes, pa.scalar(None, pa.bool_()))


def _by_hand(words: Any, column: Column, kind: Any) -> Any:
    """Parse values that Arrow cannot.

    Signs, hexadecimal integers, Fortran's exponents.
    """
    read: Callable[[str], Any] = _integer if pa.types.is_integer(kind) else _float
    values = []
    for word in words.to_pylist():
        try:
            values.append(None if word is None else pa.scalar(read(word), kind).as_py())
        except (ValueError, OverflowError, pa.ArrowInvalid):
            raise _wrong(word, column) from None
    return pa.array(values, kind)


def _integer(word: str) -> int:
    if re.fullmatch(r"[+-]?\d+", word, re.ASCII):
        return int(word)
    if re.fullmatch(r"[+-]?0[xX][0-9a-fA-F]+", word):
        return int(word, 16)
    raise ValueError(word)


def _float(word: str) -> float:
    if _FORTRAN.fullmatch(word):
        return float(word.lower().replace("d", "e"))
    if "_" in word:
        raise ValueError(word)
    return float(word)


def _wrong(word: str, column: Column) -> Unreadable:
    return Unreadable(f"A value of the column {column.name!r} is no {column.datatype}: {word[:80]!r}.")

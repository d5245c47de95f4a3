"""Inferring the types of columns from all of their values.

No value may lose a digit. What is not entirely numeric stays text: sexagesimal angles, times of day, words. Integers
with leading zeros are texts too (plates, postal codes, padded identifiers), and so are those beyond 63 bits or, beside
decimals, beyond the 53 bits of a double.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from uws_service.adql.model import Column

_NULL_WORD = r"(?i)^\s*(null|nan|n/a|na|none|\\N)\s*$"
"""Words that stand for missing numbers in CSV; in a column of texts they are texts."""
_INTEGER = r"^\s*[+-]?\d+\s*$"
_PADDED = r"^\s*[+-]?0\d"
_REAL = r"(?i)^\s*[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)\s*$"
_LONG_INTEGER = r"^\s*[+-]?\d{16,}\s*$"
_LONG_PART = r"^\s*[+-]?0*[1-9]\d{15,}\."
_INFINITE = r"(?i)inf"
_MANTISSA = r"^\s*[+-]?[0.]*[1-9]"
_BOOLEAN = r"(?i)^\s*(true|false)\s*$"
_TIME = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?Z?$"
MAX_EXACT_DOUBLE = 2**53


class Kind(enum.Enum):
    """Kinds of values in a column."""

    INTEGER = enum.auto()
    REAL = enum.auto()
    BOOLEAN = enum.auto()
    TIME = enum.auto()
    TEXT = enum.auto()


@dataclass
class TypeInference:
    """Observations of a column's values so far."""

    kinds: set[Kind] = field(default_factory=set)
    padded: bool = False
    """Whole numbers have leading zeros."""
    beyond_long: bool = False
    beyond_double: bool = False
    has_null_words: bool = False
    """Words such as NULL or NaN occur."""
    has_non_ascii: bool = False
    """Characters other than ASCII occur."""

    def observe(self, texts: Any) -> None:
        """Take the next values into account."""
        values = texts.drop_null()
        if not self.has_non_ascii and not pc.all(pc.string_is_ascii(values)).as_py():
            self.has_non_ascii = bool(len(values))
        if not len(values) or Kind.TEXT in self.kinds:
            return
        if not self._observe(values):
            has_null_words = pc.match_substring_regex(values, _NULL_WORD)
            if pc.any(has_null_words).as_py():
                self.has_null_words = True
                values = values.filter(pc.invert(has_null_words))
            if len(values) and not self._observe(values):
                self.kinds.add(Kind.TEXT)

    def _observe(self, values: Any) -> bool:
        if _all(values, _INTEGER):
            self._observe_integers(values)
        elif _all(values, _REAL):
            is_integer = pc.match_substring_regex(values, _INTEGER)
            self._observe_integers(values.filter(is_integer))
            self._observe_reals(values.filter(pc.invert(is_integer)))
        elif _all(values, _BOOLEAN):
            self.kinds.add(Kind.BOOLEAN)
        elif _all(values, _TIME) and _are_times(values):
            self.kinds.add(Kind.TIME)
        else:
            return False
        return True

    def _observe_integers(self, values: Any) -> None:
        if not len(values):
            return
        self.kinds.add(Kind.INTEGER)
        self.padded = self.padded or _any(values, _PADDED)
        long = values.filter(pc.match_substring_regex(values, _LONG_INTEGER))
        if _any(long, r"[1-9]\d{19,}"):  # including those too long for int()
            self.beyond_long = self.beyond_double = True
            return
        for number in map(int, long.to_pylist()):
            self.beyond_long = self.beyond_long or not -(2**63) <= number < 2**63
            self.beyond_double = self.beyond_double or not -MAX_EXACT_DOUBLE <= number <= MAX_EXACT_DOUBLE

    def _observe_reals(self, values: Any) -> None:
        self.kinds.add(Kind.REAL)
        numbers = pc.cast(pc.utf8_trim_whitespace(values), pa.float64())
        overflowed = pc.and_(pc.is_inf(numbers), pc.invert(pc.match_substring_regex(values, _INFINITE)))
        underflowed = pc.and_(pc.equal(numbers, 0), pc.match_substring_regex(values, _MANTISSA))
        if pc.any(pc.or_(overflowed, underflowed)).as_py() or _any(values, _LONG_PART):
            self.beyond_double = True

    def column(self, name: str) -> tuple[Column, str]:
        """Return the inferred column, and why numbers are texts, if so."""
        text = Column(name, "unicodeChar" if self.has_non_ascii else "char", "*")
        if self.kinds == {Kind.INTEGER}:
            if self.padded:
                return text, "its numbers have leading zeros"
            if self.beyond_long:
                return text, "some of its whole numbers have more than 63 bits"
            return Column(name, "long"), ""
        if self.kinds and self.kinds <= {Kind.INTEGER, Kind.REAL}:
            if self.beyond_double:
                return text, "some of its numbers have more digits than a double"
            return Column(name, "double"), ""
        if self.kinds == {Kind.BOOLEAN}:
            return Column(name, "boolean"), ""
        if self.kinds == {Kind.TIME}:
            return Column(name, "char", "*", "timestamp"), ""
        return text, ""

    def words(self, texts: Any) -> Any:
        """Return the values as `typed` expects them."""
        if self.has_null_words and ((Kind.TEXT not in self.kinds and len(self.kinds) < 2) or self._numbers()):
            has_null_words = pc.match_substring_regex(texts, _NULL_WORD)
            texts = pc.if_else(has_null_words, pa.scalar(None, texts.type), texts)
        if self.kinds == {Kind.TIME}:
            texts = pc.replace_substring_regex(pc.replace_substring(texts, " ", "T"), "Z$", "")
        return texts

    def _numbers(self) -> bool:
        return self.kinds == {Kind.INTEGER, Kind.REAL}


def _all(values: Any, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _any(values: Any, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, pattern)).as_py())


def _are_times(values: Any) -> bool:
    try:
        pc.cast(pc.replace_substring_regex(values, "Z$", ""), pa.timestamp("us"))
    except pa.ArrowInvalid:
        return False
    return True

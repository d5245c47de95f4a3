"""Values on their way into SQL: text, type, and what is known about them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from uws_service.adql.errors import Fault
from uws_service.adql.model import Column, Dialect
from uws_service.adql.scope import Origin
from uws_service.adql.types import INTEGERS, NUMBERS, STRINGS, in_words

LONGEST_SQL = 1_000_000  # characters: what a short query with functions in functions could become


@dataclass(frozen=True, slots=True)
class Shape:
    """A geometry whose numbers are known one by one: point 2, circle 3, polygon 6 or more."""

    numbers: tuple[Translated, ...]

    @property
    def constant(self) -> list[float] | None:
        """The numbers if all are constants."""
        found = [n.number for n in self.numbers if n.number is not None]
        return found if len(found) == len(self.numbers) else None


@dataclass(frozen=True, slots=True)
class Translated:
    """A value in SQL.

    ``free`` are the columns of grouped queries outside of aggregates, by number of the scope, SQL and place. ``test``
    is the condition that a 1 or 0 stands for, ``beside`` a condition of an index that follows from it. ``words`` is
    what the result's column inherits.
    """

    sql: str
    type: str
    at: int
    words: Column | None = None
    free: frozenset[tuple[int, str, int]] = frozenset()
    aggregated: bool = False
    number: float | None = None
    shape: Shape | None = None
    test: str | None = None
    beside: str | None = None
    origin: Origin | None = None
    name: str = ""
    literal: bool = False

    @property
    def unit(self) -> str | None:
        return self.words.unit if self.words else None


def made(sql: str, kind: str, at: int, *parts: Translated, unit: str | None = None, name: str = "") -> Translated:
    """A value made of others."""
    if len(sql) > LONGEST_SQL:
        raise Fault("the query is too large when it is written out", at, "Compute parts of it in WITH or a subquery.")
    free = frozenset[tuple[int, str, int]]().union(*(p.free for p in parts))
    words = Column("", unit=unit) if unit else None
    return Translated(sql, kind, at, words, free, any(p.aggregated for p in parts), name=name)


def with_words(value: Translated, words: Column | None) -> Translated:
    """The value with unit, UCD and description."""
    return replace(value, words=words)


_DUCKDB = {
    "boolean": "BOOLEAN",
    "unsignedByte": "SMALLINT",
    "short": "SMALLINT",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "REAL",
    "double": "DOUBLE",
    "char": "VARCHAR",
    "unicodeChar": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "null": "VARCHAR",
}
_POSTGRESQL = {**_DUCKDB, "double": "double precision", "char": "text", "unicodeChar": "text", "null": "text"}


@dataclass(frozen=True, slots=True)
class Sql:
    """How the two SQLs say the same."""

    dialect: Dialect

    @property
    def duckdb(self) -> bool:
        return self.dialect == "duckdb"

    def has(self, extension: Literal["pgsphere", "q3c"]) -> bool:
        """Whether the server has that extension."""
        return extension in self.dialect.split("+")

    def type(self, kind: str) -> str:
        """The name of a type."""
        names = _DUCKDB if self.duckdb else _POSTGRESQL
        return names.get(kind) or names["double"] + "[]"

    def cast(self, value: Translated, kind: str) -> str:
        """The SQL of a value as another type."""
        if value.type == kind:
            return value.sql
        return f"CAST({value.sql} AS {self.type(kind)})"

    def double(self, value: Translated) -> str:
        """As a double, for functions of numbers."""
        if value.number is not None:
            return self.constant(value.number)
        return self.cast(value, "double")

    def constant(self, number: float) -> str:
        """A double that is neither infinite nor NaN."""
        text = repr(float(number))
        if self.duckdb:
            text = text if "e" in text else text + "e0"
            return f"({text})" if number < 0 else text
        return f"'{text}'::float8"

    def array(self, numbers: list[str]) -> str:
        """An array of doubles."""
        return f"[{', '.join(numbers)}]" if self.duckdb else f"ARRAY[{', '.join(numbers)}]::float8[]"

    def string(self, text: str) -> str:
        """A string, quoted; both engines read a backslash as itself."""
        return "'" + text.replace("'", "''") + "'"

    def ordered(self, sql: str, kind: str) -> str:
        """A value to be sorted or compared by size: strings by their code points in both engines."""
        return f'({sql} COLLATE "C")' if kind in STRINGS and not self.duckdb else sql


def must_be_number(value: Translated, what: str) -> None:
    """Refuse anything but numbers and NULL."""
    if value.type not in (*NUMBERS, "null"):
        hint = "CAST(… AS DOUBLE PRECISION) makes a number of a string." if value.type in STRINGS else ""
        raise Fault(f"{what} takes numbers, not {in_words(value.type)}", value.at, hint)


def must_be_string(value: Translated, what: str) -> None:
    """Refuse anything but strings and NULL."""
    if value.type not in (*STRINGS, "null"):
        hint = "CAST(… AS VARCHAR) makes a string of it." if value.type in (*NUMBERS, "timestamp") else ""
        raise Fault(f"{what} takes strings, not {in_words(value.type)}", value.at, hint)


_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})([T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?)?Z?\Z")


def must_be_time(value: Translated) -> None:
    """Refuse a string constant that is no time of DALI 1.1 §3.3.3; engines know words such as 'now'."""
    if not value.literal or value.type not in STRINGS:
        return
    text = value.sql[1:-1]
    try:
        if _TIME.match(text):
            datetime.fromisoformat(text.removesuffix("Z"))
            return
    except ValueError:
        pass
    raise Fault(f"'{text}' is not a time", value.at, "Times are written as 2020-02-29T12:30:00.")


def wide(kind: str) -> str:
    """The type that arithmetic is done in: small integers as INTEGER, REAL as DOUBLE."""
    if kind == "float":
        return "double"
    return "int" if kind in INTEGERS[:2] else kind

"""Values in SQL: text, type and metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from uws_service.adql.errors import Fault
from uws_service.adql.model import Column, Dialect
from uws_service.adql.scope import Origin
from uws_service.adql.types import INTEGERS, NUMBERS, STRINGS, in_words

MAX_SQL_CHARACTERS = 1_000_000  # a short query with functions in functions can become very long


@dataclass(frozen=True, slots=True)
class Shape:
    """A geometry by its numbers.

    A point has 2, a circle 3, a polygon 6 or more.
    """

    numbers: tuple[Translated, ...]

    @property
    def constant(self) -> list[float] | None:
        """Return the numbers if all are constants."""
        constants = [n.number for n in self.numbers if n.number is not None]
        return constants if len(constants) == len(self.numbers) else None


@dataclass(frozen=True, slots=True)
class Translated:
    """A value in SQL.

    ``free`` are the columns of grouped queries outside of aggregates, by number of the scope, SQL and place.
    ``condition`` is what a 1 or 0 stands for, ``index`` a condition of an index that follows from it. ``metadata`` is
    what the result's column inherits.
    """

    sql: str
    type: str
    at: int
    metadata: Column | None = None
    free: frozenset[tuple[int, str, int]] = frozenset()
    aggregated: bool = False
    number: float | None = None
    shape: Shape | None = None
    condition: str | None = None
    index: str | None = None
    origin: Origin | None = None
    name: str = ""
    literal: bool = False

    @property
    def unit(self) -> str | None:
        return self.metadata.unit if self.metadata else None


def compose(sql: str, kind: str, at: int, *parts: Translated, unit: str | None = None, name: str = "") -> Translated:
    """Return a value composed of others."""
    if len(sql) > MAX_SQL_CHARACTERS:
        raise Fault("the query is too large when it is written out", at, "Compute parts of it in WITH or a subquery.")
    free = frozenset[tuple[int, str, int]]().union(*(p.free for p in parts))
    metadata = Column("", unit=unit) if unit else None
    return Translated(sql, kind, at, metadata, free, any(p.aggregated for p in parts), name=name)


def with_metadata(value: Translated, metadata: Column | None) -> Translated:
    """Return the value with unit, UCD and description."""
    return replace(value, metadata=metadata)


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
    """The SQL that the engines write differently."""

    dialect: Dialect

    @property
    def duckdb(self) -> bool:
        return self.dialect == "duckdb"

    def has(self, extension: Literal["pgsphere", "q3c"]) -> bool:
        """Return whether the server has that extension."""
        return extension in self.dialect.split("+")

    def type(self, kind: str) -> str:
        """Return the name of a type."""
        names = _DUCKDB if self.duckdb else _POSTGRESQL
        return names.get(kind) or names["double"] + "[]"

    def cast(self, value: Translated, kind: str) -> str:
        """Return a value as another type."""
        if value.type == kind:
            return value.sql
        return f"CAST({value.sql} AS {self.type(kind)})"

    def double(self, value: Translated) -> str:
        """Return a value as a double."""
        if value.number is not None:
            return self.constant(value.number)
        return self.cast(value, "double")

    def constant(self, number: float) -> str:
        """Return a constant double, neither infinite nor NaN."""
        text = repr(float(number))
        if self.duckdb:
            text = text if "e" in text else text + "e0"
            return f"({text})" if number < 0 else text
        return f"'{text}'::float8"

    def array(self, numbers: list[str]) -> str:
        """Return an array of doubles."""
        return f"[{', '.join(numbers)}]" if self.duckdb else f"ARRAY[{', '.join(numbers)}]::float8[]"

    def string(self, text: str) -> str:
        """Quote a string.

        Both engines read a backslash as itself.
        """
        return "'" + text.replace("'", "''") + "'"

    def ordered(self, sql: str, kind: str) -> str:
        """Return a value that is sorted or compared.

        Strings go by their code points in both engines.
        """
        return f'({sql} COLLATE "C")' if kind in STRINGS and not self.duckdb else sql


def must_be_number(value: Translated, subject: str) -> None:
    """Refuse anything but numbers and NULL."""
    if value.type not in (*NUMBERS, "null"):
        hint = "CAST(… AS DOUBLE PRECISION) makes a number of a string." if value.type in STRINGS else ""
        raise Fault(f"{subject} takes numbers, not {in_words(value.type)}", value.at, hint)


def must_be_string(value: Translated, subject: str) -> None:
    """Refuse anything but strings and NULL."""
    if value.type not in (*STRINGS, "null"):
        hint = "CAST(… AS VARCHAR) makes a string of it." if value.type in (*NUMBERS, "timestamp") else ""
        raise Fault(f"{subject} takes strings, not {in_words(value.type)}", value.at, hint)


_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})([T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?)?Z?\Z")


def must_be_time(value: Translated) -> None:
    """Refuse a constant that is no time (DALI 1.1 §3.3.3).

    Engines would take words such as 'now'.
    """
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


def arithmetic_type(kind: str) -> str:
    """Return the type that arithmetic is done in.

    Small integers are computed as INTEGER, REAL as DOUBLE.
    """
    if kind == "float":
        return "double"
    return "int" if kind in INTEGERS[:2] else kind

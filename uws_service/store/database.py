"""A small interface to two databases: statements, transactions, reads.

Statements are SQLAlchemy Core, compiled once for the driver and then sent as text: an ORM session on the way of each
GET would cost more than the rest of the request.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy.sql import ClauseElement

if TYPE_CHECKING:
    from sqlalchemy import Compiled, Dialect

T = TypeVar("T")
_NAMED = re.compile(r"%\((\w+)\)s")
Row = tuple[Any, ...]
Params = Mapping[str, Any]


class Query:
    """A statement as text for both drivers, with named parameters; compiled when it is first used.

    ``for_postgresql`` is the statement there if the databases' own constructs differ.
    """

    def __init__(self, statement: ClauseElement, for_postgresql: ClauseElement | None = None) -> None:
        self._statement = statement
        self._for_postgresql = statement if for_postgresql is None else for_postgresql

    @cached_property
    def sqlite(self) -> str:
        """Return the text for SQLite."""
        return str(self._compiled)

    @cached_property
    def postgresql(self) -> str:
        """Return the text for PostgreSQL."""
        return str(self._for_postgresql.compile(dialect=_postgresql()))

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Return the values that the statement itself has."""
        return {name: value for name, value in self._compiled.params.items() if value is not None}

    @cached_property
    def _compiled(self) -> Compiled:
        return self._statement.compile(dialect=_sqlite())


class Joint:
    """Changes that go together, of whose results nobody needs any: one round trip on PostgreSQL.

    They share their parameters. Each changes a table of its own: on PostgreSQL they are one statement, whose parts
    don't see what the others do.
    """

    def __init__(self, *queries: Query) -> None:
        self._queries = queries

    @cached_property
    def sqlite(self) -> tuple[str, ...]:
        """Return the texts for SQLite, which takes no changes within a statement."""
        return tuple(query.sqlite for query in self._queries)

    @cached_property
    def postgresql(self) -> tuple[str, tuple[str, ...]]:
        """Return the text for PostgreSQL with numbered parameters, and their names in that order.

        The driver would read a text with more than fifty names anew at each execution.
        """
        *parts, final = (query.postgresql for query in self._queries)
        named = ", ".join(f"part_{number} AS ({text})" for number, text in enumerate(parts))
        text = f"WITH {named} {final}" if parts else final
        names = tuple(dict.fromkeys(_NAMED.findall(text)))
        numbers = {name: f"${number}" for number, name in enumerate(names, 1)}
        return _NAMED.sub(lambda match: numbers[match[1]], text).replace("%%", "%"), names

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Return the values that the statements themselves have."""
        return {name: value for query in self._queries for name, value in query.defaults.items()}


@cache
def _sqlite() -> Dialect:
    from sqlalchemy.dialects import sqlite

    return sqlite.dialect(paramstyle="named")


@cache
def _postgresql() -> Dialect:
    from sqlalchemy.dialects import postgresql

    dialect: Dialect = postgresql.psycopg.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]
    return dialect


class Transaction(Protocol):
    """The transaction of a write operation."""

    def rows(self, query: Query, params: Params) -> Sequence[Row]:
        """Run a statement and return its rows."""

    def change(self, query: Query, params: Params) -> int:
        """Run a statement and return the number of changed rows."""

    def together(self, joint: Joint, params: Params) -> None:
        """Run changes at once."""


class Database(Protocol):
    """A database of either kind."""

    duplicate: type[Exception]
    """What a write raises that meets a unique index."""

    async def read(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows, outside any transaction."""

    def pages(self, query: Query, params: Params, size: int) -> AsyncIterator[Sequence[Row]]:
        """Yield the rows of a statement page by page: a long answer is never in memory as a whole."""

    async def read_large(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows that may have many MiB; the event loop goes on meanwhile."""

    async def write(self, operation: Callable[[Transaction], T]) -> T:
        """Run an operation in a transaction.

        Return its value once that is durable.
        """

    async def close(self) -> None:
        """End all connections."""

"""A small interface to two databases: statements, transactions, reads.

Statements are SQLAlchemy Core, compiled once for the driver and then sent as text: an ORM session on the way of each
GET would cost more than the rest of the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement

T = TypeVar("T")
Row = tuple[Any, ...]
Params = Mapping[str, Any]

_SQLITE = sqlite.dialect(paramstyle="named")
_POSTGRESQL: Dialect = postgresql.psycopg.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]


class Query:
    """A statement as text for both drivers, with named parameters.

    ``for_postgresql`` is the statement there if the databases' own constructs differ.
    """

    __slots__ = ("defaults", "postgresql", "sqlite")

    def __init__(self, statement: ClauseElement, for_postgresql: ClauseElement | None = None) -> None:
        lite = statement.compile(dialect=_SQLITE)
        post = (statement if for_postgresql is None else for_postgresql).compile(dialect=_POSTGRESQL)
        self.sqlite = str(lite)
        self.postgresql = str(post)
        self.defaults = {name: value for name, value in lite.params.items() if value is not None}


class Transaction(Protocol):
    """The transaction of a write operation."""

    def rows(self, query: Query, params: Params) -> Sequence[Row]:
        """Run a statement and return its rows."""

    def change(self, query: Query, params: Params) -> int:
        """Run a statement and return the number of changed rows."""


class Database(Protocol):
    """A database of either kind."""

    async def read(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows, outside any transaction."""

    async def write(self, operation: Callable[[Transaction], T]) -> T:
        """Run an operation in a transaction; return its value once that is durable."""

    async def close(self) -> None:
        """End all connections."""

"""Two databases behind one small face: statements made once, short transactions, plain reads.

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
    """One statement as text for both drivers; parameters by name.

    ``other`` is the statement for PostgreSQL where the two databases' own constructs differ.
    """

    __slots__ = ("defaults", "postgresql", "sqlite")

    def __init__(self, statement: ClauseElement, other: ClauseElement | None = None) -> None:
        lite = statement.compile(dialect=_SQLITE)
        post = (statement if other is None else other).compile(dialect=_POSTGRESQL)
        self.sqlite = str(lite)
        self.postgresql = str(post)
        self.defaults = {name: value for name, value in lite.params.items() if value is not None}


class Transaction(Protocol):
    """What a write operation works with; all of it is committed or none."""

    def rows(self, query: Query, params: Params) -> Sequence[Row]:
        """The rows that a statement gives."""

    def change(self, query: Query, params: Params) -> int:
        """Carry a statement out; how many rows it changed."""


class Database(Protocol):
    """A database of either kind."""

    async def read(self, query: Query, params: Params) -> Sequence[Row]:
        """Rows, outside any transaction of the caller's."""

    async def write(self, operation: Callable[[Transaction], T]) -> T:
        """Carry out the operation in a transaction; return its value once that is durable."""

    async def close(self) -> None:
        """End all connections."""

"""Tables as ADQL sees them, and translated queries.

Pure data, shared by translator, engines and TAP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The engines that SQL is made for; PostgreSQL with the extensions that the server has.
Dialect = Literal["duckdb", "postgresql", "postgresql+pgsphere", "postgresql+q3c", "postgresql+pgsphere+q3c"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or result in VOTable terms.

    ``datatype``, ``arraysize`` and ``xtype`` as in VOTable 1.4; ``unit`` as in VOUnits; ``indexed``, ``principal``
    and ``std`` as in TAP_SCHEMA (TAP 1.1 §4.3).
    """

    name: str
    datatype: str = "char"
    arraysize: str | None = None
    xtype: str | None = None
    unit: str | None = None
    ucd: str | None = None
    utype: str | None = None
    description: str = ""
    indexed: bool = False
    principal: bool = True
    std: bool = False


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns that name rows of another table (TAP 1.1 §4.4)."""

    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A published table.

    ``position`` names its columns of ICRS longitude and latitude in degrees, where it has them.
    ``schema`` and ``name`` are as users write them; an engine derives its own physical names from them.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    description: str = ""
    utype: str | None = None
    kind: str = "table"
    position: tuple[str, str] | None = None
    foreign_keys: tuple[ForeignKey, ...] = ()

    @property
    def full_name(self) -> str:
        """Return ``schema.name``."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Translation:
    """A query in an engine's SQL.

    ``columns`` tell name, type, unit and UCD of what it returns, in order; ``tables`` the full names of the published
    tables that it reads; ``limit`` its own TOP, None without one. Where there is a limit, the SQL ends with
    `` LIMIT n``; where there is none, `` LIMIT n`` may be appended.
    """

    sql: str
    columns: tuple[Column, ...]
    tables: tuple[str, ...]
    limit: int | None = None

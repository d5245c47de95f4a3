"""How published tables and columns are named inside an engine; translator and engines share it."""

from __future__ import annotations

import hashlib

from uws_service.adql.model import Dialect, Table

HEALPIX = "__healpix29"  # hidden column of DuckDB's tables: nested HEALPix number of depth 29
_LONGEST = 63  # bytes of a name in PostgreSQL
_PASSING = ("tap_upload", "tap_schema")  # live in memory or in temporary tables


def bare(name: str) -> str:
    """A name of a table or column without the double quotes it may be published with."""
    if len(name) > 2 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    return name


def identifier(name: str) -> str:
    """Quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def is_passing(table: Table) -> bool:
    """Whether it lives in memory only: uploads, and TAP_SCHEMA."""
    return bare(table.schema).lower() in _PASSING


def has_healpix(table: Table, dialect: Dialect) -> bool:
    """Whether the engine keeps a HEALPix column for the positions of this table."""
    return dialect == "duckdb" and table.position is not None and not is_passing(table)


def table_name(table: Table) -> str:
    """The name of a passing table, unquoted."""
    name = f"{bare(table.schema).lower()}.{bare(table.name)}"
    if len(name.encode()) <= _LONGEST:
        return name
    return name.encode()[:20].decode(errors="ignore") + hashlib.sha256(name.encode()).hexdigest()[:40]


def table_sql(table: Table) -> str:
    """What stands in FROM."""
    if is_passing(table):
        return identifier(table_name(table))
    return f"{identifier(bare(table.schema))}.{identifier(bare(table.name))}"


def column_names(table: Table, dialect: Dialect) -> tuple[str, ...]:
    """The names of its columns in the engine, unquoted; as DuckDB takes "a" for "A", one of them gets a number."""
    names: list[str] = []
    taken = {HEALPIX}
    for column in table.columns:
        name = bare(column.name)
        if dialect == "duckdb" or is_passing(table):
            stem, number = name, 1
            while name.lower() in taken or len(name.encode()) > _LONGEST:
                number += 1
                name = f"{stem.encode()[: _LONGEST - 8].decode(errors='ignore')}_{number}"
            taken.add(name.lower())
        names.append(name)
    return tuple(names)

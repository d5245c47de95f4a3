"""Names of tables and columns inside an engine.

The translator and the engines share them.
"""

from __future__ import annotations

import hashlib

from uws_service.adql.model import Dialect, Table

HEALPIX = "__healpix29"  # hidden column of DuckDB's tables: nested HEALPix number of depth 29
_MAX_NAME_BYTES = 63  # in PostgreSQL
_TRANSIENT_SCHEMAS = ("tap_upload", "tap_schema")  # live in memory or in temporary tables


def bare(name: str) -> str:
    """Return a published name without its double quotes."""
    if len(name) > 2 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    return name


def identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def is_transient(table: Table) -> bool:
    """Return whether a table lives in memory only.

    Uploads and TAP_SCHEMA do.
    """
    return bare(table.schema).lower() in _TRANSIENT_SCHEMAS


def has_healpix(table: Table, dialect: Dialect) -> bool:
    """Return whether the table has a HEALPix column."""
    return dialect == "duckdb" and table.position is not None and not is_transient(table)


def table_name(table: Table) -> str:
    """Return the unquoted name of a transient table."""
    name = f"{bare(table.schema).lower()}.{bare(table.name)}"
    if len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    return name.encode()[:20].decode(errors="ignore") + hashlib.sha256(name.encode()).hexdigest()[:40]


def table_sql(table: Table) -> str:
    """Return a table as it stands in FROM."""
    if is_transient(table):
        return identifier(table_name(table))
    return f"{identifier(bare(table.schema))}.{identifier(bare(table.name))}"


def column_names(table: Table, dialect: Dialect) -> tuple[str, ...]:
    """Return the columns' names in the engine, unquoted.

    DuckDB takes "a" for "A", so one of them gets a number.
    """
    names: list[str] = []
    used_names = {HEALPIX}
    for column in table.columns:
        name = bare(column.name)
        if dialect == "duckdb" or is_transient(table):
            stem, number = name, 1
            while name.lower() in used_names or len(name.encode()) > _MAX_NAME_BYTES:
                number += 1
                name = f"{stem.encode()[: _MAX_NAME_BYTES - 8].decode(errors='ignore')}_{number}"
            used_names.add(name.lower())
        names.append(name)
    return tuple(names)

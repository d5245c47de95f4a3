"""TAP_SCHEMA: the published tables as tables (TAP 1.1 §4)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from uws_service.adql.model import Column, ForeignKey, Table
from uws_service.adql.names import needs_quotes
from uws_service.tap.catalogue import schemas_of

SCHEMA = "TAP_SCHEMA"
DESCRIPTIONS = {
    SCHEMA: "The tables and columns of this service, as tables",
    "openngc": "OpenNGC: the NGC and IC objects",
    "ivoa": "Tables that the Virtual Observatory defines",
}
"""What is said of schemas that are known."""


def _text(name: str, description: str, size: str = "*", *, std: bool = True) -> Column:
    return Column(name, "char", size, description=description, std=std)


def _integer(name: str, description: str) -> Column:
    return Column(name, "int", description=description, std=True)


def _table(name: str, description: str, columns: Sequence[Column], *keys: ForeignKey) -> Table:
    return Table(SCHEMA, name, tuple(columns), description, foreign_keys=keys)


TABLES: tuple[Table, ...] = (
    _table(
        "schemas",
        "Schemas of this service",
        [
            _text("schema_name", "Name of the schema"),
            _text("utype", "UType of the schema"),
            _text("description", "What the schema holds"),
            _integer("schema_index", "Recommended order of the schemas"),
        ],
    ),
    _table(
        "tables",
        "Tables of this service",
        [
            _text("schema_name", "Schema of the table"),
            _text("table_name", "Name of the table, with its schema, as it is written in a query"),
            _text("table_type", "table or view"),
            _text("utype", "UType of the table"),
            _text("description", "What the table holds"),
            _integer("table_index", "Recommended order of the tables"),
        ],
        ForeignKey(("schema_name",), f"{SCHEMA}.schemas", ("schema_name",), "The schema of a table"),
    ),
    _table(
        "columns",
        "Columns of all tables of this service",
        [
            _text("table_name", "Table of the column"),
            _text("column_name", "Name of the column, as it is written in a query"),
            _text("datatype", "Type, as in VOTable"),
            _text("arraysize", "Size of arrays and texts, as in VOTable"),
            _text("xtype", "What the value means, as in DALI"),
            _integer("size", "Deprecated: the number in arraysize"),
            _text("description", "What the column holds"),
            _text("utype", "UType of the column"),
            _text("unit", "Unit, as in VOUnits"),
            _text("ucd", "UCD of the column"),
            _integer("indexed", "1 if the column has an index"),
            _integer("principal", "1 if the column is one of the most important"),
            _integer("std", "1 if a standard defines the column"),
            _integer("column_index", "Recommended order of the columns"),
        ],
        ForeignKey(("table_name",), f"{SCHEMA}.tables", ("table_name",), "The table of a column"),
    ),
    _table(
        "keys",
        "Foreign keys between the tables",
        [
            _text("key_id", "Name of the key"),
            _text("from_table", "Table that has the key"),
            _text("target_table", "Table that the key leads to"),
            _text("description", "What the key means"),
            _text("utype", "UType of the key"),
        ],
        ForeignKey(("from_table",), f"{SCHEMA}.tables", ("table_name",), "The table that has a key"),
        ForeignKey(("target_table",), f"{SCHEMA}.tables", ("table_name",), "The table that a key leads to"),
    ),
    _table(
        "key_columns",
        "Columns of the foreign keys",
        [
            _text("key_id", "Name of the key"),
            _text("from_column", "Column of the table that has the key"),
            _text("target_column", "Column of the table that the key leads to"),
        ],
        ForeignKey(("key_id",), f"{SCHEMA}.keys", ("key_id",), "The key of a pair of columns"),
    ),
)
"""The five tables; any service's own come beside them."""


def quoted(name: str) -> str:
    """Return a name as queries write it (TAP 1.1 §4.3).

    It is in double quotes unless it is a regular identifier.
    """
    return '"' + name.replace('"', '""') + '"' if needs_quotes(name) else name


def with_tap_schema(tables: Sequence[Table]) -> tuple[Table, ...]:
    """Return the tables together with those of TAP_SCHEMA."""
    return (*tables, *TABLES)


def rows(tables: Sequence[Table]) -> Mapping[str, Any]:
    """Return the five tables' content by name."""
    keys = [
        (f"key_{number}", table.full_name, key)
        for number, (table, key) in enumerate(((item, key) for item in tables for key in item.foreign_keys), 1)
    ]
    values: dict[str, list[tuple[Any, ...]]] = {
        "schemas": [(name, None, DESCRIPTIONS.get(name), number) for number, name in enumerate(schemas_of(tables), 1)],
        "tables": [
            (item.schema, item.full_name, item.kind, item.utype, item.description or None, number)
            for number, item in enumerate(tables, 1)
        ],
        "columns": [
            (item.full_name, *_described(column), number)
            for item in tables
            for number, column in enumerate(item.columns, 1)
        ],
        "keys": [(name, table, key.target, key.description or None, None) for name, table, key in keys],
        "key_columns": [
            (name, quoted(from_column), quoted(target_column))
            for name, _, key in keys
            for from_column, target_column in zip(key.columns, key.target_columns, strict=True)
        ],
    }
    return {table.name: _batch(table, values[table.name]) for table in TABLES}


def _described(column: Column) -> tuple[Any, ...]:
    return (
        quoted(column.name),
        column.datatype,
        column.arraysize,
        column.xtype,
        size_of(column),
        column.description or None,
        column.utype,
        column.unit,
        column.ucd,
        int(column.indexed),
        int(column.principal),
        int(column.std),
    )


def size_of(column: Column) -> int | None:
    """Return the number in an arraysize (TAP 1.1 §4.3).

    It is deprecated there, but mandatory.
    """
    if column.arraysize in (None, "1"):
        return None
    bound = re.fullmatch(r"(\d+)\*?", column.arraysize or "")
    return int(bound[1]) if bound else None


def _batch(table: Table, values: Sequence[tuple[Any, ...]]) -> Any:
    import pyarrow as pa  # the service itself reads only the definitions above

    from uws_service.tap.types import arrow_schema

    kinds = arrow_schema(table.columns)
    columns = [pa.array([row[number] for row in values], kinds.field(number).type) for number in range(len(kinds))]
    return pa.RecordBatch.from_arrays(columns, schema=kinds)

"""Published tables of a PostgreSQL database.

They are read from its own TAP_SCHEMA if it has one, else from its catalogue. Without a ``tap_schema``, comments are
descriptions, and a comment of a column may begin with its unit and UCD in brackets:
``[deg; pos.eq.ra;meta.main] Right ascension``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from uws_service.adql.model import Column, ForeignKey, Table
from uws_service.domain.errors import ConfigurationError
from uws_service.tap.catalogue import Published
from uws_service.tap.tap_schema import quoted

_TYPES = {
    "boolean": ("boolean", None, None),
    "smallint": ("short", None, None),
    "integer": ("int", None, None),
    "bigint": ("long", None, None),
    "real": ("float", None, None),
    "double precision": ("double", None, None),
    "numeric": ("double", None, None),
    "text": ("char", "*", None),
    "character varying": ("char", "*", None),
    "character": ("char", "*", None),
    "uuid": ("char", "*", None),
    "date": ("char", "*", "timestamp"),
    "timestamp without time zone": ("char", "*", "timestamp"),
    "timestamp with time zone": ("char", "*", "timestamp"),
    "real[]": ("float", "*", None),
    "double precision[]": ("double", "*", None),
    "smallint[]": ("short", "*", None),
    "integer[]": ("int", "*", None),
    "bigint[]": ("long", "*", None),
    "spoint": ("double", "2", "point"),
    "scircle": ("double", "3", "circle"),
    "spoly": ("double", "*", "polygon"),
}
_MARKED = re.compile(r"\[([^];]*);\s*([^]]*)\]\s*(.*)", re.DOTALL)
_COLUMNS = """
SELECT n.nspname, c.relname, c.relkind, c.reltuples, obj_description(c.oid, 'pg_class'), a.attname,
       regexp_replace(format_type(a.atttypid, NULL), '^.*\\.', ''), col_description(c.oid, a.attnum),
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'v', 'm', 'p', 'f') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname, a.attnum
"""
_KEYS = """
SELECT n.nspname, c.relname, fn.nspname, f.relname,
       ARRAY(SELECT attname::text FROM unnest(k.conkey) WITH ORDINALITY u(num, ord)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY ord),
       ARRAY(SELECT attname::text FROM unnest(k.confkey) WITH ORDINALITY u(num, ord)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY ord)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND n.nspname = ANY(%s) AND fn.nspname = ANY(%s) ORDER BY 1, 2, k.conname
"""
_DESCRIBED = (
    "SELECT table_name, column_name, description, unit, ucd, utype, xtype, principal, std FROM tap_schema.columns"
)


def published(url: str, schemas: Sequence[str]) -> tuple[Published, ...]:
    """Return the readable tables and views of the schemas.

    Columns of unknown types are left out.
    """
    names = list(schemas) or ["public"]
    try:
        with psycopg.connect(url, connect_timeout=10, options="-c default_transaction_read_only=on") as connection:
            columns = connection.execute(_COLUMNS, (names,)).fetchall()
            keys = connection.execute(_KEYS, (names, names)).fetchall()
            has_metadata = connection.execute("SELECT to_regclass('tap_schema.columns') IS NOT NULL").fetchone()
            metadata_rows = connection.execute(_DESCRIBED).fetchall() if has_metadata and has_metadata[0] else []
    except psycopg.Error as error:
        # The driver's own words may repeat the URL.
        raise ConfigurationError(f"The tables of the PostgreSQL can't be read ({type(error).__name__}).") from None
    metadata = {(row[0].lower(), row[1].strip('"').lower()): row[2:] for row in metadata_rows}
    return tuple(_tables(columns, keys, metadata))


def _tables(columns: list[Any], keys: list[Any], metadata: dict[Any, Any]) -> Iterator[Published]:
    tables: dict[tuple[str, str], list[Any]] = {}
    for row in columns:
        tables.setdefault((row[0], row[1]), []).append(row)
    for (schema, name), rows in tables.items():
        table_columns = tuple(column for row in rows if (column := _column(row, metadata)) is not None)
        if not table_columns:
            continue
        foreign = tuple(
            ForeignKey(tuple(key[4]), f"{quoted(key[2])}.{quoted(key[3])}", tuple(key[5]))
            for key in keys
            if (key[0], key[1]) == (schema, name)
        )
        kind = "view" if rows[0][2] in ("v", "m") else "table"
        count = int(rows[0][3]) if rows[0][3] >= 0 and kind == "table" else None
        yield Published(
            Table(
                quoted(schema),
                quoted(name),
                table_columns,
                rows[0][4] or "",
                None,
                kind,
                position_of(table_columns),
                foreign,
            ),
            count,
        )


def _column(row: Any, metadata: dict[Any, Any]) -> Column | None:
    column_type = _TYPES.get(row[6])
    if column_type is None:
        return None
    datatype, size, xtype = column_type
    described = metadata.get((f"{row[0]}.{row[1]}".lower(), row[5].lower()))
    if described is not None:
        description, unit, ucd, utype, special, principal, std = described
        return Column(row[5], datatype, size, special or xtype, unit, ucd, utype, description or "", row[8],
                      bool(principal), bool(std))  # fmt: skip
    marked = _MARKED.fullmatch(row[7] or "")
    if marked:
        unit, ucd, description = (marked[1].strip() or None, marked[2].strip() or None, marked[3])
    else:
        unit, ucd, description = None, None, row[7] or ""
    return Column(row[5], datatype, size, xtype, unit, ucd, None, description, row[8])


def position_of(columns: Sequence[Column]) -> tuple[str, str] | None:
    """Return the main position's columns in degrees, by UCD."""
    names = []
    for axis in ("pos.eq.ra", "pos.eq.dec"):
        candidates = [
            (not (column.ucd or "").endswith("meta.main"), number, column.name)
            for number, column in enumerate(columns)
            if (column.ucd or "").split(";")[0].lower() == axis
            and column.datatype in ("float", "double")
            and column.arraysize is None
            and column.unit in (None, "deg")
        ]
        if not candidates:
            return None
        names.append(min(candidates)[2])
    return names[0], names[1]

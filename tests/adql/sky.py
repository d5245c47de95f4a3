"""The corpus' tables, and every engine with them."""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from tests import debian_postgresql
from tests.databases import PostgreSQLServer, new_postgresql
from tests.tiers import lacking
from uws_service.adql import Column, Table, Translation, translate
from uws_service.adql.physical import bare
from uws_service.adql.types import type_of
from uws_service.tap.engines.arrow import schema
from uws_service.tap.engines.base import Bounds, Engine
from uws_service.tap.engines.duckdb import DuckDBEngine
from uws_service.tap.engines.parquet import write_table
from uws_service.tap.engines.postgresql import _TYPES, PostgreSQLEngine

BOUNDS = Bounds(1000, 20, 500_000_000)
NAN = math.nan

STARS = Table(
    "obs",
    "stars",
    (
        Column("id", "int", ucd="meta.id;meta.main"),
        Column("ra", "double", unit="deg", ucd="pos.eq.ra;meta.main"),
        Column("dec", "double", unit="deg", ucd="pos.eq.dec;meta.main"),
        Column("mag", "float", unit="mag", ucd="phot.mag"),
        Column("parallax", "double", unit="mas", ucd="pos.parallax"),
        Column("kind", "char", "*"),
        Column("name", "unicodeChar", "*"),
        Column("variable", "boolean"),
        Column("seen", "char", "*", "timestamp"),
        Column('"size"', "short"),
        Column("Mixed", "long"),
        Column('"with space"', "char", "*"),
    ),
    position=("ra", "dec"),
)
_TIME = datetime.datetime(2020, 1, 1)
_KINDS = ("dwarf", "giant", None, "Dwarf", "white dwarf")
_PLACES = [
    *((0.0, 0.0), (0.01, 0.0), (359.99, 0.0), (180.0, 90.0), (0.0, 90.0), (0.0, -90.0), (90.0, 89.99), (270.0, 89.99)),
    *(
        (10.0, 20.0),
        (10.001, 20.001),
        (10.1, 20.1),
        (11.0, 21.0),
        (83.822, -5.391),
        (83.633, 22.0145),
        (201.365, -43.019),
    ),
    *((299.868, 40.734), (45.0, 45.0), (135.0, -45.0), (225.0, 45.0), (315.0, -45.0)),
]


def star_rows() -> list[dict[str, Any]]:
    """Return twenty stars at difficult places.

    They have NULL, NaN and names that look like SQL.
    """
    names = [
        "Sirius",
        "it's",
        "Ωmega",
        "100%",
        "under_score",
        "back\\slash",
        "'; DROP TABLE stars; --",
        "",
        None,
        "sirius",
    ]
    rows = []
    for number, (ra, dec) in enumerate(_PLACES, 1):
        rows.append(
            {
                "id": number,
                "ra": ra,
                "dec": dec,
                "mag": None if number == 7 else 1.5 + 0.25 * number,
                "parallax": {3: None, 5: NAN}.get(number, (number - 8) * 2.5),
                "kind": _KINDS[number % 5],
                "name": names[number % 10],
                "variable": None if number % 7 == 0 else number % 2 == 0,
                "seen": None if number == 20 else _TIME + datetime.timedelta(days=number, seconds=number),
                "size": number * 3 - 30,
                "Mixed": number * 10_000_000_000,
                "with space": f"w{number % 4}",
            }
        )
    return rows


GALAXIES = Table(
    "obs",
    "galaxies",
    (
        Column("gid", "int"),
        Column("ra", "double", unit="deg"),
        Column("dec", "double", unit="deg"),
        Column("z", "double"),
        Column("id", "int"),
        Column("kind", "char", "*"),
    ),
    position=("ra", "dec"),
)
_GALAXIES = [
    (1, 10.0005, 20.0005, 0.1, 9, "spiral"),
    (2, 10.002, 20.002, 0.2, 10, "dwarf"),
    (3, 359.995, 0.001, 0.3, 3, None),
    (4, 12.0, 89.999, 0.4, 7, "giant"),
    (5, 201.365, -43.019, 0.0018, 15, "spiral"),
    (6, 300.0, -10.0, 1.5, None, "dwarf"),
    (7, 45.0, 45.5, 2.0, 99, "elliptical"),
]

FIELDS = Table(
    "obs",
    "fields",
    (
        Column("fid", "int"),
        Column("centre", "double", "2", "point"),
        Column("beam", "double", "3", "circle"),
        Column("footprint", "double", "*", "polygon"),
        Column("spectrum", "float", "*"),
    ),
)
_FIELDS: list[tuple[Any, ...]] = [
    (1, [10.0, 20.0], [10.0, 20.0, 1.0], [9.0, 19.0, 11.0, 19.0, 11.0, 21.0, 9.0, 21.0], [1.0, 2.0]),
    (2, [0.0, 0.0], [0.0, 0.0, 2.0], [359.0, -1.0, 1.0, -1.0, 1.0, 1.0, 359.0, 1.0], [3.5]),
    (3, [0.0, 90.0], [0.0, 90.0, 3.0], [0.0, 88.0, 90.0, 88.0, 180.0, 88.0, 270.0, 88.0], []),
    (4, [200.0, -43.0], [200.0, -43.0, 2.5], [198.0, -45.0, 204.0, -45.0, 201.0, -41.0], None),
    (5, None, None, None, None),
]

UPLOAD = Table(
    "TAP_UPLOAD",
    "mine",
    (
        Column("ra", "double", unit="deg"),
        Column("dec", "double", unit="deg"),
        Column("label", "char", "*"),
        Column("Label", "int"),
        Column("my column", "int"),
    ),
)
_UPLOAD = [(10.0, 20.0, "a", 1, 11), (0.005, 0.001, "b", 2, 12), (83.8221, -5.3911, "c", None, None)]

TABLES = (STARS, GALAXIES, FIELDS)
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "stars": [tuple(row.values()) for row in star_rows()],
    "galaxies": _GALAXIES,
    "fields": _FIELDS,
    "mine": _UPLOAD,
}


def batch(table: Table) -> pa.RecordBatch:
    """Return all rows of a table."""
    arrow_schema = schema(table.columns, [bare(c.name) for c in table.columns])
    columns = zip(*ROWS[table.name], strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, arrow_schema, strict=True)], schema=arrow_schema
    )


def duckdb_engine(folder: Path) -> DuckDBEngine:
    """Return DuckDB on Parquet files in a fresh folder."""
    for table in TABLES:
        write_table([batch(table)], table, folder / table.schema / table.name)
    published = [(table, folder / table.schema / table.name) for table in TABLES]
    return DuckDBEngine(published, folder / "temporary", threads=2)


def plain_postgresql() -> str:
    """Return a database without sky extensions."""
    return new_postgresql()


_debian: PostgreSQLServer | None = None


def sky_postgresql(*extensions: str) -> str:
    """Return a database with sky extensions.

    Debian's server has them; skips the test where it is missing.
    """
    global _debian
    if not debian_postgresql.has_sky_extensions():
        lacking("postgresql-15 with postgresql-15-pgsphere and postgresql-15-q3c is not installed")
    if _debian is None:
        _debian = PostgreSQLServer(debian_postgresql.programs())
    name = f"sky_{uuid.uuid4().hex}"
    with psycopg.connect(_debian.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = _debian.url.rpartition("/")[0] + "/" + name
    with psycopg.connect(url, autocommit=True) as connection:
        for extension in extensions:
            connection.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
    return url


def postgresql_engine(url: str) -> PostgreSQLEngine:
    """Return PostgreSQL with the tables, for reading only."""
    role = f"reader_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA obs")
        connection.execute("CREATE TABLE public.secrets AS SELECT 'hidden' AS word")
        for table in TABLES:
            fill(connection, table, batch(table))
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA obs TO {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA obs TO {}").format(sql.Identifier(role)))
    return PostgreSQLEngine(url.replace("postgres@", f"{role}@"))


def fill(connection: psycopg.Connection[Any], table: Table, rows: pa.RecordBatch) -> None:
    """Create a published table with its rows."""
    target = sql.Identifier(table.schema, table.name)
    types = [_TYPES.get(type_of(c)) or _TYPES[c.datatype] + "[]" for c in table.columns]
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(bare(c.name)), sql.SQL(t))
        for c, t in zip(table.columns, types, strict=True)
    )
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(target, columns))
    with connection.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(target)) as copy:
        for row in zip(*(c.to_pylist() for c in rows.columns), strict=True):
            copy.write_row(row)


def ask(engine: Engine, query: str, bounds: Bounds = BOUNDS) -> tuple[Translation, list[list[Any]]]:
    """Return columns and rows of a query."""
    translation = translate(query, [*TABLES, UPLOAD], engine.dialect)
    uploads: dict[str, Any] = {}
    if UPLOAD.full_name in translation.tables:
        uploads["mine"] = (UPLOAD, [batch(UPLOAD)])
    rows: list[list[Any]] = []
    for part in engine.query(translation, bounds, uploads):
        rows += [list(r) for r in zip(*(c.to_pylist() for c in part.columns), strict=True)]
    return translation, rows


MAKERS: dict[str, Callable[[Path], Engine]] = {
    "duckdb": duckdb_engine,
    "postgresql": lambda folder: postgresql_engine(plain_postgresql()),
    "pgsphere": lambda folder: postgresql_engine(sky_postgresql("pg_sphere")),
    "pgsphere+q3c": lambda folder: postgresql_engine(sky_postgresql("pg_sphere", "q3c")),
}


def engines(folder: Path, name: str) -> Iterator[Engine]:
    """Yield an engine of that name."""
    engine = MAKERS[name](folder)
    try:
        yield engine
    finally:
        engine.close()

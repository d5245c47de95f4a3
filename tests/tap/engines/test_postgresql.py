"""PostgreSQL's sky indexes, role and outages."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pyarrow as pa
import pytest

from tests.adql.sky import BOUNDS, fill, plain_postgresql, sky_postgresql
from tests.bench.tap_index import SKY, rows
from tests.server import free_port
from uws_service.adql import Column, Table, translate
from uws_service.domain.errors import ServiceUnavailable
from uws_service.tap.engines.postgresql import PostgreSQLEngine

ROWS = 50_000
INDEX = {
    "pg_sphere": "CREATE INDEX sky_place ON bench.sky USING gist (spoint(radians(ra), radians(dec)))",
    "q3c": "CREATE INDEX sky_place ON bench.sky (q3c_ang2ipix(ra, dec))",
    "": "CREATE INDEX sky_place ON bench.sky (dec)",
}


@pytest.fixture(scope="module", params=list(INDEX))
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Create a database with many rows and its extension's index."""
    extension = request.param
    database_url = sky_postgresql(extension) if extension else plain_postgresql()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA bench")
        batch = pa.Table.from_batches(rows(ROWS)).combine_chunks().to_batches()[0]
        fill(connection, SKY, batch)
        connection.execute(INDEX[extension])
        connection.execute("ANALYZE bench.sky")
    yield database_url


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM bench.sky WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE(0.01, 45, 1))",
        "SELECT id FROM bench.sky WHERE DISTANCE(ra, dec, 100, -89.9) < 0.9",
        "SELECT id FROM bench.sky WHERE 1=CONTAINS(POINT(ra, dec), POLYGON(10, 10, 12, 10, 12, 12, 10, 12))",
    ],
)
def test_the_sky_index_is_used_and_changes_nothing(url: str, query: str) -> None:
    engine = PostgreSQLEngine(url)
    plain = Table(SKY.schema, SKY.name, SKY.columns)
    try:
        with_index, without = translate(query, [SKY], engine.dialect), translate(query, [plain], engine.dialect)
        with psycopg.connect(url) as connection:
            plan = "\n".join(row[0] for row in connection.execute(b"EXPLAIN " + with_index.sql.encode()).fetchall())
        assert "sky_place" in plan and "Seq Scan" not in plan
        assert "sky_place" not in without.sql
        results = [
            sorted(i for b in engine.query(t, BOUNDS, {}) for i in b["id"].to_pylist()) for t in (with_index, without)
        ]
        assert results[0] == results[1] and results[0]
    finally:
        engine.close()


def test_an_upload_is_matched_by_the_index(url: str) -> None:
    engine = PostgreSQLEngine(url)
    upload = Table("TAP_UPLOAD", "u", (Column("n", "int"), Column("ra", "double"), Column("dec", "double")))
    stars = next(iter(rows(ROWS))).slice(0, 50)
    batches = [
        pa.RecordBatch.from_arrays([stars["id"].cast(pa.int32()), stars["ra"], stars["dec"]], ["n", "ra", "dec"])
    ]
    query = "SELECT u.n, s.id FROM TAP_UPLOAD.u AS u JOIN bench.sky AS s ON DISTANCE(u.ra, u.dec, s.ra, s.dec) < 0.0001"
    try:
        translation = translate(query, [SKY, upload], engine.dialect)
        pairs = [r for b in engine.query(translation, BOUNDS, {"u": (upload, batches)}) for r in b.to_pylist()]
    finally:
        engine.close()
    assert sorted(r["id"] for r in pairs if r["n"] == r["id"]) == stars["id"].to_pylist()


def test_passing_tables_are_there_when_they_are_read() -> None:
    schemas = Table("TAP_SCHEMA", "schemas", (Column("schema_name", "char", "*"), Column('"size"', "int")))
    content = pa.table({"schema_name": ["obs", "TAP_SCHEMA"], "size": pa.array([1, None], pa.int32())})
    url = plain_postgresql()
    engine = PostgreSQLEngine(url, [(schemas, content)])
    try:
        for _ in range(2):
            query = 'SELECT schema_name, "size" FROM tap_schema.schemas ORDER BY schema_name'
            (result,) = engine.query(translate(query, [schemas], engine.dialect), BOUNDS, {})
            assert result.to_pydict() == {"schema_name": ["TAP_SCHEMA", "obs"], "size": [None, 1]}
    finally:
        engine.close()


def test_numeric_and_timestamptz_columns_are_read_as_they_are_declared() -> None:
    url = plain_postgresql()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1.5::numeric AS n, 7::numeric AS i, "
            "'2020-01-01T00:00:00+02'::timestamptz AS t, 'abc'::char(5) AS c, 'x'::name AS w"
        )
    kinds = (
        Column("n", "double"),
        Column("i", "long"),
        Column("t", "char", "*", "timestamp"),
        Column("c", "char", "5"),
    )
    table = Table("s", "t", (*kinds, Column("w", "char", "*")))
    engine = PostgreSQLEngine(url)
    try:
        (result,) = engine.query(translate("SELECT * FROM s.t", [table], engine.dialect), BOUNDS, {})
        (row,) = result.to_pylist()
        assert (row["n"], row["i"], str(row["t"]), row["w"]) == (1.5, 7, "2019-12-31 22:00:00", "x")
    finally:
        engine.close()


def test_a_server_that_is_away_is_said() -> None:
    with pytest.raises(ServiceUnavailable, match="can't be reached"):
        PostgreSQLEngine(f"postgresql://nobody@127.0.0.1:{free_port()}/none")

"""Limits of a query on both engines."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from tests.adql.sky import BOUNDS, MAKERS, STARS, TABLES, UPLOAD, ask, batch, engines
from uws_service.adql import Column, Table, Translation, translate
from uws_service.domain.errors import UsageError, UwsError
from uws_service.tap.engines.base import Bounds, Engine
from uws_service.tap.engines.errors import QueryTooLarge

ENDLESS = (
    "SELECT COUNT(*) FROM stars a, stars b, stars c, stars d, stars e, stars f, stars g "
    "WHERE SIN(a.ra + b.ra + c.ra + d.ra + e.ra + f.ra + g.ra) > 2"
)


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    assert request.param in MAKERS
    yield from engines(tmp_path_factory.mktemp("sky"), request.param)


@pytest.mark.parametrize(
    ("query", "limit", "count"),
    [
        ("SELECT id FROM stars ORDER BY id", 5, 6),
        ("SELECT TOP 3 id FROM stars ORDER BY id", 5, 3),
        ("SELECT TOP 10 id FROM stars ORDER BY id", 5, 6),
        ("SELECT id FROM stars ORDER BY id OFFSET 17", 5, 3),
        ("SELECT TOP 10 id FROM stars ORDER BY id OFFSET 5", 0, 1),
        ("SELECT id FROM stars UNION ALL SELECT id FROM stars", 30, 31),
    ],
)
def test_one_row_more_than_asked_for(engine: Engine, query: str, limit: int, count: int) -> None:
    _, rows = ask(engine, query, Bounds(limit, 20, 500_000_000))
    assert len(rows) == count
    if "ORDER BY" in query:
        first = 18 if "17" in query else 6 if "OFFSET 5" in query else 1
        assert [row[0] for row in rows] == list(range(first, first + count))


def test_a_cartesian_product_ends_in_time(engine: Engine) -> None:
    began = time.monotonic()
    with pytest.raises(QueryTooLarge, match=r"longer than its 0\.5 seconds"):
        ask(engine, ENDLESS, Bounds(10, 0.5, 500_000_000))
    assert time.monotonic() - began < 60
    assert ask(engine, "SELECT COUNT(*) FROM stars")[1] == [[20]]


def test_a_huge_result_comes_in_batches(engine: Engine) -> None:
    query = "SELECT a.id, b.name, c.ra FROM stars a, stars b, stars c, stars d, stars e, stars f"
    translation = translate(query, TABLES, engine.dialect)
    before, peak, rows = pa.total_allocated_bytes(), 0, 0
    for part in engine.query(translation, Bounds(300_000, 60, 500_000_000), {}):
        rows += part.num_rows
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert part.schema.names == ["id", "name", "ra"]
    assert rows == 300_001
    assert peak < 20_000_000


def test_a_query_that_nobody_reads_to_the_end_gives_everything_back(engine: Engine) -> None:
    for _ in range(8):  # more than there are connections
        rows = engine.query(translate("SELECT a.id FROM stars a, stars b, stars c", TABLES, engine.dialect), BOUNDS, {})
        next(iter(rows))
        rows.close()  # type: ignore[attr-defined]
    assert ask(engine, "SELECT COUNT(*) FROM stars")[1] == [[20]]


def test_threads_have_uploads_of_the_same_name(engine: Engine) -> None:
    table = Table("TAP_UPLOAD", "t", (Column("n", "long"),))
    translation = translate("SELECT SUM(n) AS s, COUNT(*) AS c FROM TAP_UPLOAD.t", [table], engine.dialect)
    results: dict[int, Any] = {}

    def run(number: int) -> None:
        rows = pa.RecordBatch.from_pydict({"n": [number] * (number + 1)})
        (result,) = engine.query(translation, BOUNDS, {"t": (table, [rows])})
        results[number] = result.to_pylist()[0]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {n: {"s": n * (n + 1), "c": n + 1} for n in range(8)}


def test_an_upload_is_gone_after_its_query(engine: Engine) -> None:
    assert len(ask(engine, "SELECT * FROM TAP_UPLOAD.mine")[1]) == 3
    translation = translate("SELECT * FROM TAP_UPLOAD.mine", [UPLOAD], engine.dialect)
    with pytest.raises(UwsError):
        list(engine.query(translation, BOUNDS, {}))


def test_an_upload_with_a_wrong_value_names_its_column(engine: Engine) -> None:
    table = Table("TAP_UPLOAD", "t", (Column("n", "int"),))
    translation = translate("SELECT n FROM TAP_UPLOAD.t", [table], engine.dialect)
    rows = pa.RecordBatch.from_pydict({"n": ["1", "two"]})
    with pytest.raises(UsageError, match=r"TAP_UPLOAD\.t, column 'n'"):
        list(engine.query(translation, BOUNDS, {"t": (table, [rows])}))


def test_columns_of_every_type_come_back_as_they_went_in(engine: Engine) -> None:
    columns = (
        Column("b", "boolean"),
        Column("ub", "unsignedByte"),
        Column("s", "short"),
        Column("i", "int"),
        Column("l", "long"),
        Column("f", "float"),
        Column("d", "double"),
        Column("c", "char", "*"),
        Column("u", "unicodeChar", "8*"),
        Column("t", "char", "*", "timestamp"),
        Column("p", "double", "2", "point"),
        Column("a", "int", "*"),
        Column("'; DROP TABLE \"x", "char", "*"),
        Column("x" * 80, "int"),
    )
    table = Table("TAP_UPLOAD", "a_name_of_an_upload_that_is_longer_than_what_postgresql_takes_for_a_name", columns)
    values = [True, 255, -(2**15), 2**31 - 1, -(2**63), 1.5, 1e-300, "a\\b'c", "Ω☆", "2020-02-29T12:00:00", [1.0, -2.0]]
    values += [[1, 2, 3], "--", 7]
    rows = pa.RecordBatch.from_pydict({c.name: [v, None] for c, v in zip(columns, values, strict=True)})
    translation = translate(f"SELECT * FROM {table.full_name} ORDER BY i", [table], engine.dialect)
    assert [c.name for c in translation.columns] == [c.name for c in columns]
    (result,) = engine.query(translation, BOUNDS, {"t": (table, [rows])})
    (first, second) = result.to_pylist()
    assert [str(v) for v in first.values()] == [str(v).replace("29T12", "29 12") for v in values]
    assert set(second.values()) == {None}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname') LIMIT 1",
        "SELECT pg_read_file('/etc/hostname') AS c1",
        "SELECT * FROM public.secrets",
        "COPY (SELECT 1) TO '/tmp/uws-tap-escape'",
        "CREATE TABLE obs.mine AS SELECT 1 AS c1",
        "DROP TABLE obs.stars",
        "SET memory_limit = '100GB'",
        "INSTALL httpfs",
        "ATTACH '/tmp/uws-tap-escape.db'",
        "SELECT lo_import('/etc/hostname') AS c1",
        "SELECT word AS c1 FROM secrets",
    ],
)
def test_the_engine_itself_reaches_nothing_else(engine: Engine, sql: str) -> None:
    """Even SQL that the translator would never write."""
    with pytest.raises(UwsError) as failure:
        list(engine.query(Translation(sql, (Column("x", "char", "*"),), ()), BOUNDS, {}))
    assert "hostname" not in failure.value.message and "secrets" not in failure.value.message
    assert ask(engine, "SELECT COUNT(*) FROM stars")[1] == [[20]]


def test_a_memory_bound_is_kept(engine: Engine) -> None:
    rows = batch(STARS).num_rows
    assert rows == 20
    query = (
        "SELECT COUNT(*) FROM (SELECT DISTINCT a.id AS i, b.id AS j, c.id AS k, d.id AS l, e.ra, e.id AS m FROM "
        "stars a, stars b, stars c, stars d, stars e) AS x"
    )
    small = Bounds(10, 60, 40_000_000)
    if engine.dialect == "duckdb":  # spills to its folder, or says that it is too much
        try:
            assert ask(engine, query, small)[1] == [[20**5]]
        except QueryTooLarge as error:
            assert "40 MB" in error.message
    else:
        assert ask(engine, query, small)[1] == [[20**5]]

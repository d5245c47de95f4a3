"""Published tables as Parquet files: sorted by place, and read only where a query looks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bench.tap_index import SKY, rows
from uws_service.adql import Column, Table, translate
from uws_service.adql.index import healpix_ranges
from uws_service.adql.physical import HEALPIX
from uws_service.errors import UsageError
from uws_service.tap.engines.base import Bounds
from uws_service.tap.engines.duckdb import DuckDBEngine
from uws_service.tap.engines.parquet import FILE, healpix, write_table

ROWS = 400_000
BOUNDS = Bounds(100_000, 60, 500_000_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tables")
    heard: list[int] = []
    assert write_table(rows(ROWS), SKY, place / "sky", heard.append) == ROWS
    assert heard == [200_000, 400_000]
    return place


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[DuckDBEngine]:
    found = DuckDBEngine([(SKY, folder / "sky")], folder / "temporary")
    yield found
    found.close()


def test_rows_are_sorted_by_place_and_complete(folder: Path) -> None:
    table = pq.read_table(folder / "sky" / FILE)
    cells = np.asarray(table[HEALPIX])
    assert (np.diff(cells) >= 0).all()
    assert sorted(np.asarray(table["id"])) == list(range(ROWS))
    assert sorted(p.name for p in folder.iterdir() if p.name != "temporary") == ["sky"]


def test_a_cone_reads_one_row_group(folder: Path) -> None:
    query = translate(
        "SELECT id FROM bench.sky WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE(33.3, 44.4, 0.0167))", [SKY], "duckdb"
    )
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE SCHEMA bench; CREATE VIEW bench.sky AS FROM read_parquet('{folder / 'sky' / FILE}')"
        )
        plan = str(connection.execute("EXPLAIN ANALYZE " + query.sql).fetchall()[0][1])
    read = re.search(r"Row Groups Scanned: (\d+) / (\d+)", plan)
    assert read is not None, plan
    assert int(read[1]) <= 2 and int(read[2]) > 5


@pytest.mark.parametrize(
    ("lon", "lat", "radius"),
    [
        (0, 0, 3),
        (359.999, 0, 1),
        (10, 90, 2),
        (123, -90, 0.5),
        (45, 41.8, 5),
        (200, -30, 50),
        (77, 12, 0.5),
        (0, 0, 80),
    ],
)
def test_a_cone_with_the_index_finds_what_one_without_finds(
    engine: DuckDBEngine, lon: float, lat: float, radius: float
) -> None:
    text = f"SELECT id FROM bench.sky WHERE DISTANCE(ra, dec, {lon}, {lat}) < {radius}"
    plain = Table(SKY.schema, SKY.name, SKY.columns)
    with_index, without = translate(text, [SKY], "duckdb"), translate(text, [plain], "duckdb")
    assert (HEALPIX in with_index.sql) == (radius < 60) and HEALPIX not in without.sql
    bounds = Bounds(ROWS, 60, 500_000_000)
    found = [sorted(i for b in engine.query(t, bounds, {}) for i in b["id"].to_pylist()) for t in (with_index, without)]
    assert found[0] == found[1] and found[0]


def test_ranges_cover_the_circle_and_little_more() -> None:
    random = np.random.default_rng(3)
    for radius in (0.001, 0.1, 2.0, 30.0):
        lon, lat = random.uniform(0, 360), np.degrees(np.arcsin(random.uniform(-1, 1)))
        ranges = healpix_ranges(lon, lat, radius)
        assert len(ranges) <= 16
        total = sum(last - first + 1 for first, last in ranges) / (12 * 4**29)
        wanted = np.sin(np.radians(radius) / 2) ** 2
        assert wanted <= total < wanted * 6
    cell = healpix(pa.array([lon]), pa.array([lat]))[0].as_py()
    assert any(first <= cell <= last for first, last in ranges)


def test_rows_without_a_position_are_kept(tmp_path: Path) -> None:
    table = Table("s", "t", (Column("ra", "double"), Column("dec", "double")), position=("ra", "dec"))
    columns = {"ra": [1.0, None, float("nan"), 5.0, -10.0], "dec": [1.0, 2.0, 3.0, 95.0, 0.0]}
    assert write_table([pa.RecordBatch.from_pydict(columns)], table, tmp_path / "t") == 5
    engine = DuckDBEngine([(table, tmp_path / "t")], tmp_path / "temporary")
    count = translate("SELECT COUNT(*) AS n FROM s.t", [table], "duckdb")
    near = translate("SELECT ra FROM s.t WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE(350, 0, 0.1))", [table], "duckdb")
    try:
        assert [b.to_pylist() for b in engine.query(count, BOUNDS, {})] == [[{"n": 5}]]
        assert [b.to_pylist() for b in engine.query(near, BOUNDS, {})] == [[{"ra": -10.0}]]
    finally:
        engine.close()


def test_a_value_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    table = Table("s", "t", (Column("n", "short"),))
    with pytest.raises(UsageError, match=r"s\.t, column 'n'"):
        write_table([pa.RecordBatch.from_pydict({"n": [1, 100_000]})], table, tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_table_can_be_queried(tmp_path: Path) -> None:
    assert write_table([], SKY, tmp_path / "sky") == 0
    engine = DuckDBEngine([(SKY, tmp_path / "sky")], tmp_path / "temporary")
    try:
        assert list(engine.query(translate("SELECT * FROM bench.sky", [SKY], "duckdb"), BOUNDS, {})) == []
    finally:
        engine.close()


def test_columns_that_differ_in_case_only_stay_apart(tmp_path: Path) -> None:
    table = Table("s", "t", (Column('"a"', "int"), Column('"A"', "int"), Column('"weird ""name"""', "char", "*")))
    write_table(
        [pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2]), pa.array(["x"])], names=["a", "A", "w"])],
        table,
        tmp_path / "t",
    )
    engine = DuckDBEngine([(table, tmp_path / "t")], tmp_path / "temporary")
    query = translate('SELECT "A", "a", "weird ""name""" FROM s.t', [table], "duckdb")
    try:
        (found,) = engine.query(query, BOUNDS, {})
        assert found.to_pydict() == {"A": [2], "a_2": [1], 'weird "name"': ["x"]}
    finally:
        engine.close()

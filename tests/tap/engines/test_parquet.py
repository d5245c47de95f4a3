"""Published tables as sorted Parquet files."""

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
from uws_service.adql.physical import HEALPIX
from uws_service.adql.sky_index import healpix_ranges
from uws_service.domain.errors import UsageError
from uws_service.tap.engines.base import Bounds
from uws_service.tap.engines.duckdb import DuckDBEngine
from uws_service.tap.engines.healpix import healpix
from uws_service.tap.engines.parquet import FILE, write_table

ROWS = 400_000
BOUNDS = Bounds(100_000, 60, 500_000_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tables = tmp_path_factory.mktemp("tables")
    progress: list[int] = []
    assert write_table(rows(ROWS), SKY, tables / "sky", progress.append) == ROWS
    assert progress == [200_000, 400_000]
    return tables


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[DuckDBEngine]:
    duckdb_engine = DuckDBEngine([(SKY, folder / "sky")], folder / "temporary")
    yield duckdb_engine
    duckdb_engine.close()


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
    results = [
        sorted(i for b in engine.query(t, bounds, {}) for i in b["id"].to_pylist()) for t in (with_index, without)
    ]
    assert results[0] == results[1] and results[0]


def test_ranges_cover_the_circle_and_little_more() -> None:
    random = np.random.default_rng(3)
    for radius in (0.001, 0.1, 2.0, 30.0):
        lon, lat = random.uniform(0, 360), np.degrees(np.arcsin(random.uniform(-1, 1)))
        ranges = healpix_ranges(lon, lat, radius)
        assert len(ranges) <= 16
        total = sum(last - first + 1 for first, last in ranges) / (12 * 4**29)
        share = np.sin(np.radians(radius) / 2) ** 2
        assert share <= total < share * 6
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
        (result,) = engine.query(query, BOUNDS, {})
        assert result.to_pydict() == {"A": [2], "a_2": [1], 'weird "name"': ["x"]}
    finally:
        engine.close()


SMALL = 40_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    tables = tmp_path_factory.mktemp("small")
    write_table(rows(SMALL), SKY, tables / "sky")
    duckdb_engine = DuckDBEngine([(SKY, tables / "sky")], tables / "temporary")
    yield duckdb_engine
    duckdb_engine.close()


PAIRS = Table(
    "TAP_UPLOAD", "u", (Column("n", "int"), Column("ra", "double"), Column("dec", "double")), position=("ra", "dec")
)


@pytest.mark.parametrize("radius", [0.0003, 0.05, 1.5])
@pytest.mark.parametrize(
    "join",
    [
        "TAP_UPLOAD.u AS u JOIN bench.sky AS s ON DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r}",
        "bench.sky s, TAP_UPLOAD.u u WHERE 1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE(u.ra, u.dec, {r})) AND u.n >= 0",
        "TAP_UPLOAD.u AS u LEFT JOIN bench.sky AS s ON DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r}",
        "bench.sky AS s RIGHT JOIN TAP_UPLOAD.u AS u ON DISTANCE(POINT(u.ra, u.dec), POINT(s.ra, s.dec)) <= {r}",
        "(SELECT * FROM bench.sky WHERE id < 9) s FULL JOIN TAP_UPLOAD.u u ON DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r}",
        "bench.sky s JOIN TAP_UPLOAD.u u ON s.id = u.n OR (DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r} AND s.id < 2000)",
        "TAP_UPLOAD.u AS u LEFT JOIN bench.sky AS s ON s.id > 500 AND DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r}",
        "bench.sky AS s LEFT JOIN TAP_UPLOAD.u AS u ON DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r}",
        "TAP_UPLOAD.u LEFT JOIN (bench.sky s JOIN bench.sky z USING (id)) ON DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r}",
        "TAP_UPLOAD.u JOIN bench.sky s ON DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r}"
        " JOIN (SELECT * FROM bench.sky WHERE id < 600) z ON DISTANCE(u.ra, u.dec, z.ra, z.dec) < 10",
        "TAP_UPLOAD.u, bench.sky s, bench.sky z WHERE DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r}"
        " AND DISTANCE(u.ra, u.dec, z.ra, z.dec) < {r} AND z.id < 900",
        "TAP_UPLOAD.u JOIN (SELECT * FROM bench.sky) AS s ON DISTANCE(u.ra, u.dec, s.ra, s.dec) < {r}",
    ],
)
def test_a_join_by_place_finds_what_one_without_index_finds(small: DuckDBEngine, join: str, radius: float) -> None:
    random = np.random.default_rng(7)
    count = 60
    ra, dec = random.uniform(0, 360, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    ra[:12] = [0, 0.0001, 359.9999, 45, 90, 0, 10, 200, 77, 123, 180, 270]
    dec[:12] = [0, 41.81, -41.81, 0, 41.81, 90, -90, 89.9, -89.9, 0.0001, 41.8, -41.8]
    upload = pa.RecordBatch.from_pydict({"n": pa.array(range(count), pa.int32()), "ra": ra, "dec": dec})
    # Half of the places are those of stars, a little aside.
    stars = next(iter(rows(SMALL)))
    for name, values in (("ra", ra), ("dec", dec)):
        values[30:] = np.clip(np.asarray(stars[name])[30:count] + radius / 3, -89, 359)
    text = f"SELECT s.id, u.n FROM {join.format(r=radius)}"
    plain = [Table(t.schema, t.name, t.columns) for t in (SKY, PAIRS)]
    results = []
    for tables in ([SKY, PAIRS], plain):
        translation = translate(text, tables, "duckdb")
        batches = small.query(translation, Bounds(10_000_000, 60, 500_000_000), {"u": (PAIRS, [upload])})
        results.append(sorted(str(row) for b in batches for row in b.to_pylist()))
    assert results[0] == results[1] and len(results[0]) >= 20
    spread = "adql_cells" in translate(text, [SKY, PAIRS], "duckdb").sql
    assert spread == ("FULL" not in join and " OR " not in join and "u JOIN (SELECT" not in join)

"""A DuckDB that reads the published files and nothing else.

Its configuration, and the functions of geometry.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from uws_service.adql import sphere
from uws_service.tap.engines.healpix import healpix

_CONFIGURATION = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    # Division by zero, roots of negative numbers and logarithms of zero are errors, as in PostgreSQL.
    "ieee_floating_point_ops": "false",
    "default_null_order": "nulls_last",
    "preserve_insertion_order": "true",
}
_spare: list[duckdb.DuckDBPyConnection] = []
"""A database that was opened before its bounds were known; see `prepare_spare`."""
ASYNC_THREADS = 8
"""Threads that read files ahead; DuckDB's own default."""
_SQUARE_DEGREES = (180 / np.pi) ** 2


def open_sandbox(
    folders: Sequence[Path], memory: int, temporary: Path, temporary_bytes: int, threads: int
) -> duckdb.DuckDBPyConnection:
    """Open a database in memory that may read these folders.

    Call `lock` before any query.
    """
    connection = _spare.pop() if _spare else _opened({})
    connection.execute(f"SET memory_limit = {_literal(f'{memory}B')}")
    connection.execute(f"SET temp_directory = {_literal(str(temporary))}")
    connection.execute(f"SET max_temp_directory_size = {_literal(f'{temporary_bytes}B')}")
    connection.execute(f"SET threads = {threads}")
    connection.execute(f"SET async_threads = {ASYNC_THREADS}")
    quoted = ", ".join(_literal(f"{folder.resolve()}/") for folder in folders)
    connection.execute(f"SET allowed_directories = [{quoted}]")
    connection.execute("SET enable_external_access = false")
    return connection


def prepare_spare() -> None:
    """Open an empty database that the next `open_sandbox` takes: for a process that queries are forked from.

    It has no thread of its own, and holds nothing.
    """
    _spare.append(_opened({"threads": "1", "async_threads": "0"}))


def warm_spare() -> None:
    """Start the threads of such a database, and let it answer, before there is a query for it."""
    for connection in _spare:
        connection.execute(f"SET threads = {os.cpu_count() or 1}")
        connection.execute(f"SET async_threads = {ASYNC_THREADS}")
        connection.sql("SELECT 'x' AS x, 1.5e0 AS y FROM range(3)").to_arrow_reader(10).read_all()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _opened(configuration: dict[str, str]) -> duckdb.DuckDBPyConnection:
    """Return an empty database with the functions of geometry."""
    connection = duckdb.connect(":memory:", config={**_CONFIGURATION, **configuration})
    for name, function, kinds, result in (
        ("adql_contains", _relation(sphere.contains), ["DOUBLE[]", "DOUBLE[]"], "BOOLEAN"),
        ("adql_intersects", _relation(sphere.intersects), ["DOUBLE[]", "DOUBLE[]"], "BOOLEAN"),
        ("adql_area", _area, ["DOUBLE[]"], "DOUBLE"),
        ("adql_centroid", _centroid, ["DOUBLE[]"], "DOUBLE[]"),
        ("adql_healpix", _healpix_index, ["DOUBLE", "DOUBLE", "INTEGER"], "BIGINT"),
        ("adql_cells", _cells, ["DOUBLE", "DOUBLE", "INTEGER"], "BIGINT[]"),
    ):
        connection.create_function(  # type: ignore[call-overload]
            name, function, kinds, result, type="arrow", null_handling="special"
        )
    return connection


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Forbid further changes of settings."""
    connection.execute("SET lock_configuration = true")


def _relation(function: Callable[[Any, Any], bool]) -> Callable[[Any, Any], pa.Array]:
    def relation(first: Any, second: Any) -> pa.Array:
        first, second = _rows(first), _rows(second)
        if function is sphere.contains and len(second) > 1 and (fast := _points_in_one(first, second)) is not None:
            return fast
        return pa.array([_answer(function, a, b) for a, b in zip(first, second, strict=True)], pa.bool_())

    return relation


def _rows(values: Any) -> list[Any]:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    flat = array.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return [flat[a:b] if ok else None for a, b, ok in zip(starts, ends, valid, strict=True)]


def _points_in_one(points: list[Any], polygons: list[Any]) -> pa.Array | None:
    """Test many points against one polygon.

    None for other input.
    """
    first = polygons[0]
    if first is None or len(first) < 6 or any(p is None or len(p) != 2 for p in points):
        return None
    if not all(p is not None and len(p) == len(first) and (p == first).all() for p in polygons):
        return None
    numbers = np.array(points)
    valid = np.isfinite(numbers).all(axis=1)
    try:
        corners = sphere.polygon(first)
    except ValueError:
        return pa.nulls(len(points), pa.bool_())
    is_inside = sphere.in_polygon(sphere.vectors(numbers[:, 0], numbers[:, 1]), corners)
    return pa.array(is_inside, pa.bool_(), mask=~valid)


def _answer(function: Callable[[Any, Any], bool], first: Any, second: Any) -> bool | None:
    """Return NULL for unknown values and invalid regions.

    One bad row does not end a query on millions.
    """
    if first is None or second is None or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    try:
        return function(first, second)
    except ValueError:
        return None


def _polygons(values: Any, function: Callable[[Any], Any], kind: pa.DataType) -> pa.Array:
    results = []
    for row in _rows(values):
        try:
            results.append(None if row is None else function(sphere.polygon(row)))
        except ValueError:
            results.append(None)
    return pa.array(results, kind)


def _area(values: Any) -> pa.Array:
    return _polygons(values, lambda corners: sphere.area(corners) * _SQUARE_DEGREES, pa.float64())


def _centroid(values: Any) -> pa.Array:
    return _polygons(
        values, lambda corners: [float(n) for n in sphere.degrees(sphere.centroid(corners))], pa.list_(pa.float64())
    )


def _healpix_index(lon: Any, lat: Any, depth: Any) -> pa.Array:
    return healpix(lon, lat, depth[0].as_py()) if len(depth) else pa.array([], pa.int64())


def _cells(lon: Any, lat: Any, depth: Any) -> pa.Array:
    """Return each position's cell and its neighbours.

    NULL where there is no position.
    """
    from cdshealpix.nested import neighbours

    level = depth[0].as_py()
    cells = healpix(lon, lat, level)
    valid = cells.is_valid().to_numpy(zero_copy_only=False)
    around = neighbours(cells.fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint64), level)
    exists = (around >= 0) & valid[:, None]  # some cells have seven neighbours
    ends = np.concatenate([[0], exists.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(around[exists].astype(np.int64)))

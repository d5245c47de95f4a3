"""How long a cone search takes on many rows, with the sky index and without: `python -m tests.bench.tap_index`."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from uws_service.adql import Column, Table, translate
from uws_service.tap.engines.base import Bounds
from uws_service.tap.engines.duckdb import DuckDBEngine
from uws_service.tap.engines.parquet import write_table

SKY = Table(
    "bench",
    "sky",
    (
        Column("id", "long"),
        Column("ra", "double", unit="deg", ucd="pos.eq.ra;meta.main"),
        Column("dec", "double", unit="deg", ucd="pos.eq.dec;meta.main"),
        Column("mag", "float", unit="mag"),
    ),
    position=("ra", "dec"),
)
_BATCH = 200_000
_ROUNDS = 30


def rows(count: int, seed: int = 1) -> Iterator[pa.RecordBatch]:
    """Random positions, uniform on the sphere."""
    random = np.random.default_rng(seed)
    for first in range(0, count, _BATCH):
        size = min(_BATCH, count - first)
        yield pa.RecordBatch.from_pydict(
            {
                "id": np.arange(first, first + size),
                "ra": random.uniform(0, 360, size),
                "dec": np.degrees(np.arcsin(random.uniform(-1, 1, size))),
                "mag": random.uniform(5, 21, size).astype(np.float32),
            }
        )


def measure(count: int, folder: Path) -> dict[str, float]:
    """Return seconds to write the table, and median seconds of a cone of 1 arcmin with and without index, warm."""
    began = time.perf_counter()
    write_table(rows(count), SKY, folder / "sky")
    figures = {"rows": float(count), "write_s": time.perf_counter() - began}
    engine = DuckDBEngine([(SKY, folder / "sky")], folder / "temporary")
    try:
        plain = replace(SKY, position=None)
        for name, table in (("cone_indexed_s", SKY), ("cone_scan_s", plain)):
            random = np.random.default_rng(2)
            durations: list[float] = []
            for _ in range(_ROUNDS):
                ra, dec = random.uniform(0, 360), np.degrees(np.arcsin(random.uniform(-1, 1)))
                text = f"SELECT * FROM bench.sky WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, {1 / 60}))"
                began = time.perf_counter()
                query = translate(text, [table], "duckdb")
                for _ in engine.query(query, Bounds(100_000, 60, 1_000_000_000), {}):
                    pass
                durations.append(time.perf_counter() - began)
            figures[name] = statistics.median(durations)
    finally:
        engine.close()
    return figures


def main() -> None:
    """Print the figures as JSON.

    The argument is the number of rows.
    """
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory(prefix="uws-tap-index-") as folder:
        print(json.dumps(measure(count, Path(folder)), indent=2))


if __name__ == "__main__":
    main()

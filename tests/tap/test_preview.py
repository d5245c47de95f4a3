"""The sample of positions of a result."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from uws_service.adql.model import Column
from uws_service.tap.preview_read import parse_preview
from uws_service.tap.preview_write import MAX_POSITIONS, Preview

COLUMNS = [Column("ra", "double", ucd="pos.eq.ra;meta.main"), Column("dec", "float", ucd="pos.eq.dec;meta.main")]


def batches(rows: int, size: int = 5000) -> Iterator[pa.RecordBatch]:
    """Yield sorted positions, each hundredth row without one."""
    for start in range(0, rows, size):
        number = np.arange(start, min(start + size, rows))
        lon = 360.0 * number / rows
        lat = np.where(number % 200 == 0, 91.0, np.degrees(np.arcsin(2 * ((number * 0.618034) % 1) - 1)))
        mask = number % 200 == 100
        columns = [pa.array(lon, pa.float64(), mask=mask), pa.array(lat.astype(np.float32), pa.float32())]
        yield pa.RecordBatch.from_arrays(columns, names=["ra", "dec"])


def previewed(rows: int) -> tuple[Preview, dict[str, object]]:
    preview = Preview()
    passed = sum(batch.num_rows for batch in preview.watch(batches(rows), COLUMNS))
    assert passed == rows == preview.count
    return preview, json.loads(preview.to_json())


def test_the_sample_is_from_the_whole_of_a_sorted_result() -> None:
    """Each tenth of the rows has its share of the sample.

    A chi-square of 9 degrees is below 33 (1 in 10,000).
    """
    for rows in (3_000, 13_371, 400_000):
        preview, content = previewed(rows)
        positions = np.array(content["positions"])
        assert len(positions) == MAX_POSITIONS and content["located"] == rows - (rows + 199) // 200 - (rows + 99) // 200
        assert np.abs(positions[:, 1]).max() <= 90
        counts = np.histogram(positions[:, 0], bins=10, range=(0, 360))[0]
        assert ((counts - MAX_POSITIONS / 10) ** 2 / (MAX_POSITIONS / 10)).sum() < 33, counts
        assert len(preview.sample._rows) == MAX_POSITIONS  # nothing else is kept
        assert previewed(rows)[1] == content  # the same result has the same picture


def test_a_small_result_is_shown_whole() -> None:
    _, content = previewed(1_000)
    assert len(content["positions"]) == content["located"] == 990  # type: ignore[arg-type]


def test_previews_of_earlier_versions_are_read() -> None:
    old = {"columns": [{"name": "ra", "unit": None, "description": ""}], "rows": [["1"]], "count": 5000}
    read = parse_preview(json.dumps({**old, "positions": [[1.0, 2.0]] * 3}).encode())
    assert read is not None and read.located is None and read.dot_count == 3
    read = parse_preview(json.dumps({**old, "positions": [[1.0, 2.0]] * 3, "located": 4000}).encode())
    assert read is not None and read.located == 4000

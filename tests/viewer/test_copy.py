"""Copies of tables.

Any row at once, in any order, from every format.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from uws_service.adql.model import Column
from uws_service.domain.errors import UsageError
from uws_service.tap.writers import WRITERS, Document, Rows
from uws_service.viewer.copy import Copy, encoded, first_rows, make_copy, text_rows, typed_rows

COLUMNS = (
    Column("name", "char", "*"),
    Column("ra", "double", unit="deg", ucd="pos.eq.ra;meta.main"),
    Column("dec", "double", unit="deg", ucd="pos.eq.dec;meta.main"),
    Column("mag", "double", unit="mag"),
    Column("number", "int"),
)
COUNT = 5000
PLENTY = 1 << 30


def batch(count: int = COUNT) -> pa.RecordBatch:
    """Return rows whose magnitudes repeat, and are missing now and then."""
    numbers = np.arange(count)
    magnitudes = [None if number % 10 == 0 else float(number % 7) for number in numbers]
    return pa.record_batch(
        [
            [f"star {number}" for number in numbers],
            numbers * 360 / count,
            np.degrees(np.arcsin(numbers / count * 2 - 1)),
            magnitudes,
            pa.array(numbers, pa.int32()),
        ],
        [column.name for column in COLUMNS],
    )


def table_file(path: Path, form: str = "votable", count: int = COUNT) -> Path:
    """Write the rows in one of the formats of a result."""
    path.write_bytes(b"".join(WRITERS[form](Document(COLUMNS), Rows([batch(count)], COLUMNS, 10**7))))
    return path


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_every_format_has_pages_and_an_overview(tmp_path: Path, form: str) -> None:
    """Rows in the middle are those of the file, and the overview is of all of them."""
    path = table_file(tmp_path / "table", form)
    overview = make_copy(path, tmp_path / "copy", PLENTY)
    assert (overview["count"], overview["copied"]) == (COUNT, COUNT)
    assert overview["located"] == COUNT and 0 < overview["cells"] <= COUNT and overview["sky"].startswith("<svg")
    page = Copy(tmp_path / "copy").page(4321, 2, "", descending=False)
    assert [row[0] for row in typed_rows(page)] == ["star 4321", "star 4322"]
    assert text_rows(page)[0][:2] == ["star 4321", "311.112"]
    assert len(overview["sample"]) == 4 and len(overview["sample"][0]) == 2000
    assert overview["sample"][0][-1] > 350, "the sample is of all rows"


def test_pages_of_an_order_cover_each_row_once(tmp_path: Path) -> None:
    """Equal values keep their order, and missing ones come last, whichever way."""
    make_copy(table_file(tmp_path / "table"), tmp_path / "copy", PLENTY)
    copy = Copy(tmp_path / "copy")
    for descending in (False, True):
        pages = [copy.page(offset, 700, "mag", descending=descending) for offset in range(0, COUNT, 700)]
        rows = [row for page in pages for row in typed_rows(page)]
        assert sorted(row[4] for row in rows) == list(range(COUNT))
        magnitudes = [row[3] for row in rows]
        present = [value for value in magnitudes if value is not None]
        assert magnitudes == [*present, *[None] * (COUNT // 10)]
        assert present == sorted(present, reverse=descending)


def test_orders_that_are_not_possible(tmp_path: Path) -> None:
    make_copy(table_file(tmp_path / "table"), tmp_path / "copy", PLENTY)
    with pytest.raises(UsageError, match="no column 'colour'"):
        Copy(tmp_path / "copy").page(0, 10, "colour", descending=False)
    assert Copy(tmp_path / "copy").page(COUNT + 10, 10, "", descending=False).num_rows == 0


def test_a_copy_ends_when_its_room_is_used(tmp_path: Path) -> None:
    """The overview is of all rows all the same, and tells how many the copy has."""
    columns = COLUMNS[:2]
    text = "name,ra\n" + "".join(f"{'x' * 200},{number / 1000}\n" for number in range(20_000))
    path = tmp_path / "table.csv"
    path.write_text(text)
    overview = make_copy(path, tmp_path / "copy", 1 << 20)
    assert overview["count"] == 20_000 and overview["copied"] < 20_000
    assert (tmp_path / "copy").stat().st_size < 3 << 20
    assert [column["name"] for column in overview["columns"]] == [column.name for column in columns]


def test_first_rows_need_no_pass(tmp_path: Path) -> None:
    """What is broken behind them is not read yet."""
    whole = table_file(tmp_path / "whole", count=100_000).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    content = first_rows(tmp_path / "cut", 20)
    assert len(content["rows"]) == 20 and content["rows"][3][0] == "star 3"


def test_numbers_that_json_does_not_have() -> None:
    """They are texts; whole numbers stay exact."""
    table = pa.table({"x": [float("nan"), float("inf"), -float("inf"), 1.5, None], "n": [2**60, 1, 2, 3, None]})
    content = json.loads(b"".join(encoded({"rows": typed_rows(table)})))
    assert content["rows"] == [["NaN", 2**60], ["+Inf", 1], ["-Inf", 2], [1.5, 3], [None, None]]

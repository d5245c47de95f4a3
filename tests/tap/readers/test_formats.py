"""The same rows in every format, by every writer."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.tap.readers.tables import COLUMNS, FORMS, ROWS, Row, astropy_votable, read_rows, same
from tests.tiers import require
from uws_service.tables import read_table

CORNERS: list[Row] = [
    (2**63 - 1, 2**31 - 1, -(2**15) + 1, True, 0.1, 0.25, "x 007", "é ☉", [1.0, None, -0.5], [1, 2]),
    (299489677444933633, None, None, None, None, None, None, None, None, None),
    (None, 0, 0, False, 1e300, 0.0, 'x"a",b', 'é"', [1.0, 2.0, 3.0], [0, 0]),
]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
@example(rows=CORNERS)
@example(rows=[(None,) * len(COLUMNS)])
def test_the_same_rows(form: str, rows: list[Row]) -> None:
    """No digit, null or text changes."""
    writer = FORMS[form]
    numbers = [number for number, column in enumerate(COLUMNS) if writer.supports(column)]
    columns = [COLUMNS[number] for number in numbers]
    expected_rows = [tuple(row[number] for number in numbers) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        writer.write(columns, expected_rows, path)
        rows_read = read_rows(path)
    assert len(rows_read) == len(expected_rows)
    for row, expected in zip(rows_read, expected_rows, strict=True):
        for value, right, column in zip(row, expected, columns, strict=True):
            assert same(value, right, column), (column.name, value, right)


STILTS = ("votable-tabledata", "votable-binary-inline", "votable-binary2-inline", "fits-basic", "fits-plus", "fits-var",
          "csv")  # fmt: skip


@pytest.mark.parametrize("form", STILTS)
def test_stilts_means_the_same(form: str, tmp_path: Path) -> None:
    """STILTS' files are read as STILTS meant them."""
    require("stilts")
    number = [n for n, column in enumerate(COLUMNS) if column.name not in ("flag", "numbers", "vector")]
    if form.startswith("fits"):
        number = [n for n in number if COLUMNS[n].name != "name"]
    columns = [COLUMNS[n] for n in number]
    rows = [tuple(row[n] for n in number) for row in CORNERS]
    astropy_votable("binary2")(columns, rows, tmp_path / "in.vot")
    completed = subprocess.run(
        ["stilts", "tpipe", f"in={tmp_path}/in.vot", "ifmt=votable", f"out={tmp_path}/out", f"ofmt={form}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    for row, expected in zip(read_rows(tmp_path / "out"), rows, strict=True):
        for value, right, column in zip(row, expected, columns, strict=True):
            assert same(value, right, column), (column.name, value, right)


def test_for_programs_in_python(tmp_path: Path) -> None:
    """astropy's table has the values, masks and units."""
    FORMS["parquet"].write(list(COLUMNS), CORNERS, tmp_path / "t")
    table = read_table(tmp_path / "t")
    assert table.colnames == [column.name for column in COLUMNS]
    assert table["id"][0] == 2**63 - 1 and table["id"].mask.tolist() == [False, False, True]
    assert table["word"].tolist() == ["x 007", None, 'x"a",b'] and str(table["x"].unit) == "deg"
    assert table["flag"].mask.tolist() == [False, True, False]

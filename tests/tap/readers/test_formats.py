"""The same rows in every format, by every writer."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.io.votable.tree import Resource, VOTableFile
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, example, given, settings

from tests.tap.readers.tables import COLUMNS, FORMS, ROWS, Row, astropy_votable, read_rows, same
from tests.tiers import require
from uws_service.domain.errors import UsageError
from uws_service.tables import read_table
from uws_service.tap import readers
from uws_service.tap.answer import QueryRequest, QueryRunner
from uws_service.tap.tables_source import TablesSource

CORNERS: list[Row] = [
    (2**63 - 1, 2**31 - 1, -(2**15) + 1, True, 0.1, 0.25, "x 007", "é ☉", [1.0, None, -0.5], [1, 2]),
    (299489677444933633, None, None, None, None, None, None, None, None, None),
    (None, 0, 0, False, 1e300, 0.0, 'x"a",b', 'é"', [1.0, 2.0, 3.0], [0, 0]),
]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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


def two_tables(form: str, path: Path) -> None:
    first, second = Table({"a": [1]}), Table({"b": [2.5], "c": [3]})
    if form == "fits":
        hdus = [fits.PrimaryHDU(), *(fits.BinTableHDU(table) for table in (first, second))]
        fits.HDUList(hdus).writeto(path)
        return
    document = VOTableFile()
    for table in (first, second):
        resource = Resource()
        resource.tables.append(from_table(table).get_first_table())
        document.resources.append(resource)
    document.to_xml(str(path), tabledata_format=form)


@pytest.mark.parametrize("form", ["fits", "tabledata", "binary", "binary2"])
def test_further_tables_are_told(form: str, tmp_path: Path) -> None:
    """Only the first is read, and a note says so."""
    two_tables(form, tmp_path / "t")
    source = readers.read_table(tmp_path / "t")
    assert [column.name for column in source.columns] == ["a"] and source.notes == (readers.FIRST_ONLY,)


@pytest.mark.parametrize("padding", range(0, 60, 7))
def test_a_table_at_the_end_of_a_piece(padding: int, tmp_path: Path) -> None:
    """A tag that lies across two pieces of the document counts once."""
    head = "<VOTABLE><RESOURCE><TABLE><FIELD name='a' datatype='int'/></TABLE>"
    text = head + " " * ((1 << 20) - len(head) - padding) + "<TABLE ></TABLE></RESOURCE></VOTABLE>"
    (tmp_path / "two").write_text(text)
    assert readers.read_table(tmp_path / "two").notes == (readers.FIRST_ONLY,)
    (tmp_path / "one").write_text(text.replace("<TABLE ></TABLE>", "").replace("<TABLE>", "<TABLE >"))
    assert not readers.read_table(tmp_path / "one").notes


@pytest.mark.parametrize("form", ["ascii.ecsv", "fits"])
def test_masks_beside_their_columns_are_told(form: str, tmp_path: Path) -> None:
    """astropy can write what is missing into a column of its own."""
    table = Table({"m": MaskedColumn([1.0, 99.0], mask=[False, True])})
    table.write(tmp_path / "t", format=form, serialize_method="data_mask")
    source = readers.read_table(tmp_path / "t")
    assert source.notes == ("values of the column 'm' that 'm.mask' marks as missing are read as they stand",)


NAMES = ["a\0b", "x\x01<&\n", "\x7f", "\ufffe", "é" * 100, "]]>'\"", "a_b"]


@pytest.mark.parametrize("form", ["votable", "votable/b2", "fits", "csv", "tsv", "parquet"])
def test_names_of_any_kind(form: str, tmp_path: Path) -> None:
    """Characters that no engine takes in a name are replaced; the table is read and queried in every format."""
    table = pa.table([pa.array([number]) for number in range(len(NAMES))], names=NAMES)
    pyarrow.parquet.write_table(table, tmp_path / "up.parquet")
    (tmp_path / "tables").mkdir()
    runner = QueryRunner(TablesSource(str(tmp_path / "tables"), "", ()), tmp_path)
    request = QueryRequest("SELECT * FROM TAP_UPLOAD.t", form, 9, {"t": tmp_path / "up.parquet"}, 60, 1 << 30)
    (tmp_path / "out").write_bytes(b"".join(runner.answer(request)))
    assert read_rows(tmp_path / "out") == [tuple(range(len(NAMES)))]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_nul_in_a_text_is_refused(form: str, tmp_path: Path) -> None:
    """Formats that end texts with it would cut the value."""
    words = [*(["x" * 100] * 100), "a\0b"]
    if form == "csv":
        (tmp_path / "t").write_text("\n".join(["word", *words, ""]))
    else:
        pyarrow.parquet.write_table(pa.table({"word": words}), tmp_path / "t")
    with pytest.raises(UsageError, match="column 'word' has a NUL"):
        read_rows(tmp_path / "t")

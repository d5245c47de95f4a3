"""Round trips of every format, read by astropy and STILTS."""

from __future__ import annotations

import csv
import datetime
import io
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

from tests.tap.readers.tables import read_rows
from tests.tiers import require
from uws_service.adql.model import Column
from uws_service.domain.errors import UwsError
from uws_service.tap.types import arrow_schema
from uws_service.tap.writers import WRITERS, Document, Rows

INSTANT = datetime.datetime(2024, 2, 29, 23, 59, 59, 250000)
DATA: list[tuple[Column, Any, list[Any]]] = [
    (Column("flag", "boolean"), pa.bool_(), [True, False, None, True]),
    (Column("tiny", "unsignedByte"), pa.uint8(), [0, 255, None, 7]),
    (Column("small", "short", unit="pix"), pa.int16(), [-(2**15), 2**15 - 1, None, 0]),
    (Column("whole", "int"), pa.int32(), [-(2**31), 5, None, 2**31 - 2]),
    (Column("big", "long", ucd="meta.id"), pa.int64(), [-(2**62), 2**63 - 1, None, 0]),
    (Column("single", "float"), pa.float32(), [1.5, float("nan"), None, float("-inf")]),
    (Column("ra", "double", unit="deg", ucd="pos.eq.ra", description="A <b> & 'c'"), pa.float64(),
     [0.1, 1e300, None, float("inf")]),
    (Column("name", "char", "*"), pa.string(), ["", "a,b\"c", None, "x<y>&z"]),
    (Column("word", "unicodeChar", "*"), pa.string(), ["Ångström", "Ω Cen", None, "plain"]),
    (Column("code", "char", "3"), pa.string(), ["abc", "de", None, "f"]),
    (Column("when", "char", "*", "timestamp"), pa.timestamp("us"), [INSTANT, INSTANT, None, INSTANT]),
    (Column("point", "double", "2", "point"), pa.list_(pa.float64()), [[1.0, 2.0], [3.5, -4.0], None, [0.0, 0.0]]),
    (Column("shape", "double", "*", "polygon"), pa.list_(pa.float64()), [[1.0] * 6, [2.0] * 8, None, []]),
]  # fmt: skip
COLUMNS = tuple(column for column, _, _ in DATA)


def batches(copies: int = 1) -> Iterator[Any]:
    for _ in range(copies):
        arrays = [pa.array(values, kind) for _, kind, values in DATA]
        yield pa.RecordBatch.from_arrays(arrays, names=[f"x{number}" for number in range(len(DATA))])


def written(form: str, *, copies: int = 2, limit: int = 100) -> bytes:
    document = Document(COLUMNS, "SELECT 1 < 2", (("server", "a test"),))
    return b"".join(WRITERS[form](document, Rows(batches(copies), COLUMNS, limit)))


def test_votable(tmp_path: Path) -> None:
    """astropy reads both serialisations without a warning."""
    for form in ("votable", "votable/b2"):
        path = tmp_path / form.replace("/", "-")
        path.write_bytes(written(form))
        table = parse(path, verify="exception").get_first_table()
        assert len(table.array) == 8 and [field.name for field in table.fields] == [field.name for field in COLUMNS]
        first = {field.name: field for field in table.fields}
        assert (first["ra"].unit, first["ra"].ucd, first["ra"].description) == ("deg", "pos.eq.ra", "A <b> & 'c'")
        assert first["when"].xtype == "timestamp" and first["point"].arraysize == "2"
        rows = table.array
        for column, _, values in DATA:
            for row, value in enumerate([*values, *values]):
                _same(rows[column.name][row], value, column, form)


def _same(actual: Any, value: Any, column: Column, form: str) -> None:
    context = (form, column.name, actual, value)
    if value is None and column.datatype in ("char", "unicodeChar"):
        assert actual in ("", None) or np.ma.is_masked(actual), context
    elif value is None and column.name == "shape":
        assert np.ma.is_masked(actual) or len(actual) == 0, context
    elif value is None:
        assert np.all(np.ma.getmaskarray(actual)) or np.all(np.isnan(np.ma.getdata(actual))), context
    elif column.name == "when":
        assert str(actual) == "2024-02-29T23:59:59.25", context
    elif isinstance(value, list):
        assert np.array_equal(np.ma.getdata(actual), value), context
    elif isinstance(value, float) and np.isnan(value):
        assert np.ma.is_masked(actual) or np.isnan(actual), context
    elif isinstance(value, float):
        assert np.array_equal(np.float64(actual), np.float64(value), equal_nan=True), context
    else:
        assert (str(actual) == value) if isinstance(value, str) else (actual == value), context


def test_missing_elements_of_arrays() -> None:
    """Missing elements of arrays keep their place.

    They are null in CSV, what VALUES names in a VOTable, ``?`` for booleans.
    """
    columns = (Column("i", "int", "3"), Column("b", "boolean", "2"))
    schema = arrow_schema(columns)
    rows = [pa.array([[1, None, 3]], schema.field(0).type), pa.array([[True, None]], schema.field(1).type)]
    batch = pa.RecordBatch.from_arrays(rows, schema=schema)
    result = {
        form: b"".join(WRITERS[form](Document(columns), Rows([batch], columns, 9))) for form in ("csv", "votable")
    }
    assert result["csv"].split(b"\r\n")[1] == b"1 null 3,true ?"
    assert b'<VALUES null="-2147483648"/>' in result["votable"] and b"<TD>1 -2147483648 3</TD>" in result["votable"]


@pytest.mark.parametrize("size", ["3", "*"])
@pytest.mark.parametrize("datatype", ["unsignedByte", "short", "int", "long"])
@pytest.mark.parametrize("ends", [False, True])
def test_missing_integers_in_arrays_of_fits(tmp_path: Path, datatype: str, size: str, ends: bool) -> None:
    """TNULL is a number that no element has.

    Both readers see the nulls (FITS 4.0 §7.3.2).
    """
    low, high = {"unsignedByte": (0, 255), "short": (-(2**15), 2**15 - 1), "int": (-(2**31), 2**31 - 1)}.get(
        datatype, (-(2**63), 2**63 - 1)
    )
    values = [[low, None, high], [1, 0, low + 1], None] if ends else [[1, None, 0], [1, 2, 3], None]
    columns = (Column("id", "int"), Column("v", datatype, size))
    schema = arrow_schema(columns)
    arrays = [pa.array([1, 2, 3], schema.field(0).type), pa.array(values, schema.field(1).type)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    path = tmp_path / "t.fits"
    path.write_bytes(b"".join(WRITERS["fits"](Document(columns), Rows([batch], columns, 9))))
    assert read_rows(path) == list(enumerate(values, 1))
    with fits.open(path) as hdus:
        hdus.verify("exception")
        null = hdus[1].header["TNULL2"]
        row = hdus[1].data.field("v")[0]
    assert [None if value == null else int(value) for value in row] == values[0]


@pytest.mark.parametrize("form", ["votable", "votable/b2"])
def test_missing_bytes_that_votable_cannot_hold(form: str) -> None:
    """The document ends with an error instead of another value."""
    columns = (Column("v", "unsignedByte", "2"),)
    schema = arrow_schema(columns)
    batch = pa.RecordBatch.from_arrays([pa.array([[1, None]], schema.field(0).type)], schema=schema)
    document = b"".join(WRITERS[form](Document(columns), Rows([batch], columns, 9)))
    assert [status[0] for status in statuses(document)] == ["OK", "ERROR"] and b"missing bytes" in document


def test_a_single_column_in_csv() -> None:
    """A missing value is no empty line."""
    columns = (Column("i", "int"),)
    batch = pa.RecordBatch.from_arrays([pa.array([1, None], pa.int32())], schema=arrow_schema(columns))
    result = b"".join(WRITERS["csv"](Document(columns), Rows([batch], columns, 9)))
    assert result == b'i\r\n1\r\n""\r\n'


def test_csv_and_tsv() -> None:
    """Python's reader sees the same texts."""
    read = list(csv.DictReader(io.StringIO(written("csv", copies=1).decode(), newline="")))
    assert [row["name"] for row in read] == ["", 'a,b"c', "", "x<y>&z"]
    assert [row["big"] for row in read] == [str(-(2**62)), str(2**63 - 1), "", "0"]
    assert [row["single"] for row in read] == ["1.5", "NaN", "", "-Inf"]
    assert [row["point"] for row in read] == ["1 2", "3.5 -4", "", "0 0"]
    assert [row["flag"] for row in read] == ["true", "false", "", "true"]
    lines = written("tsv", copies=1).decode().split("\n")
    assert len(lines) == 6 and all(line.count("\t") == len(COLUMNS) - 1 for line in lines[:-1])


def test_fits() -> None:
    """astropy's strict reader sees the same values."""
    with fits.open(io.BytesIO(written("fits"))) as hdus:
        hdus.verify("exception")
        header = hdus[1].header
        flags = hdus[1].data.field("tiny")
        with warnings.catch_warnings(action="ignore", category=AstropyUserWarning):  # its words on null booleans
            table = Table.read(hdus[1])
    assert flags.dtype.kind == "i" and header["TFORM2"] == "1I"  # all 256 values are used, so null needs a wider type
    assert len(table) == 8 and header["QSTATUS"] == "OK"
    assert str(table["ra"].unit) == "deg"
    for name, values in (("whole", [-(2**31), 5, None, 2**31 - 2]), ("big", [-(2**62), 2**63 - 1, None, 0])):
        assert [None if np.ma.is_masked(value) else int(value) for value in table[name][:4]] == values
    assert np.isnan(table["ra"].filled(np.nan)[2]) and table["ra"][1] == 1e300
    assert [str(value).strip() for value in table["word"][:4]] == ["Angstrom", "? Cen", "", "plain"]
    assert [list(value) for value in table["shape"][:2]] == [[1.0] * 6, [2.0] * 8] and len(table["shape"][6]) == 0
    assert list(table["point"][1]) == [3.5, -4.0] and np.all(np.isnan(np.ma.getdata(table["point"][2])))


def test_characters_beyond_ascii() -> None:
    """Every format has them, those beyond two bytes too; FITS, which can't, says so."""
    column = Column("word", "unicodeChar", "*")
    batch = pa.RecordBatch.from_arrays([pa.array(["é😀", "x"])], names=["c1"])
    for form, writer in WRITERS.items():
        content = b"".join(writer(Document((column,)), Rows([batch], (column,), 10)))
        if form == "fits":
            comments = " ".join(fits.getheader(io.BytesIO(content), 1)["COMMENT"])
            assert "beyond ASCII are replaced in word" in comments
        elif form.startswith("votable"):
            assert list(parse(io.BytesIO(content)).get_first_table().array["word"]) == ["é😀", "x"]
    longer = pa.RecordBatch.from_arrays([pa.array(["½ ﬁ …", "x"])], names=["c1"])
    for size in ("*", "5"):
        wide = (Column("word", "unicodeChar", size),)
        content = b"".join(WRITERS["fits"](Document(wide), Rows([longer], wide, 10)))
        assert fits.getdata(io.BytesIO(content), 1)["word"][0] == "1?2 fi ..."
    plain = pa.RecordBatch.from_arrays([pa.array(["e", "x"])], names=["c1"])
    content = b"".join(WRITERS["fits"](Document((column,)), Rows([plain], (column,), 10)))
    assert "COMMENT" not in fits.getheader(io.BytesIO(content), 1)


def test_parquet(tmp_path: Path) -> None:
    """Arrow's reader sees the same values, and metadata."""
    (tmp_path / "t.parquet").write_bytes(written("parquet"))
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert table.schema.equals(arrow_schema(COLUMNS)) and table.num_rows == 8
    assert table["big"].to_pylist()[:4] == [-(2**62), 2**63 - 1, None, 0]
    assert table["shape"].to_pylist()[2:4] == [None, []]
    content = table.schema.metadata[b"IVOA.VOTable-Parquet.content"]
    fields = parse(io.BytesIO(content)).get_first_table().fields
    assert [field.ucd for field in fields][6] == "pos.eq.ra"


@pytest.mark.parametrize(
    ("form", "reader"),
    [("votable", "votable"), ("votable/b2", "votable"), ("csv", "csv"), ("fits", "fits")],
)
def test_stilts_reads_it(form: str, reader: str, tmp_path: Path) -> None:
    """STILTS agrees on rows and columns."""
    require("stilts")
    path = tmp_path / "table"
    path.write_bytes(written(form))
    command = ["stilts", "tpipe", f"in={path}", f"ifmt={reader}", "ofmt=csv"]
    keep = "keepcols 'tiny small big name'"
    completed = subprocess.run([*command, f"cmd={keep}"], capture_output=True, text=True, timeout=600)
    assert completed.returncode == 0, completed.stderr
    rows = list(csv.DictReader(io.StringIO(completed.stdout)))
    assert [row["big"] for row in rows] == [str(-(2**62)), str(2**63 - 1), "", "0"] * 2
    assert [row["tiny"] for row in rows][:4] == ["0", "255", "", "7"]
    assert rows[3]["name"] == "x<y>&z"


def test_votlint_is_content(tmp_path: Path) -> None:
    """STILTS' own checker of VOTables finds nothing.

    Arrays without a fixed size are left out: it takes empty ones for errors, while STILTS itself reads them.
    """
    require("stilts")
    columns = COLUMNS[:-1]
    rows = [pa.RecordBatch.from_arrays(batch.columns[:-1], names=batch.schema.names[:-1]) for batch in batches()]
    for form in ("votable", "votable/b2"):
        path = tmp_path / "t.vot"
        path.write_bytes(b"".join(WRITERS[form](Document(columns), Rows(rows, columns, 100))))
        completed = subprocess.run(["stilts", "votlint", str(path)], capture_output=True, text=True, timeout=600)
        assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")


def statuses(document: bytes) -> list[tuple[str | None, bool]]:
    from lxml import etree

    return [
        (info.get("value"), info.getparent().index(info) > 3)
        for info in etree.fromstring(document).iter("{*}INFO")
        if info.get("name") == "QUERY_STATUS"
    ]


def test_the_end_of_the_rows() -> None:
    """Truncation is marked after the table (T-012, D-025)."""
    assert [status[0] for status in statuses(written("votable", limit=8))] == ["OK"]
    assert [status[0] for status in statuses(written("votable", limit=7))] == ["OK", "OVERFLOW"]
    assert [status[0] for status in statuses(written("votable/b2", limit=0))] == ["OK", "OVERFLOW"]
    assert len(written("csv", limit=3).split(b"\r\n")) == 5
    with fits.open(io.BytesIO(written("fits", limit=0))) as hdus:
        assert hdus[1].header["NAXIS2"] == 0 and hdus[1].header["QSTATUS"] == "OVERFLOW"


def test_an_error_in_the_middle() -> None:
    """The document stays well-formed and ends with ERROR (D-048)."""

    def failing_batches() -> Iterator[Any]:
        yield from batches()
        raise UwsError("the disk < broke")

    for form in ("votable", "votable/b2"):
        document = b"".join(WRITERS[form](Document(COLUMNS), Rows(failing_batches(), COLUMNS, 100)))
        assert [status[0] for status in statuses(document)] == ["OK", "ERROR"]
        assert b"the disk &lt; broke" in document


def test_memory_does_not_grow() -> None:
    """A hundred times the rows take no more memory."""
    column = (Column("x", "double"),)

    def many(count: int) -> Iterator[Any]:
        for _ in range(count):
            yield pa.RecordBatch.from_arrays([pa.array(np.random.default_rng(1).random(10_000))], names=["x"])

    peaks = []
    for count in (10, 1000):
        peak = 0
        for _ in WRITERS["votable/b2"](Document(column), Rows(many(count), column, 10**9)):
            peak = max(peak, pa.total_allocated_bytes())
        peaks.append(peak)
    assert peaks[1] <= peaks[0] * 1.5 + 1_000_000

"""Sizes that columns declare.

Every format has the same values, whatever a query joins or a file says.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tests.tap.readers.tables import read_rows
from uws_service.adql.model import Column
from uws_service.domain.errors import UsageError, UwsError
from uws_service.tap.answer import QueryRequest, QueryRunner
from uws_service.tap.tables_source import TablesSource
from uws_service.tap.writers import WRITERS, Document, Rows

FORMS = ("votable", "votable/b2", "fits", "parquet")
UPLOAD = (
    '<VOTABLE version="1.4"><RESOURCE><TABLE>'
    '<FIELD name="letter" datatype="char"/><FIELD name="code" datatype="char" arraysize="3"/>'
    '<FIELD name="wide" datatype="unicodeChar" arraysize="2"/><FIELD name="pair" datatype="int" arraysize="2"/>'
    '<FIELD name="triple" datatype="int" arraysize="3"/><FIELD name="floats" datatype="float" arraysize="2"/>'
    '<FIELD name="doubles" datatype="double" arraysize="2"/>'
    "<DATA><TABLEDATA><TR><TD>abc</TD><TD>abcdef</TD><TD>éèê</TD><TD>1 2</TD><TD>3 4 5</TD><TD>0.5 1</TD>"
    "<TD>0.1 0.2</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
)


@pytest.fixture
def runner(tmp_path: Path) -> QueryRunner:
    (tmp_path / "tables").mkdir()
    return QueryRunner(TablesSource(str(tmp_path / "tables"), "", ()), tmp_path)


def asked(runner: QueryRunner, query: str, form: str, folder: Path) -> list[tuple[object, ...]]:
    (folder / "up.vot").write_text(UPLOAD)
    request = QueryRequest(query, form, 100, {"t": folder / "up.vot"}, 60, 1 << 30)
    (folder / "out").write_bytes(b"".join(runner.answer(request)))
    return read_rows(folder / "out")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT letter, code FROM TAP_UPLOAD.t", [("abc", "abcdef")]),
        ("SELECT MIN(code) AS m FROM TAP_UPLOAD.t", [("abcdef",)]),
        ("SELECT 'ab' AS x FROM TAP_UPLOAD.t UNION ALL SELECT code FROM TAP_UPLOAD.t", [("ab",), ("abcdef",)]),
        ("SELECT pair FROM TAP_UPLOAD.t UNION ALL SELECT triple FROM TAP_UPLOAD.t", [([1, 2],), ([3, 4, 5],)]),
        ("SELECT NULL AS x FROM TAP_UPLOAD.t UNION ALL SELECT pair FROM TAP_UPLOAD.t", [(None,), ([1, 2],)]),
        ("SELECT pair FROM TAP_UPLOAD.t UNION ALL SELECT NULL FROM TAP_UPLOAD.t", [([1, 2],), (None,)]),
        ("SELECT COALESCE(pair, triple) AS x FROM TAP_UPLOAD.t", [([1, 2],)]),
        ("SELECT COALESCE(triple, pair) AS x FROM TAP_UPLOAD.t", [([3, 4, 5],)]),
    ],
)
def test_every_value_is_complete(
    runner: QueryRunner, tmp_path: Path, query: str, form: str, expected: list[tuple[object, ...]]
) -> None:
    """No text is cut at a declared size, no array ends the process."""
    assert sorted(asked(runner, query, form, tmp_path), key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("form", ["votable", "votable/b2", "parquet"])
def test_texts_beyond_ascii_are_complete(runner: QueryRunner, tmp_path: Path, form: str) -> None:
    """The same of unicodeChar."""
    assert asked(runner, "SELECT wide FROM TAP_UPLOAD.t", form, tmp_path) == [("éèê",)]


@pytest.mark.parametrize("expression", ["SELECT floats FROM TAP_UPLOAD.t UNION SELECT doubles FROM TAP_UPLOAD.t",
                                        "SELECT COALESCE(floats, doubles) AS x FROM TAP_UPLOAD.t"])  # fmt: skip
def test_arrays_of_two_types_are_no_column(runner: QueryRunner, tmp_path: Path, expression: str) -> None:
    """Refuse what would lose digits."""
    with pytest.raises(UsageError, match=r"arrays of (float|double) and of"):
        asked(runner, expression, "csv", tmp_path)


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(
    ("column", "array"),
    [
        (Column("x", "char", "3"), pa.array(["abc", "abcd"])),
        (Column("x", "char"), pa.array(["ab"])),
        (Column("x", "unicodeChar", "2"), pa.array(["éèê"])),
        (Column("x", "int", "2"), pa.array([[1, 2], [1, 2, 3]], pa.list_(pa.int32()))),
        (Column("x", "double", "3", "circle"), pa.array([[1.0, 2.0]], pa.list_(pa.float64()))),
    ],
)
def test_a_value_of_another_size_is_an_error(form: str, column: Column, array: pa.Array) -> None:
    """No writer cuts it or fails on it; the answer names the column."""
    rows = Rows([pa.RecordBatch.from_arrays([array], names=["x"])], (column,), 10)
    try:
        content = b"".join(WRITERS[form](Document((column,)), rows))
    except UwsError as error:
        content = error.message.encode()
    assert b"value of the column 'x' has" in content and b"declared" in content

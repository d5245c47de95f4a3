"""CSV and ECSV: declared and inferred types."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import pytest
from astropy.table import Table

from tests.tap.readers.tables import read_rows, rows_of
from uws_service.domain.errors import UsageError
from uws_service.tap.readers import read_table


def columns_of(path: Path) -> list[tuple[str, str, str | None]]:
    return [(column.name, column.datatype, column.xtype) for column in read_table(path).columns]


def column(folder: Path, *cells: str) -> tuple[str, list[Any], tuple[str, ...]]:
    """Return datatype or xtype, values and notes of a column."""
    path = folder / "t.csv"
    path.write_text("\n".join(["id,value", *(f"{number},{cell}" for number, cell in enumerate(cells))]))
    source = read_table(path)
    described = source.columns[1]
    return described.xtype or described.datatype, [row[1] for row in rows_of(source)], source.notes


@pytest.mark.parametrize(
    ("cells", "datatype", "values"),
    [
        (["05:34:31", "21:33:27"], "char", ["05:34:31", "21:33:27"]),
        (["+22:00:52", "-00:49:23"], "char", ["+22:00:52", "-00:49:23"]),
        (["01:20", "23:59"], "char", ["01:20", "23:59"]),
        (["12h30m", "1h"], "char", ["12h30m", "1h"]),
        (["2020-01-01", "2021-02-03"], "char", ["2020-01-01", "2021-02-03"]),
        (["2020-01-01T00:00:00", "2021-02-03 04:05:06.5Z"], "timestamp",
         ["2020-01-01T00:00:00", "2021-02-03T04:05:06.5"]),
        (["2020-13-01T00:00:00"], "char", ["2020-13-01T00:00:00"]),
        (["0012", "450"], "char", ["0012", "450"]),
        (["-0012"], "char", ["-0012"]),
        (["0", "10"], "long", [0, 10]),
        (["+5", " 7"], "long", [5, 7]),
        (["0012", "1.5"], "double", [12, 1.5]),
        (["12547845098023311361", "299489677444933632"], "char", ["12547845098023311361", "299489677444933632"]),
        (["9223372036854775807", "-9223372036854775808"], "long", [2**63 - 1, -(2**63)]),
        (["9223372036854775808"], "char", ["9223372036854775808"]),
        (["299489677444933633", "0.5"], "char", ["299489677444933633", "0.5"]),
        (["299489677444933633.0"], "char", ["299489677444933633.0"]),
        (["1" * 5000], "char", ["1" * 5000]),
        (["1e400", "1"], "char", ["1e400", "1"]),
        (["1e-400"], "char", ["1e-400"]),
        (["1e3", ".5", "-2."], "double", [1000, 0.5, -2]),
        (["inf", "-Inf", "1"], "double", [float("inf"), float("-inf"), 1]),
        (["1", "NULL", "nan", "N/A", ""], "long", [1, None, None, None, None]),
        (["1.5", "null", '""'], "double", [1.5, None, None]),
        (["a", "NULL", "nan", '""'], "char", ["a", "NULL", "nan", None]),
        (["NULL", "nan"], "char", [None, None]),
        (["true", "False", ""], "boolean", [True, False, None]),
        (["T", "F"], "char", ["T", "F"]),
        (["1_000"], "char", ["1_000"]),
        (["0x1F"], "char", ["0x1F"]),
        (["1 000"], "char", ["1 000"]),
    ],
)  # fmt: skip
def test_inferred_types(tmp_path: Path, cells: list[str], datatype: str, values: list[Any]) -> None:
    """Only entirely numeric columns become numbers, unchanged."""
    inferred, values_read, notes = column(tmp_path, *cells)
    assert (inferred, values_read) == (datatype, values)
    lossy = datatype == "char" and all(cell.replace(".", "").lstrip("-").isdigit() for cell in cells)
    assert bool(notes) >= lossy


def test_types_come_from_all_of_the_file(tmp_path: Path) -> None:
    """Values behind the first megabytes count too."""
    rows = 900_000
    path = tmp_path / "late.csv"
    with path.open("w") as file:
        file.write("id,mag,note,big\n")
        for number in range(rows):
            late = number > rows - 10
            file.write(f"{number},{15.25 if late else 15},{'late' if late else ''},{2**64 if late else 7}\n")
    assert path.stat().st_size > 10 << 20
    assert columns_of(path) == [
        ("id", "long", None),
        ("mag", "double", None),
        ("note", "char", None),
        ("big", "char", None),
    ]
    assert read_rows(path)[-1] == (rows - 1, 15.25, "late", str(2**64))


@pytest.mark.parametrize(
    ("encoding", "encoding_name"),
    [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("latin-1", "ISO 8859-1"), ("cp1252", "windows-1252")],
)
def test_encodings(tmp_path: Path, encoding: str, encoding_name: str) -> None:
    """Texts are unicodeChar; an encoding other than UTF-8 is noted."""
    word = "René €5" if encoding != "latin-1" else "René"
    (tmp_path / "t.csv").write_bytes(f"näme,x\n{word},1\nplain,2\n".encode(encoding))
    source = read_table(tmp_path / "t.csv")
    assert [(column.name, column.datatype) for column in source.columns] == [("näme", "unicodeChar"), ("x", "long")]
    assert rows_of(source) == [(word, 1), ("plain", 2)]
    assert encoding_name in " ".join(source.notes) and bool(encoding_name) is bool(source.notes)


DECLARED = """# %ECSV 1.0
# ---
# delimiter: ','
# datatype:
# - {name: id, datatype: string}
# - {name: plate, datatype: string}
# - {name: note, datatype: string}
# - {name: flag, datatype: string}
# - {name: big, datatype: uint64}
# - {name: n, datatype: int32, unit: !astropy.units.Unit {unit: deg}, meta: !!omap [{ucd: pos.eq.ra}]}
# - {name: v, datatype: string, subtype: 'float64[2,2]'}
# - {name: c, datatype: complex128}
# - {name: o, datatype: string, subtype: json}
# schema: astropy-2.0
id,plate,note,flag,big,n,v,c,o
0012,1e3,nan,T,1,7,"[[1,2],[3,null]]",(1+2j),"{}"
0450,007,NULL,F,9223372036854775813,,,,
"""


def test_declared_types_win(tmp_path: Path) -> None:
    """Texts stay texts; what is left out is noted.

    Arrays, complex numbers, units and UCDs are read.
    """
    (tmp_path / "t.ecsv").write_text(DECLARED)
    source = read_table(tmp_path / "t.ecsv")
    assert rows_of(source) == [
        ("0012", "1e3", "nan", "T", "1", 7, [1, 2, 3, None], [1, 2]),
        ("0450", "007", "NULL", "F", "9223372036854775813", None, None, None),
    ]
    number = source.columns[5]
    assert (number.datatype, number.unit, number.ucd) == ("int", "deg", "pos.eq.ra")
    assert any("'o' is left out" in note for note in source.notes) and any("'big'" in note for note in source.notes)
    with warnings.catch_warnings(action="ignore"):  # it writes complex columns, and warns when it reads them
        plain = Table.read(tmp_path / "t.ecsv")  # astropy's opinion
    assert [str(text) for text in plain["id"]] == ["0012", "0450"] and int(plain["big"][1]) == 9223372036854775813


def test_missing_bytes_in_arrays(tmp_path: Path) -> None:
    """They make a column of short.

    Other arrays of bytes stay what they are, and in range.
    """
    head = "# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n"
    head += "".join(f"# - {{name: {name}, datatype: string, subtype: 'uint8[null]'}}\n" for name in "ab")
    (tmp_path / "t").write_text(head + 'a,b\n"[1,null]","[1,255]"\n')
    source = read_table(tmp_path / "t")
    assert [column.datatype for column in source.columns] == ["short", "unsignedByte"]
    assert rows_of(source) == [([1, None], [1, 255])]
    (tmp_path / "t").write_text(head + 'a,b\n"[256,null]","[1,255]"\n')
    with pytest.raises(UsageError, match="'a' is no array of unsignedByte"):
        read_rows(tmp_path / "t")


def test_quoted_nothing_is_missing(tmp_path: Path) -> None:
    """``""`` is a missing number or boolean in ECSV."""
    (tmp_path / "t.ecsv").write_text(
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: n, datatype: int32}\n# - {name: ok, datatype: bool}\n"
        '# - {name: s, datatype: string}\nn ok s\n1 True ""\n"" "" "a b"\n'
    )
    assert read_rows(tmp_path / "t.ecsv") == [(1, True, None), (None, None, "a b")]


def packed(content: bytes) -> bytes:
    """Return content in gzip, the same whenever it is made: it is part of a test's id."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2\n3,4\n", "holds numbers; put a line with the columns' names"),
        (b"a,b\n1,2,3\n", "Expected 2 columns, got 3"),
        (b'a,b\n1,"open\n2,3\n4,5\n', "Line 2 of the table has a quote that is not closed"),
        (b'a,b\n0,x\n1,"open\n2,"x"\n4,5\n', "Line 3 of the table has a quote that is not closed"),
        (b'a,b\n1,"open\n2,"again"\n4,5\n', "Line 2 of the table has a quote that is not closed"),
        (b'a,b\n"1" ,"open\n2,3\n', "Line 2 of the table has a quote that is not closed"),
        (b'a,b\n1,"open', "Line 2 of the table has a quote that is not closed"),
        (b'# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: string}\na\n"b\nc\n', "Line 6 of the table has"),
        (
            b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: string, subtype: 'int64[null]'}\na\n[1.5]\n",
            "'a' is no array of long: '[1.5]'",
        ),
        (b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int32}\nb\n1\n", "declares the columns a"),
        (b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int32}\na\nx\n", "'a' is no int: 'x'"),
        (b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int16}\na\n70000\n", "'a' is no short: '70000'"),
        (b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: bool}\na\nmaybe\n", "'a' is no boolean: 'maybe'"),
        (b"# %ECSV 1.0\n# ---\n# meta: {}\na\n1\n", "no list 'datatype'"),
        (b"# %ECSV 1.0\n# ---\n# datatype:\n# - " + b"{name: " * 40_000 + b"\na\n1\n", "more than 64 deep"),
        (bytes(range(128, 256)), "no text in UTF-8, ISO 8859-1 or windows-1252"),
        (b"<!DOCTYPE html>\n<html><body>Log in</body></html>", "an HTML page"),
        (b"\n<HTML lang='en'><body>Log in</body></HTML>", "an HTML page"),
        ("<html><body>René</body></html>".encode("utf-16"), "an HTML page"),
        (b'{"error": "log in"}', "is JSON"),
        (b'[\n  {"a": 1}\n]', "is JSON"),
        (b"PK\x03\x04rest", "compressed with zip"),
        (packed(packed(b"a\n1\n")), "gzip twice"),
        (packed(b"a\n1\n" * 1000)[:-9], "cut short"),
        (packed(b"a\n1\n") + b"more", "something else after its end"),
        (packed(b"a\n" + b"1\n" * 50_000_000), "unpacks to more than"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The message says why, and names the column."""
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(UsageError) as failed:
        read_rows(tmp_path / "t")
    assert message in failed.value.message


@pytest.mark.parametrize("name", ["<Vmag>", "[Fe/H]", "{x}", "<htmlx>"])
def test_names_in_brackets(tmp_path: Path, name: str) -> None:
    """Catalogues have such columns: means, abundances."""
    (tmp_path / "t").write_text(f"{name},b\n1.5,2\n")
    assert [column.name for column in read_table(tmp_path / "t").columns] == [name, "b"]
    assert read_rows(tmp_path / "t") == [(1.5, 2)]


def test_quotes_that_are_closed(tmp_path: Path) -> None:
    """Quotes within a value, lines within quotes, and long values are read."""
    long = "x" * 200_000
    (tmp_path / "t").write_text(f'a,b\n5" pipe,"x\ny"\n"12"" wide",z\n1,"{long}"\n')
    assert read_rows(tmp_path / "t") == [('5" pipe', "x\ny"), ('12" wide', "z"), ("1", long)]


def test_names_in_a_comment(tmp_path: Path) -> None:
    """numpy.savetxt writes names as a comment."""
    (tmp_path / "t").write_text("# x,y\n1,2\n3,4.5\n")
    assert columns_of(tmp_path / "t") == [("x", "long", None), ("y", "double", None)]
    assert read_rows(tmp_path / "t") == [(1, 2), (3, 4.5)]


@pytest.mark.parametrize("form", ["csv", "vot", "fits", "parquet"])
def test_gzip(tmp_path: Path, form: str) -> None:
    """Every format may be compressed, in several members."""
    table = Table({"id": [1, 2]})
    if form == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2]}), tmp_path / "t.parquet")
    else:
        table.write(tmp_path / f"t.{form}", format={"csv": "ascii.csv", "vot": "votable"}.get(form, form))
    content = (tmp_path / f"t.{form}").read_bytes()
    half = len(content) // 2
    (tmp_path / "packed").write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
    assert read_rows(tmp_path / "packed") == [(1,), (2,)]


def test_a_head_of_references(tmp_path: Path) -> None:
    """YAML references that expand without end cost nothing."""
    lines = ["# %ECSV 1.0", "# ---", "# m0: &m0 [a, a, a, a, a, a, a, a, a]"]
    lines += [f"# m{n}: &m{n} [{', '.join([f'*m{n - 1}'] * 9)}]" for n in range(1, 12)]
    lines += ["# datatype:", "# - {name: a, datatype: int32, unit: *m11, description: *m11, meta: *m11}", "a", "1"]
    (tmp_path / "t").write_text("\n".join(lines))
    assert read_rows(tmp_path / "t") == [(1,)]

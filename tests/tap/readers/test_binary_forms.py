"""VOTable and FITS.

Bits, arrays, complex and scaled numbers.
"""

from __future__ import annotations

import base64
import struct
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import from_table, parse, writeto
from astropy.table import Table

from tests.tap.readers.tables import read_rows, rows_of
from tests.tiers import require
from uws_service.domain.errors import UsageError
from uws_service.tables import read_arrow
from uws_service.tap.readers import read_table
from uws_service.tap.writers import WRITERS, Document, Rows

FORMS = ("tabledata", "binary", "binary2")


def votable(fields: str, data: str) -> bytes:
    return (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        f"{fields}<DATA>{data}</DATA></TABLE></RESOURCE></VOTABLE>"
    ).encode()


def stream(tag: str, data: bytes) -> str:
    return f'<{tag}><STREAM encoding="base64">{base64.b64encode(data).decode()}</STREAM></{tag}>'


TABLES = {
    "bits": {"flag": np.array([True, False, True]), "flags": np.array([[True, False, True]] * 3)},
    "images": {"m": np.arange(12, dtype="f4").reshape(3, 2, 2)},
    "complex": {"c": np.array([1 + 2j, 3, 4j], "c8"), "ca": np.array([[1 + 2j, 2]] * 3, "c16")},
}
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "bits": [(0, True, [True, False, True], 7), (1, False, [True, False, True], 8), (2, True, [True, False, True], 9)],
    "images": [(0, [0, 1, 2, 3], 7), (1, [4, 5, 6, 7], 8), (2, [8, 9, 10, 11], 9)],
    "complex": [(0, [1, 2], [1, 2, 2, 0], 7), (1, [3, 0], [1, 2, 2, 0], 8), (2, [0, 4], [1, 2, 2, 0], 9)],
}


@pytest.mark.parametrize("form", (*FORMS, "fits"))
@pytest.mark.parametrize("case", TABLES)
def test_astropy_writes_them(tmp_path: Path, case: str, form: str) -> None:
    """Arrays become flat, complex numbers pairs."""
    table = Table({"id": np.arange(3, dtype="i4"), **TABLES[case], "last": np.array([7, 8, 9])})
    with warnings.catch_warnings(action="ignore"):
        if form == "fits":
            table.write(tmp_path / "t", format="fits")
        else:
            writeto(from_table(table), str(tmp_path / "t"), tabledata_format=form)
    assert read_rows(tmp_path / "t") == ROWS[case]


@pytest.mark.parametrize("tag", ["BINARY", "BINARY2"])
def test_bits_as_the_standard_has_them(tmp_path: Path, tag: str) -> None:
    """The first bit is the highest (VOTable 1.4 §2.1).

    Eleven bits take two bytes; variable ones are counted in bits.
    """
    before = b"\0" if tag == "BINARY2" else b""
    data = b"".join(
        before + struct.pack(">iBHi", number, single, eleven, 3) + bytes([several])
        for number, single, eleven, several in ((0, 0x80, 0xFFE0, 0xA0), (1, 0, 0x0020, 0x40))
    )
    fields = (
        '<FIELD name="id" datatype="int"/><FIELD name="b" datatype="bit"/>'
        '<FIELD name="e" datatype="bit" arraysize="11"/><FIELD name="v" datatype="bit" arraysize="*"/>'
    )
    (tmp_path / "t").write_bytes(votable(fields, stream(tag, data)))
    assert read_rows(tmp_path / "t") == [
        (0, True, [True] * 11, [True, False, True]),
        (1, False, [False] * 10 + [True], [False, True, False]),
    ]


@pytest.mark.parametrize("cells", ["101", "1 0 1", " 1\n0 1 "])
def test_bits_in_tabledata(tmp_path: Path, cells: str) -> None:
    fields = '<FIELD name="b" datatype="bit" arraysize="3"/>'
    (tmp_path / "t").write_bytes(votable(fields, f"<TABLEDATA><TR><TD>{cells}</TD></TR></TABLEDATA>"))
    assert read_rows(tmp_path / "t") == [([True, False, True],)]


@pytest.mark.parametrize("tag", ["TABLEDATA", "BINARY", "BINARY2"])
def test_missing_bytes_in_arrays(tmp_path: Path, tag: str) -> None:
    """They need a wider type in every format."""
    fields = '<FIELD name="v" datatype="unsignedByte" arraysize="3"><VALUES null="9"/></FIELD>'
    if tag == "TABLEDATA":
        data = "<TABLEDATA><TR><TD>1 9 255</TD></TR></TABLEDATA>"
    else:
        data = stream(tag, (b"\0" if tag == "BINARY2" else b"") + bytes([1, 9, 255]))
    (tmp_path / "t").write_bytes(votable(fields, data))
    for form in ("votable", "votable/b2", "fits", "parquet"):
        table = read_arrow(tmp_path / "t")
        assert [column.datatype for column in table.columns] == ["short"]
        rows = Rows(table.rows.to_batches(), table.columns, 9)
        (tmp_path / "out").write_bytes(b"".join(WRITERS[form](Document(table.columns), rows)))
        assert read_rows(tmp_path / "out") == [([1, None, 255],)], form
    column = fits.Column("v", "3B", null=9, array=np.array([[1, 9, 255]], "u1"))
    assert read_rows(fits_table(tmp_path / "t.fits", column)) == [([1, None, 255],)]


def test_bytes_in_arrays_stay_in_range(tmp_path: Path) -> None:
    """A wider column takes no larger numbers for bytes."""
    fields = '<FIELD name="v" datatype="unsignedByte" arraysize="2"><VALUES null="9"/></FIELD>'
    (tmp_path / "t").write_bytes(votable(fields, "<TABLEDATA><TR><TD>1 256</TD></TR></TABLEDATA>"))
    with pytest.raises(UsageError, match="'v' is no unsignedByte: '256'"):
        read_rows(tmp_path / "t")


@pytest.mark.parametrize("tag", ["BINARY", "BINARY2"])
def test_texts_of_fixed_size(tmp_path: Path, tag: str) -> None:
    """Padding goes; arrays of texts are left out with a note."""
    fields = (
        '<FIELD name="one" datatype="char" arraysize="4"/><FIELD name="two" datatype="char" arraysize="3x2"/>'
        '<FIELD name="wide" datatype="unicodeChar" arraysize="2"/><FIELD name="last" datatype="int"/>'
    )
    before = b"\0" if tag == "BINARY2" else b""
    data = b"".join(
        before + single + pair + wide.encode("utf-16-be") + struct.pack(">i", last)
        for single, pair, wide, last in ((b"ab  ", b"abcde\0", "é☉", 7), (b"a\0zz", b"x\0\0y\0\0", "é\0", 8))
    )
    (tmp_path / "t").write_bytes(votable(fields, stream(tag, data)))
    source = read_table(tmp_path / "t")
    assert rows_of(source) == [("ab", "é☉", 7), ("a", "é", 8)]
    assert source.notes == ("the column 'two' is left out: arrays of texts are not taken",)


def test_arrays_whose_last_dimension_varies(tmp_path: Path) -> None:
    """Counts of elements and of slices are both read.

    The standard counts elements, astropy slices.
    """
    fields = '<FIELD name="m" datatype="int" arraysize="2x*"/><FIELD name="last" datatype="int"/>'
    for count in (4, 2):
        data = struct.pack(">i4ii", count, 1, 2, 3, 4, 77) * 2
        (tmp_path / "t").write_bytes(votable(fields, stream("BINARY", data)))
        assert read_rows(tmp_path / "t") == [([1, 2, 3, 4], 77)] * 2


@pytest.mark.parametrize("tag", ["TABLEDATA", "BINARY", "BINARY2"])
def test_texts_beyond_ascii_are_announced(tmp_path: Path, tag: str) -> None:
    """Only columns with other characters become unicodeChar."""
    fields = '<FIELD name="a" datatype="char" arraysize="*"/><FIELD name="b" datatype="char" arraysize="*"/>'
    if tag == "TABLEDATA":
        data = "<TABLEDATA><TR><TD>Ren&#233;</TD><TD>plain</TD></TR></TABLEDATA>"
    else:
        cells = b"".join(struct.pack(">i", len(text)) + text for text in ("René".encode(), b"plain"))
        data = stream(tag, (b"\0" if tag == "BINARY2" else b"") + cells)
    (tmp_path / "t").write_bytes(votable(fields, data))
    source = read_table(tmp_path / "t")
    assert [text.datatype for text in source.columns] == ["unicodeChar", "char"]
    assert rows_of(source) == [("René", "plain")]


@pytest.mark.parametrize(
    ("fields", "data", "message"),
    [
        ("", "<FITS><STREAM href='file:///etc/passwd'/></FITS>", "FITS file"),
        ('<FIELD name="a" datatype="int"/>', '<BINARY><STREAM href="http://127.0.0.1/"/></BINARY>', "STREAM href"),
        ('<FIELD name="a" datatype="int"/>', '<BINARY2><STREAM href="x" encoding="gzip"/></BINARY2>', "STREAM href"),
        ('<FIELD name="a" datatype="int"/>', '<BINARY><STREAM xmlns:x="x" x:href="x"/></BINARY>', "STREAM href"),
        ('<FIELD name="a" datatype="int"/>', '<PARQUET><STREAM href="x"/></PARQUET>', "rows as PARQUET"),
        ('<FIELD name="a" datatype="int"/>', '<INFO name="a" value="b"/><include href="x"/>', "rows as include"),
        ('<FIELD name="a" datatype="int"/>', stream("BINARY", b"123"), "in the middle of row 1"),
        ('<FIELD name="a" datatype="int" arraysize="*"/>', stream("BINARY", b"\x7f\xff\xff\xff1"), "middle of row 1"),
        ('<FIELD name="a" datatype="int" arraysize="0"/>', stream("BINARY", b"1"), "have no bytes"),
        ('<FIELD name="a" datatype="int" arraysize="2"/>', "<TABLEDATA><TR><TD>1</TD></TR></TABLEDATA>",
         "1 elements; 2 are declared"),
        ('<FIELD name="a" datatype="boolean"/>', "<TABLEDATA><TR><TD>maybe</TD></TR></TABLEDATA>", "no boolean"),
        ('<FIELD name="a" datatype="boolean"/>', stream("BINARY", b"x"), "no boolean"),
        ('<FIELD name="a" datatype="int"/>', "<TABLEDATA><TR><TD>1_0</TD></TR></TABLEDATA>", "no int: '1_0'"),
        ('<FIELD name="a" datatype="int"/>', "<TABLEDATA><TR><TD><b>1</b></TD></TR></TABLEDATA>", "else than text"),
        ('<FIELD name="a" datatype="long"/>', f"<TABLEDATA><TR><TD>{2**63}</TD></TR></TABLEDATA>", "no long"),
        ('<FIELD name="a" datatype="string"/>', "<TABLEDATA/>", "datatype 'string'"),
        ('<FIELD name="a" datatype="int" arraysize="-1"/>', "<TABLEDATA/>", "arraysize '-1'"),
        ('<FIELD name="a" datatype="int"/>', '<BINARY><STREAM>A*==</STREAM></BINARY>', "not base64"),
    ],
)  # fmt: skip
def test_votables_that_are_refused(tmp_path: Path, fields: str, data: str, message: str) -> None:
    """The message says why; nothing else is opened."""
    (tmp_path / "t").write_bytes(votable(fields, data))
    with pytest.raises(UsageError) as failed:
        read_rows(tmp_path / "t")
    assert message in failed.value.message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(tmp_path: Path, encoding: str) -> None:
    """Entities that expand to gigabytes cost nothing."""
    entities = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(12))
    document = f'<!DOCTYPE VOTABLE [<!ENTITY l0 "lol">{entities}]><VOTABLE a="&l12;"><RESOURCE/></VOTABLE>'
    (tmp_path / "t").write_bytes(document.encode(encoding))
    with pytest.raises(UsageError, match="declares the entity 'l0'"):
        read_rows(tmp_path / "t")


def test_comments_in_a_cell_split_no_number(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(
        votable('<FIELD name="a" datatype="int"/>', "<TABLEDATA><TR><TD>12<!-- x -->34</TD></TR></TABLEDATA>")
    )
    assert read_rows(tmp_path / "t") == [(1234,)]


def fits_table(path: Path, *columns: Any, **cards: Any) -> Path:
    table = fits.BinTableHDU.from_columns(list(columns))
    table.header.update(cards)
    table.writeto(path)
    return path


def heap(*rows: Any) -> Any:
    values = np.empty(len(rows), object)
    values[:] = [np.array(row, "i2") for row in rows]
    return values


def test_scaled_numbers_and_their_nulls(tmp_path: Path) -> None:
    """TNULL counts in stored numbers (FITS 4.0 §7.3.2).

    That is before TSCAL and TZERO; STILTS says the same.
    """
    stored = np.array([0, 100, -32768, 200], "i2")
    path = fits_table(
        tmp_path / "t.fits",
        fits.Column("id", "J", array=np.arange(4)),
        fits.Column("s", "I", array=stored),
        fits.Column("p", "I", array=stored),
        TSCAL2=0.01, TZERO2=5.0, TNULL2=-32768, TZERO3=32768, TNULL3=-32768,
    )  # fmt: skip
    expected = [(0, 5, 32768), (1, 6, 32868), (2, None, None), (3, 7, 32968)]
    assert read_rows(path) == expected
    require("stilts")
    stilts = subprocess.run(["stilts", "tpipe", f"in={path}", "ofmt=csv"], capture_output=True, text=True, timeout=120)
    words = [[float(word) if word else None for word in line.split(",")] for line in stilts.stdout.split()[1:]]
    assert words == [list(row) for row in expected]


def test_unsigned_numbers(tmp_path: Path) -> None:
    """Numbers beyond 63 bits become texts."""
    big = np.array([1, 2**63 + 5], np.uint64)
    small = np.array([0, 2**32 - 1], np.uint32)
    Table({"big": big, "long": big // np.uint64(4), "int": small}).write(tmp_path / "t.fits")
    source = read_table(tmp_path / "t.fits")
    assert [column.datatype for column in source.columns] == ["char", "long", "long"]
    assert rows_of(source) == [("1", 0, 0), (str(2**63 + 5), (2**63 + 5) // 4, 2**32 - 1)]
    assert "'big' is read as text" in source.notes[0]


@pytest.mark.parametrize(("form", "zero"), [("J", 2**63), ("I", 2**63), ("B", 2**63), ("K", 2**63), ("J", -(2**63))])
def test_shifts_beyond_63_bits(tmp_path: Path, form: str, zero: int) -> None:
    """Shifted numbers of any type never wrap: those beyond 63 bits become texts."""
    kind = {"B": "u1", "I": "i2", "J": "i4", "K": "i8"}[form]
    stored = [1, 2] if zero > 0 else [-1, -2]
    column = fits.Column("x", form, array=np.array(stored, kind))
    source = read_table(fits_table(tmp_path / "t.fits", column, TZERO1=zero))
    assert rows_of(source) == [(str(number + zero),) for number in stored]
    assert "'x' is read as text" in source.notes[0]


def test_logical_nulls_and_arrays(tmp_path: Path) -> None:
    """Nulls of logicals, TNULL in arrays, scaled heap arrays.

    A logical of byte 0 is null; TNULL holds for each element; arrays in the heap are scaled in every row.
    """
    path = fits_table(
        tmp_path / "t.fits",
        fits.Column("b", "L", array=np.array([True, False, True])),
        fits.Column("i", "3J", null=-99, array=np.array([[1, -99, 3]] * 3)),
        fits.Column("x", "11X", array=np.array([[True] + [False] * 9 + [True]] * 3)),
        fits.Column("h", "PI()", array=heap([-31965, -31963], [-31958], [])),
        fits.Column("t", "4A", dim="(2,2)", array=np.array([["ab", "cd"]] * 3)),
        TZERO4=32768, TSCAL4=1,
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    content[content.index(b"END" + b" " * 77, 2880) // 2880 * 2880 + 2880] = 0
    path.write_bytes(content)
    source = read_table(path)
    bits = [True] + [False] * 9 + [True]
    assert [row[:4] for row in rows_of(source)] == [
        (None, [1, None, 3], bits, [803, 805]),
        (False, [1, None, 3], bits, [810]),
        (True, [1, None, 3], bits, None),
    ]
    assert len(source.columns) == 4 and "'t' is left out: arrays of texts" in source.notes[0]


def test_astropy_reads_the_same_from_votable(tmp_path: Path) -> None:
    """astropy agrees on BINARY2."""
    table = Table({"id": np.arange(3, dtype="i4"), **TABLES["complex"], **TABLES["images"]})
    writeto(from_table(table), str(tmp_path / "t"), tabledata_format="binary2")
    opinion = parse(tmp_path / "t").get_first_table().array
    for row, astropy_row in zip(read_rows(tmp_path / "t"), opinion, strict=True):
        assert complex(*row[1]) == astropy_row["c"] and row[3] == astropy_row["m"].reshape(-1).tolist()

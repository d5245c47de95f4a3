"""The application `crossmatch`."""

from __future__ import annotations

import io
import socket
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import MaskedColumn, Table

from tests.apps.programs import run

M31, M51 = (10.684792, 41.269056), (202.469625, 47.195167)
ARCSEC = 1 / 3600


def csv(*rows: object, head: str = "id,ra,dec") -> bytes:
    return "\n".join([head, *map(str, rows)]).encode()


def matched(folder: Path, table: bytes, **parameters: Any) -> tuple[Any, Any]:
    """Return the result as a table, with its VOTable."""
    outcome = run(folder, "crossmatch", {"mine": table}, **parameters)
    assert (outcome.state, outcome.exit_code) == ("SUCCEEDED", 0), outcome.stderr
    assert outcome.result is not None and outcome.progress.splitlines()[-1].startswith("1.00 ")
    document = parse(io.BytesIO(outcome.result))
    return document.get_first_table().to_table(use_names_over_ids=True), document


def refused(folder: Path, table: bytes, **parameters: Any) -> str:
    """Return the error message, which is one line."""
    outcome = run(folder, "crossmatch", {"mine": table}, **parameters)
    assert (outcome.state, outcome.exit_code, outcome.reason) == ("FAILED", 2, "ExitCode"), (
        outcome.stdout,
        outcome.stderr,
    )
    assert outcome.result is None
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    return outcome.stderr


def names(table: Any, column: str = "ngc_name") -> list[str]:
    return [str(value) for value in table[column]]


def test_the_whole_sky(tmp_path: Path) -> None:
    """Matches hold across RA 0 and at poles (D-046…D-049)."""
    eps = 5 * ARCSEC
    rows = [
        f"m31,{M31[0] + eps},{M31[1]}",
        f"m31 a turn on,{M31[0] + 360},{M31[1]}",
        f"m31 a turn back,{M31[0] - 360},{M31[1]}",
        f"west of 0,{359.9999},32.738389",  # IC 5370 lies at 0.03825: 116 arcsec away
        f"east of 0,{0.0001},32.702361",  # IC 5369 lies at 359.96056
        f"north pole,{176.80833 + 1},89.093056",  # NGC 3172: a degree of RA is less than a minute of arc there
        f"south pole,{25.405542 - 2},-89.334528",  # NGC 2573
        "empty sky,100.0,-89.99999",
        "no position,,",
        "half a position,10.684792,",
        "nan,nan,41.269",
    ]
    table, document = matched(tmp_path, csv(*rows), RADIUS=150)
    matches = dict(zip(names(table, "id"), names(table), strict=True))
    assert matches == {
        "m31": "NGC0224",
        "m31 a turn on": "NGC0224",
        "m31 a turn back": "NGC0224",
        "west of 0": "IC5370",
        "east of 0": "IC5369",
        "north pole": "NGC3172",
        "south pole": "NGC2573",
    }
    assert table["separation"][0] == pytest.approx(5 * np.cos(np.radians(M31[1])), abs=0.01)
    assert table["ngc_vmag"][0] == pytest.approx(3.44)
    assert table["ngc_vmag"].mask[names(table, "id").index("west of 0")]
    assert np.all((table["separation"] >= 0) & (table["separation"] <= 150))
    assert table["ngc_ra"].unit == units.deg and table["separation"].unit == units.arcsec
    infos = {item.name: item.value for item in document.resources[0].infos}
    assert infos["QUERY_STATUS"] == "OK" and infos["rows_read"] == "11" and infos["matches"] == "7"
    assert "OpenNGC" in infos["catalogue"]
    ucds = {item.name: item.ucd for item in document.get_first_table().fields}
    assert ucds["separation"] == "pos.angDistance" and ucds["ngc_name"] == "meta.id;meta.main"


def positions() -> Table:
    """Return a table with units, UCDs and a mask."""
    table = Table({"name": ["a", "b", "c"], "x": [M31[0], M51[0], 0.0], "y": [M31[1], M51[1], 0.0]})
    table["x"] = MaskedColumn(table["x"], mask=[False, False, True], unit="deg", meta={"ucd": "pos.eq.ra;meta.main"})
    table["y"].unit = "deg"
    table["y"].meta["ucd"] = "POS_EQ_DEC_MAIN"
    return table


def as_votable(table: Table, **options: Any) -> bytes:
    from astropy.io.votable import from_table

    document = from_table(table)
    for column in document.get_first_table().fields:
        column.ucd = table[column.name].meta.get("ucd")
    file = io.BytesIO()
    document.to_xml(file, **options)
    return file.getvalue()


def as_fits(table: Table) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a FITS header can't hold
        table.write(file, format="fits")
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "options", "media_type"),
    [
        ("csv", {}, "text/csv"),
        ("text/tab-separated-values", {}, "text/tab-separated-values"),
        ("fits", {"tabledata_format": "binary2"}, "application/fits"),
    ],
)
def test_votable_in_and_other_formats_out(tmp_path: Path, form: str, options: dict[str, Any], media_type: str) -> None:
    """Columns are found by UCD (D-024)."""
    outcome = run(tmp_path, "crossmatch", {"mine": as_votable(positions(), **options)}, RESPONSEFORMAT=form)
    assert outcome.state == "SUCCEEDED", outcome.stderr
    assert outcome.media_type == media_type and outcome.result is not None
    reader = {"csv": "ascii.csv", "fits": "fits"}.get(form, "ascii.tab")
    source = io.BytesIO(outcome.result) if form == "fits" else outcome.result.decode().splitlines()
    table = Table.read(source, format=reader)
    assert names(table, "name") == ["a", "b"] and names(table) == ["NGC0224", "NGC5194"]
    assert table.colnames[:3] == ["name", "x", "y"] and table["separation"][0] < 1
    if form == "fits":
        assert table["separation"].unit == units.arcsec


def test_fits_in_radians(tmp_path: Path) -> None:
    """Units count; MAXREC marks an overflow (D-025, D-048)."""
    table = positions()[:2]
    for name in ("x", "y"):
        table[name] = np.radians(table[name].data) * units.rad
    matches, document = matched(tmp_path, as_fits(table), RA="x", DEC="y", MAXREC=1)
    assert names(matches) == ["NGC0224"]
    infos = {info.name: info.value for info in document.resources[0].infos}
    assert infos["QUERY_STATUS"] == "OVERFLOW" and infos["matches"] == "2"


def test_hours_and_columns_of_the_same_name(tmp_path: Path) -> None:
    """RA in hours; columns of an earlier match stay."""
    table = Table({"RAJ2000": [M31[0] / 15] * units.hourangle, "DEJ2000": [M31[1]] * units.deg, "ngc_name": ["mine"]})
    matches, _ = matched(tmp_path, as_votable(table), RADIUS=1)
    assert names(matches) == ["mine"] and names(matches, "ngc_name_2") == ["NGC0224"]


@pytest.mark.parametrize("case", ["header only", "no match", "MAXREC=0"])
def test_empty_results(tmp_path: Path, case: str) -> None:
    """An empty result has its columns (D-025)."""
    rows = {"header only": [], "no match": ["a,100,-89.9"], "MAXREC=0": [f"a,{M31[0]},{M31[1]}"]}[case]
    parameters = {"MAXREC": 0} if case == "MAXREC=0" else {}
    table, document = matched(tmp_path, csv(*rows), **parameters)
    assert len(table) == 0 and "ngc_name" in table.colnames and "ra" in table.colnames
    status = [info.value for info in document.resources[0].infos if info.name == "QUERY_STATUS"][-1]
    assert status == ("OVERFLOW" if parameters else "OK")


def test_csv_of_a_spreadsheet(tmp_path: Path) -> None:
    """A byte order mark, CRLF, quotes, non-ASCII text."""
    text = f'\ufeffRA,DEC,"a, b"\r\n{M51[0]},{M51[1]},"ü, ""x"""\r\n'
    outcome = run(tmp_path, "crossmatch", {"mine": text.encode()}, RESPONSEFORMAT="csv", RADIUS=1)
    assert outcome.state == "SUCCEEDED", outcome.stderr
    assert outcome.result is not None
    (row,) = Table.read(outcome.result.decode().splitlines(), format="ascii.csv")
    assert row["a, b"] == 'ü, "x"' and row["ngc_name"] == "NGC5194"


def image() -> bytes:
    file = io.BytesIO()
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(file)
    return file.getvalue()


def elsewhere(location: str) -> bytes:
    """Return a table whose rows are at another place."""
    return (
        '<VOTABLE version="1.4"><RESOURCE><TABLE><FIELD name="ra" datatype="double"/><FIELD name="dec"'
        ' datatype="double"/><FIELD name="secret" datatype="char" arraysize="16"/><DATA><BINARY>'
        f'<STREAM href="{location}"/></BINARY></DATA></TABLE></RESOURCE></VOTABLE>'
    ).encode()


@pytest.mark.parametrize("scheme", ["file", "http", "name"])
@pytest.mark.parametrize("form", ["BINARY", "BINARY2", "FITS"])
def test_nothing_that_a_table_names_is_opened(tmp_path: Path, scheme: str, form: str) -> None:
    """No file or server is opened."""
    rows = struct.pack(">dd16s", *M31, b"a-secret-of-ours")
    (tmp_path / "secret").write_bytes(rows)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        location = {
            "file": f"file://{tmp_path}/secret",
            "http": f"http://127.0.0.1:{listener.getsockname()[1]}/secret",
            "name": f"{tmp_path}/secret",
        }[scheme]
        table = elsewhere(location).replace(b"BINARY", form.encode())
        message = refused(tmp_path, table)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "another place" in message or "FITS file" in message
    assert "secret" not in message


def test_an_array_in_csv(tmp_path: Path) -> None:
    """Its numbers are one value, separated by blanks."""
    table = as_votable(Table({"ra": [M31[0]], "dec": [M31[1]], "flux": [[1.0, 2.0]]}))
    outcome = run(tmp_path, "crossmatch", {"mine": table}, RESPONSEFORMAT="csv")
    assert outcome.result is not None and outcome.result.decode().splitlines()[1].startswith(
        f"{M31[0]},{M31[1]},1 2,NGC0224"
    )


BAD = {
    "empty file": (b"", {}, "table is empty"),
    "only spaces": (b"  \n ", {}, "table is empty"),
    "not text": (bytes(range(128, 256)) * 20, {}, "The table is no text in UTF-8, ISO 8859-1 or windows-1252"),
    "a FITS image": (image(), {}, "no binary table"),
    "other XML": (b"<?xml version='1.0'?><a/>", {}, "no table"),
    "half a VOTable": (as_votable(positions())[:900], {}, "not well-formed"),
    "no such column": (csv("a,1,2"), {"RA": "alpha"}, "no column 'alpha'; it has: id, ra, dec"),
    "no position": (csv("a,1,2", head="id,x,y"), {}, "No column for RA was found; name it with RA. Columns: id, x, y"),
    "no declination": (csv("a,1,2", head="id,ra,y"), {}, "No column for DEC was found"),
    "sexagesimal": (csv("a,00:42:44,+41:16:09"), {}, "'ra' (unit deg) does not hold angles as numbers"),
    "beyond the pole": (csv("a,1,90.5"), {}, "'dec' holds declinations beyond 90 degrees"),
    "no angle": (as_votable(Table({"ra": [1.0] * units.Jy, "dec": [2.0]})), {}, "'ra' (unit Jy) does not hold angles"),
    "a vector": (as_votable(Table({"ra": [[1.0, 2.0]], "dec": [2.0]})), {}, "'ra' (unit deg) does not hold angles"),
    "rows at another place": (elsewhere("/etc/passwd"), {}, "another place (STREAM href)"),
    "an entity of its own": (
        b'<!DOCTYPE VOTABLE [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + elsewhere("/"),
        {},
        "declares the entity 'x'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_table(tmp_path: Path, case: str) -> None:
    """One line says what is wrong."""
    table, parameters, message = BAD[case]
    assert message in refused(tmp_path, table, **parameters)

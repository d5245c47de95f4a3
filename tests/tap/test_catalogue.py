"""``uws-service catalogue``: files become published tables."""

from __future__ import annotations

import io
import json
import subprocess
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import requests
from astropy.table import Table

from tests.server import Server
from uws_service.cli import run


def command(*arguments: object, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """Run ``uws-service catalogue`` in this process: as a program of its own each start would take seconds."""
    words = ["catalogue", *map(str, arguments)]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = run(words)
    assert (code == 0) is ok, out.getvalue() + err.getvalue()
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def stars() -> Table:
    """Return two thousand stars with metadata.

    One of them has no magnitude, one a name that is not ASCII.
    """
    numbers = np.random.default_rng(7)
    table = Table(
        {
            "id": np.arange(2000, dtype=np.int64),
            "alpha": numbers.uniform(0, 360, 2000),
            "delta": numbers.uniform(-90, 90, 2000),
            "mag": np.where(np.arange(2000) == 5, np.nan, numbers.normal(15, 2, 2000)),
            "Name of star": [f"s{number}" for number in range(1999)] + ["Ångström"],
        }
    )
    table["alpha"].unit = table["delta"].unit = "deg"
    table["mag"].unit = "mag"
    table["mag"].description = "Brightness"
    for name, ucd in (("alpha", "pos.eq.ra;meta.main"), ("delta", "pos.eq.dec;meta.main"), ("mag", "phot.mag")):
        table[name].meta["ucd"] = ucd
    return table


def written(folder: Path, form: str) -> Path:
    path = folder / f"my stars.{form}"
    table = stars()
    if form == "fits":
        table["Name of star"][-1] = "Angstrom"  # FITS knows ASCII only
        with warnings.catch_warnings(action="ignore"):  # UCDs have no place in astropy's FITS
            table.write(path, format="fits")
    elif form == "vot":
        from astropy.io.votable import from_table

        with warnings.catch_warnings(action="ignore"):  # it makes an ID of the name with blanks
            document = from_table(table)
        for field in document.get_first_table().fields:
            field.ucd = table[field.name].meta.get("ucd")
        document.to_xml(str(path))
    elif form == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({name: table[name].tolist() for name in table.colnames}), path)
    else:
        table.write(path, format="ascii.ecsv" if form == "ecsv" else "ascii.csv")
    return path


@pytest.fixture(scope="module")
def folder(server: Server) -> Path:
    return server.folder / "data" / "catalogues"


@pytest.mark.parametrize("form", ["vot", "fits", "ecsv", "csv", "parquet"])
def test_every_kind(form: str, server: Server, folder: Path, tmp_path: Path) -> None:
    """Tables are added, queried, listed and removed."""
    name = f"stars.{form}"
    added = command("add", written(tmp_path, form), "--name", name, "--folder", folder, "--description", "Some stars",
                    "--ra", "alpha", "--dec", "delta")  # fmt: skip
    assert f"{name}: 2000 rows, 5 columns." in added.stderr
    query = f'SELECT COUNT(*) AS n, COUNT(mag) AS m, MAX("Name of star") AS x FROM {name}'
    counts = requests.post(
        f"{server.url}/tap/sync", data={"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "csv"}, timeout=60
    )
    assert counts.status_code == 200, counts.text
    counts.encoding = "utf-8"
    count, magnitudes, last = counts.text.splitlines()[1].split(",")
    assert (count, magnitudes) == ("2000", "1999")  # NaN is no magnitude, whatever the format
    assert last == ("s999" if form == "fits" else "Ångström")
    cone = f"SELECT id FROM {name} WHERE 1=CONTAINS(POINT(alpha,delta),CIRCLE(180,0,20))"
    answer = requests.post(
        f"{server.url}/tap/sync", data={"LANG": "ADQL", "QUERY": cone, "RESPONSEFORMAT": "csv"}, timeout=60
    )
    table = stars()
    from astropy.coordinates import SkyCoord

    near = SkyCoord(table["alpha"], table["delta"]).separation(SkyCoord(180, 0, unit="deg")).deg <= 20
    assert len(answer.text.splitlines()) - 1 == near.sum() > 10
    described = requests.get(f"{server.url}/tap/tables/{name}", timeout=180).text
    assert "<nrows>2000</nrows>" in described and "Some stars" in described and '"Name of star"' in described
    if form in ("vot", "ecsv", "fits"):
        assert "<unit>mag</unit>" in described
    if form in ("vot", "ecsv"):
        assert "<description>Brightness</description>" in described and "<ucd>phot.mag</ucd>" in described
    listed = json.loads(command("list", "--json", "--folder", folder).stdout)
    assert [entry["position"] for entry in listed if entry["name"] == name] == [["alpha", "delta"]]
    command("remove", name, "--folder", folder)
    assert requests.get(f"{server.url}/tap/tables/{name}", timeout=180).status_code == 404
    assert not [entry for entry in folder.iterdir() if entry.name.startswith(f"stars.{form}")]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """Warnings name columns without metadata or positions."""
    (tmp_path / "a.csv").write_text("RAJ2000,DEJ2000,flux\n1.5,2.5,3.5\n")
    (tmp_path / "b.csv").write_text("x,word\n1.5,a\n")
    completed = command("add", tmp_path / "a.csv", tmp_path / "b.csv", "--folder", tmp_path / "out")
    for warning in ("RAJ2000 and DEJ2000 are taken", "no unit: flux", "data.b: warning: there are no positions",
                  "no UCD: x, word", "data.a: warning: the table has no description"):  # fmt: skip
        assert warning in completed.stderr
    assert [
        entry["position"] for entry in json.loads(command("list", "--json", "--folder", tmp_path / "out").stdout)
    ] == [
        ["RAJ2000", "DEJ2000"],
        None,
    ]


def test_refusals(tmp_path: Path) -> None:
    """One line each, and nothing is left behind."""
    table = tmp_path / "t.csv"
    table.write_text("a\n1\n")
    out = tmp_path / "out"
    (tmp_path / "broken.vot").write_text("<VOTABLE><RESOURCE>")
    (tmp_path / "cut.fits").write_bytes(written(tmp_path, "fits").read_bytes()[:9000])
    command("add", table, "--name", "mine.t", "--folder", out)
    for arguments, message in (
        ((table, "--name", "mine.t"), "--replace"),
        ((table, "--name", "TAP_SCHEMA.t"), "belongs to the service"),
        ((table, "--name", "mine.select"), "ADQL's own"),
        ((table, "--name", "t"), "schema.table"),
        ((table, "--name", "mine.x; DROP"), "schema.table"),
        ((table, "--name", "../x.y"), "schema.table"),
        ((table, "--name", "mine.u", "--ra", "b"), "no column 'b'"),
        ((table, "--name", "mine.u", "--ra", "a"), "does not hold degrees"),
        ((tmp_path / "broken.vot",), "not well-formed"),
        ((tmp_path / "cut.fits",), "fits"),
        ((tmp_path / "nothing.fits",), "no such file"),
    ):
        completed = command("add", *arguments, "--folder", out, ok=False)
        assert (
            message in completed.stderr
            and "Traceback" not in completed.stderr
            and len(completed.stderr.splitlines()) == 1
        )
    assert {path.name.partition("-")[0] for path in out.iterdir()} == {"mine.t", "mine.t.json"}
    command("add", table, "--name", "mine.t", "--replace", "--folder", out)
    assert "there are: mine.t" in command("remove", "mine.u", "--folder", out, ok=False).stderr

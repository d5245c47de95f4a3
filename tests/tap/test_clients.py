"""Common clients on the real service.

Pyvo, STILTS, astroquery.
"""

from __future__ import annotations

import csv
import gc
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvo
import requests
from astropy.table import Table

from tests.server import Server
from tests.tap.taplint import check
from tests.tiers import require

BRIGHT = "SELECT TOP 5 name, ra, dec, vmag FROM openngc.objects WHERE vmag IS NOT NULL ORDER BY vmag"
MATCH = (
    "SELECT mine.name AS given, o.name FROM TAP_UPLOAD.mine AS mine JOIN openngc.objects AS o"
    " ON 1 = CONTAINS(POINT('ICRS', o.ra, o.dec), CIRCLE('ICRS', mine.ra, mine.dec, 0.02)) ORDER BY given"
)


@pytest.fixture
def tap(server: Server) -> Iterator[pyvo.dal.TAPService]:
    """Return pyvo's client, with a session to close.

    It leaves its connections open otherwise.
    """
    with requests.Session() as session:
        yield pyvo.dal.TAPService(f"{server.url}/tap", session=session)


def test_pyvo_sync(tap: pyvo.dal.TAPService) -> None:
    """run_sync, maxrec with its warning, errors with our words."""
    result = tap.run_sync(BRIGHT)
    assert len(result) == 5 and result.fieldnames == ("name", "ra", "dec", "vmag")
    assert str(result.to_table()["ra"].unit) == "deg"
    cut = tap.run_sync("SELECT name FROM openngc.objects", maxrec=3)
    assert len(cut) == 3 and cut.query_status == "OVERFLOW"
    with pytest.raises(pyvo.dal.DALQueryError, match="Did you mean name"):
        tap.run_sync("SELECT nme FROM openngc.objects")


def test_pyvo_async(tap: pyvo.dal.TAPService) -> None:
    """run_async and submit_job, with an upload from memory."""
    assert len(tap.run_async(BRIGHT)) == 5
    upload = Table({"name": ["m31", "m33"], "ra": [10.6847, 23.4621], "dec": [41.2687, 30.6599]})
    job = tap.submit_job(MATCH, uploads={"mine": upload})
    job.run().wait(timeout=240)
    job.raise_if_error()
    assert list(job.fetch_result()["name"]) == ["NGC0224", "NGC0598"]
    job.delete()
    with pytest.raises(pyvo.dal.DALQueryError, match="column 8"):
        tap.run_async("SELECT nme FROM openngc.objects")


def test_pyvo_uploads(tap: pyvo.dal.TAPService, table: Path, tmp_path: Path, web: str) -> None:
    """A table, a file, and one on the web."""
    table_to_upload = Table.read(table, format="ascii.csv")
    table_to_upload.write(tmp_path / "mine.vot", format="votable")
    for upload in (table_to_upload, str(tmp_path / "mine.vot"), f"{web}/mine.vot"):
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves the file open
            result = tap.run_sync(MATCH, uploads={"mine": upload})
            gc.collect()
        assert list(result["name"]) == ["NGC0224", "NGC0598"]


def test_pyvo_reads_our_documents(tap: pyvo.dal.TAPService) -> None:
    """V-032: tables, examples and capabilities."""
    assert {item.name for item in tap.tables} >= {"openngc.objects", "TAP_SCHEMA.columns"}
    columns = {item.name: item for item in tap.tables["openngc.objects"].columns}
    assert columns["ra"].ucd == "pos.eq.ra;meta.main" and columns["ra"].unit == "deg"
    assert tap.maxrec == 100_000 and tap.hardlimit == 10_000_000
    assert {item.ivo_id.rpartition("-")[2] for item in tap.upload_methods} == {"inline", "http", "https"}
    examples = tap.examples
    assert len(examples) >= 4
    assert len(examples[0].execute()) == 10


def stilts(*arguments: str) -> str:
    require("stilts")
    completed = subprocess.run(["stilts", *arguments], capture_output=True, text=True, timeout=600)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout + completed.stderr


@pytest.mark.parametrize("sync", ["true", "false"])
def test_stilts_tapquery(server: Server, table: Path, tmp_path: Path, sync: str) -> None:
    """With an upload, in both ways."""
    out = tmp_path / "out.csv"
    stilts(
        "tapquery", f"tapurl={server.url}/tap", f"sync={sync}", f"adql={MATCH}", "nupload=1", f"upload1={table}",
        "ufmt1=csv", "upname1=mine", "ofmt=csv", f"out={out}",
    )  # fmt: skip
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [(row["given"], row["name"]) for row in rows] == [("m31", "NGC0224"), ("m33", "NGC0598")]


def test_stilts_tapresume(tap: pyvo.dal.TAPService, tmp_path: Path) -> None:
    """A job that was left is fetched later."""
    job = tap.submit_job(BRIGHT)
    job.run().wait(timeout=240)
    out = tmp_path / "out.csv"
    stilts("tapresume", f"joburl={job.url}", "ofmt=csv", f"out={out}")
    assert len(out.read_text().splitlines()) == 6


def test_stilts_tapskymatch(server: Server, table: Path, tmp_path: Path) -> None:
    """A local table against ours, uploaded in pieces."""
    out = tmp_path / "out.csv"
    stilts(
        "tapskymatch", f"tapurl={server.url}/tap", "taptable=openngc.objects", "taplon=ra", "taplat=dec",
        f"in={table}", "ifmt=csv", "inlon=ra", "inlat=dec", "sr=0.02", "ofmt=csv", f"out={out}",
    )  # fmt: skip
    text = out.read_text()
    assert "NGC0224" in text and "NGC0598" in text and "nowhere" not in text


def test_astroquery(server: Server, tmp_path: Path) -> None:
    """C-18: TapPlus in both ways."""
    program = f"""
from astroquery.utils.tap.core import TapPlus
tap = TapPlus(url="{server.url}/tap", verbose=False)
print(len(tap.launch_job("{BRIGHT}").get_results()))
print(len(tap.launch_job_async("{BRIGHT}").get_results()))
"""
    # A process of its own: it leaves sockets open and writes files where it is.
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=600, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split().count("5") == 2


def test_astroquery_uploads_a_table(server: Server, tmp_path: Path) -> None:
    """It sends FORMAT twice with a Table (D-020)."""
    program = f"""
from astropy.table import Table
from astroquery.utils.tap.core import TapPlus
tap = TapPlus(url="{server.url}/tap", verbose=False)
upload = dict(upload_resource=Table({{"id": [1, 2]}}), upload_table_name="mine")
query = "SELECT * FROM tap_upload.mine ORDER BY id"
print(list(tap.launch_job(query, **upload).get_results()["id"]) == [1, 2])
print(list(tap.launch_job_async(query, **upload).get_results()["id"]) == [1, 2])
"""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=180, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split().count("True") == 2


def test_taplint(server: Server) -> None:
    """STILTS' own suite, every stage, on DuckDB."""
    check(f"{server.url}/tap")

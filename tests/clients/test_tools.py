"""curl and STILTS against a running service (C-11…C-16, U-006)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lxml import etree

from tests import official
from tests.server import Server
from tests.tiers import require


def run(*command: str, ok: bool = True) -> str:
    process = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert (process.returncode == 0) is ok, process.stdout + process.stderr
    return process.stdout


def test_curl(server: Server) -> None:
    """Each step as a person would type it."""
    require("curl")
    jobs = f"{server.url}/probe/async"
    location = run("curl", "-s", "-o", "/dev/null", "-w", "%{redirect_url}", "-d", "SECONDS=0", jobs)
    assert location.startswith(jobs + "/")
    status = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", "PHASE=RUN", f"{location}/phase")
    assert status == "303"
    while run("curl", "-s", f"{location}/phase") not in ("COMPLETED", "ERROR"):
        run("curl", "-s", f"{location}?WAIT=10")
    assert "uws:job" in run("curl", "-s", location)
    assert run("curl", "-s", "-L", "-w", "%{http_code}", "-o", "/dev/null", f"{location}/results/result") == "200"
    deleted = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "-X", "DELETE", location)
    assert deleted == f"303 {jobs}"


def test_curl_uploads_a_file(server: Server, tmp_path: Path) -> None:
    """D-026: ``-F`` with a file, answered by /sync."""
    require("curl")
    table = tmp_path / "t.csv"
    table.write_text("name,ra,dec\nm31,10.6847,41.2687\n")
    url = f"{server.url}/crossmatch/sync"
    answer = run("curl", "-s", "-F", "UPLOAD=t,param:f", "-F", "RESPONSEFORMAT=csv", "-F", f"f=@{table}", url)
    assert "0224" in answer


@pytest.mark.parametrize("document", ["list", "new", "completed", "failed", "aborted", "parameters", "results"])
def test_official_schema(server: Server, tmp_path: Path, document: str) -> None:
    """U-006, U-070, U-081, U-084: valid against the UWS XSD."""
    require("stilts")
    jobs = f"{server.url}/probe/async"

    def make(*body: str) -> str:
        data = [word for pair in body for word in ("--data-urlencode", pair)] or ["-d", ""]
        return run("curl", "-s", "-o", "/dev/null", "-w", "%{redirect_url}", *data, jobs)

    if document == "list":
        make("RUNID=a&b")
        url = jobs
    elif document == "new":
        url = make("TAG=<é>", "RUNID=x")
    else:
        url = make("PHASE=RUN", "EXIT=2" if document == "failed" else "SECONDS=0")
        if document == "aborted":
            url = make("SECONDS=1")
            run("curl", "-s", "-d", "PHASE=ABORT", f"{url}/phase")
        while run("curl", "-s", f"{url}/phase") not in ("COMPLETED", "ERROR", "ABORTED"):
            run("curl", "-s", f"{url}?WAIT=10")
        if document in ("parameters", "results"):
            url = f"{url}/{document}"
    file = tmp_path / "document.xml"
    file.write_text(run("curl", "-s", url))
    assert etree.parse(file).getroot().tag.startswith("{http://www.ivoa.net/xml/UWS/v1.0}")
    run("stilts", "xsdvalidate", "uselocals=true", f"doc={file}")


def test_official_schemas_are_at_hand() -> None:
    """U-006: where STILTS is installed, every document of the service's tests meets the official schema."""
    require("stilts")
    assert official.available()
    with pytest.raises(etree.DocumentInvalid):
        official.validate(
            b'<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0"><uws:phase>DONE</uws:phase></uws:job>'
        )


def test_stilts_runs_a_job(server: Server, tmp_path: Path) -> None:
    """C-11…C-17, C-32: tapquery speaks to any UWS below a base URL; here the crossmatch with two of its habits."""
    require("stilts")
    table = tmp_path / "in.csv"
    table.write_text("name,ra,dec\nm31,10.6847,41.2687\nm33,23.4621,30.6599\n")
    out = tmp_path / "out.csv"
    run(
        "stilts",
        "tapquery",
        f"tapurl={server.url}/crossmatch",
        "sync=false",
        "adql=SELECT 1",
        "nupload=1",
        f"upload1={table}",
        "ufmt1=csv",
        "upname1=mine",
        "ofmt=csv",
        f"out={out}",
    )
    lines = out.read_text().splitlines()
    assert len(lines) == 3 and "0224" in lines[1] + lines[2]


def test_stilts_shows_our_error(server: Server) -> None:
    """C-14, D-050: text from the error VOTable."""
    require("stilts")
    process = subprocess.run(
        ["stilts", "tapquery", f"tapurl={server.url}/crossmatch", "sync=false", "adql=x"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode != 0 and "At least 1 uploaded table" in process.stdout + process.stderr

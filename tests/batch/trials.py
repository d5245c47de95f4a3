"""What is tried on every kind of site."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyvo
import yaml
from astropy.table import Table

from tests.batch.condor import wait_until
from tests.batch.service import BatchServer
from tests.conformance import OPEN, check_applications, judge
from tests.server import ROOT, Server
from tests.service.client import Uws, job_id

ALFALFA = ROOT / "uws_service/apps/data/alfalfa.csv"
CROSSMATCH = {"UPLOAD": "mine,param:table", "RADIUS": "60", "RESPONSEFORMAT": "votable", "PHASE": "RUN"}
"""The same job everywhere; only `SITE` differs."""
LIFE = ("U-10", "U-11", "U-13", "U-15")
"""What the rules about phases, aborts, times and WAIT begin with."""
CONFORMANCE_SECONDS = 180


def crossmatch(server: Server, site: str) -> None:
    """Let pyvo run the shipped application, with an uploaded table, at a site that the job names."""
    with Uws(server.url, "crossmatch") as user:
        table = ("alfalfa.csv", ALFALFA.read_bytes(), "text/csv")
        answer = user.post(user.jobs, {**CROSSMATCH, "SITE": site}, files={"table": table})
        assert answer.status_code == 303, answer.text
        job = pyvo.dal.AsyncTAPJob(answer.headers["location"])
        job.wait(phases=["COMPLETED", "ERROR", "ABORTED"], timeout=240)
        assert job.phase == "COMPLETED", user.get(f"{job.url}/error").text
        assert len(Table.read(io.BytesIO(user.get(job.result_uri).content), format="votable")) > 0
        document: dict[str, Any] = user.http.get(job.url, headers={"Accept": "application/json"}).json()
        assert document["jobInfo"]["site"] == site
        user.http.delete(job.url)


def conformance(server: Server) -> None:
    """Run the checks of a job's life: none fails, none warns, and no job is left.

    With ``UWS_TEST_CONFORMANCE=all`` the whole suite, and a second application; what else it asks does not depend on
    the site.
    """
    is_complete = os.environ.get("UWS_TEST_CONFORMANCE") == "all"
    applications, prefixes, least = (("sleep", "crossmatch"), ("",), 221) if is_complete else (("sleep",), LIFE, 40)
    reports = check_applications(
        server, applications, patience=CONFORMANCE_SECONDS, at_once=len(applications), prefixes=prefixes
    )
    for application, report in reports.items():
        judge(application, report, *OPEN, least=least)


class Severed(Protocol):
    """A site that can be cut off."""

    def sever(self) -> None:
        """Cut it off."""

    def mend(self) -> None:
        """End the cut."""

    def leftovers(self, job_ids: frozenset[str]) -> Sequence[str]:
        """Name what the site still has of jobs."""


def cut_for_ever(server: BatchServer[Any], far: Severed) -> None:
    """Cut off the first of two sites with a job there: it runs once more at the other, whose results count.

    The other one, ``near``, has one slot. When the first site is back at last, nothing of the job stays there.
    """
    with server.client() as user:
        blocker = user.create({"PHASE": "RUN", "TEXT": server.hold(), "SITE": "near"})
        server.wait_run(blocker)
        job = user.create({"PHASE": "RUN", "TEXT": f"{server.hold()}; hostname > $UWS_OUTPUT_DIR/result"})
        server.wait_run(job)
        (first, *_) = server.commands(job)
        far.sever()
        server.let_go(blocker)
        wait_until(lambda: server.runs(job) == 2, "the second attempt")
        server.let_go(job)
        assert user.wait(job) == "COMPLETED"
        result = user.get(f"{job}/results/result").text
        far.mend()
        wait_until(lambda: not far.leftovers(frozenset([job_id(job)])), "the first attempt is removed")
        wait_until(lambda: not first.is_running(), "its command has ended")
        document = user.http.get(job, headers={"Accept": "application/json"}).json()
        assert document["jobInfo"]["site"] == "near" and document["phase"] == "COMPLETED"
        assert user.get(f"{job}/results/result").text == result and server.runs(job) == 2


def site_check(folder: Path, site: Mapping[str, Any], *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run `uws-service sites check` for a site.

    Return its exit code, and its findings by what was tried.
    """
    ended = sites_command(folder, site, "check", "--json", *options)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, {finding["thing"]: finding for finding in json.loads(ended.stdout)}


def sites_command(folder: Path, site: Mapping[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `uws-service sites` for one site of a settings file."""
    (folder / "service.yaml").write_text(yaml.safe_dump({"sites": [dict(site)]}))
    command, *options = words
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UWS_")}
    return subprocess.run(
        [sys.executable, "-m", "uws_service", "sites", command, site["name"], *options, "--config", "service.yaml"],
        cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


def wrong(findings: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Return what of the findings is wrong."""
    return {name for name, finding in findings.items() if finding["problem"]}

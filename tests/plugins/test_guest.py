"""A package outside the service registers a kind of site, a face and a resource, by one line each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.patience import SECONDS
from tests.plugins.conftest import install
from tests.plugins.packages import write_package
from tests.plugins.test_errors import start
from tests.server import ROOT, Server
from tests.service.client import Uws

POLLY = {
    "name": "polly",
    "title": "A parrot",
    "description": "Says what it is told.",
    "protocol": "parrot",
    "parrot": {"phrases": ["hello", "bye"]},
}


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which the package is installed."""
    target = tmp_path_factory.mktemp("guest")
    install(Path(__file__).with_name("guest"), target)
    return target


@pytest.fixture(scope="module")
def server(guest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a service whose only site is of the package's kind, with an application of its standard."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "polly.yaml").write_text(json.dumps(POLLY), encoding="utf-8")
    config = "sites: [{name: head, kind: memory, slots: 4}]\napplications: [polly.yaml]\n"
    running = Server(folder, {"PYTHONPATH": f"{ROOT}:{guest}"}, config=config)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def polly(server: Server) -> Iterator[Uws]:
    """Yield a client of the application."""
    with Uws(server.url, "polly") as client:
        yield client


def test_job_runs_at_the_kind_of_site(polly: Uws) -> None:
    job = polly.create({"PHASE": "RUN", "PHRASE": "good morning"})
    assert polly.wait(job) == "COMPLETED"
    assert "good morning" in polly.get(f"{job}/results/result").text
    assert polly.get(job, headers={"Accept": "application/json"}).json()["jobInfo"]["site"] == "head"


def test_face_answers(polly: Uws) -> None:
    assert polly.get(f"{polly.base}/vocabulary").json() == {"phrases": ["hello", "bye"]}
    assert polly.get(f"{polly.base}/capabilities").text.endswith("<!-- parrot -->")
    response = polly.get(f"{polly.base}/sync")
    assert response.status_code == 400 and "PHRASE" in response.json()["squawk"]
    assert "hi" in polly.get(f"{polly.base}/sync?PHRASE=hi").text


def test_other_applications_are_as_they_were(polly: Uws, server: Server) -> None:
    assert polly.get(f"{server.url}/sleep/vocabulary").status_code == 404
    assert "VOTABLE" in polly.get(f"{server.url}/sleep/sync?SECONDS=no").text


def test_resource_answers(polly: Uws, server: Server) -> None:
    assert polly.get(f"{polly.base}/manual").json() == {"PHRASE": "What to say."}
    assert "SECONDS" in polly.get(f"{server.url}/sleep/manual").json()
    assert polly.post(f"{polly.base}/manual").status_code == 405
    assert polly.get(f"{server.url}/nobody/manual").status_code == 404
    assert 'route="manual"' in polly.get(f"{server.url}/metrics").text


def test_package_can_be_imported_first(guest: Path) -> None:
    """The tests of a package import it before the service does."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{guest}"}
    subprocess.run(
        [sys.executable, "-c", "import guest, uws_service.runtime"], env=environment, check=True, timeout=300
    )


def test_wrong_section_stops_the_start(guest: Path, tmp_path: Path) -> None:
    """The section of a guest's standard is checked as the service's own are."""
    (tmp_path / "polly.yaml").write_text(json.dumps({**POLLY, "parrot": {"phrases": "hello"}}), encoding="utf-8")
    process = start(tmp_path, guest, UWS_APPLICATIONS=json.dumps([str(tmp_path / "polly.yaml")]))
    assert process.returncode == 2, process.stderr
    assert "polly.yaml:1: parrot.phrases" in process.stderr and "Traceback" not in process.stderr


@pytest.mark.parametrize("group", ["uws_service.sites", "uws_service.faces", "uws_service.resources"])
def test_name_of_the_guest_can_be_used_once(group: str, guest: Path, tmp_path: Path) -> None:
    """A second package that registers the same parts is refused, whatever the group."""
    names = {"uws_service.sites": "MEMORY", "uws_service.faces": "PARROT", "uws_service.resources": "manual"}
    write_package(tmp_path / "second", "second", "", {group: {"second": f"guest:{names[group]}"}})
    process = start(tmp_path, guest, tmp_path / "second")
    assert process.returncode != 0 and "already" in process.stderr, process.stderr
    assert group in process.stderr and "Traceback" not in process.stderr


FICKLE = """
from typing import Literal

from guest import MemoryExecutor, MemorySite
from uws_service.sites.kind import Kind

class FickleSite(MemorySite):
    kind: Literal["fickle"] = "fickle"

class FickleExecutor(MemoryExecutor):
    failures = {"start": 1, "observe": 2}

    def fail(self, method):
        self.failures[method] -= 1
        if self.failures[method] >= 0:
            raise KeyError(f"no {method} yet")

    async def start(self):
        self.fail("start")

    async def observe(self):
        self.fail("observe")
        return await super().observe()

FICKLE = Kind("fickle", FickleSite, FickleExecutor)
"""


def test_site_goes_on_after_faults_of_its_kind(guest: Path, tmp_path: Path) -> None:
    """What a kind of another package raises is in the log, with the site, and its jobs go on."""
    write_package(tmp_path / "site", "fickle", FICKLE, {"uws_service.sites": {"fickle": "fickle:FICKLE"}})
    path = f"{ROOT}:{guest}:{tmp_path / 'site'}"
    server = Server(tmp_path, {"PYTHONPATH": path}, config="sites: [{name: far, kind: fickle}]\n")
    server.start()
    try:
        with Uws(server.url, "sleep") as sleep:
            assert sleep.wait(sleep.create({"PHASE": "RUN", "SECONDS": "0"})) == "COMPLETED"
        log = server.log.read_text()
    finally:
        server.stop()
    for message, times in (("the site can't be started", 1), ("controller round failed", 2)):
        lines = [line for line in log.splitlines() if message in line]
        assert len(lines) == times and all("site=far" in line for line in lines), log


AWAY = """
import asyncio
from typing import Literal

from guest import MemoryExecutor, MemorySite
from uws_service.sites.executor import Health
from uws_service.sites.kind import Kind

class AwaySite(MemorySite):
    kind: Literal["away"] = "away"

class AwayExecutor(MemoryExecutor):
    def __init__(self, settings, parts):
        super().__init__(settings, parts)
        self.news = asyncio.Event()
        self.is_there = True

    def health(self):
        return Health(self.is_there, 0, "" if self.is_there else "gone")

    async def observe(self):
        self.news.clear()
        self.is_there = False
        self.news.set()  # that it is away is news
        return await super().observe()

    async def wait_change(self, timeout):
        await self.news.wait()

AWAY = Kind("away", AwaySite, AwayExecutor)
"""
WATCHED_SECONDS = 3.0
MOST_ROUNDS = 20
"""In so many seconds; a loop without pauses makes thousands."""


def test_a_site_that_went_away_is_asked_now_and_then(guest: Path, tmp_path: Path) -> None:
    """Its last news, which nobody can take any more, does not keep its controller busy."""
    write_package(tmp_path / "site", "away", AWAY, {"uws_service.sites": {"away": "away:AWAY"}})
    path = f"{ROOT}:{guest}:{tmp_path / 'site'}"
    server = Server(tmp_path, {"PYTHONPATH": path}, config="sites: [{name: far, kind: away}]\n")
    server.start()

    def rounds() -> float:
        text = httpx2.get(f"{server.url}/metrics").text
        count = re.search(r'^uws_controller_round_seconds_count{site="far"} (.*)$', text, re.MULTILINE)
        return float(count[1]) if count else 0.0

    try:
        deadline = time.monotonic() + SECONDS
        while rounds() < 2:
            assert time.monotonic() < deadline, server.tail()
            time.sleep(0.1)
        before = rounds()
        time.sleep(WATCHED_SECONDS)
        assert rounds() - before <= MOST_ROUNDS
    finally:
        server.stop()


def test_what_one_site_can_not_do_another_does(guest: Path, tmp_path: Path) -> None:
    """Faults of a site are tried elsewhere, and a site that has nothing else gets no new jobs for a while."""
    (tmp_path / "polly.yaml").write_text(json.dumps(POLLY), encoding="utf-8")
    sites = "sites: [{name: head, kind: memory, slots: 2}, {name: bed, kind: sick, slots: 50}]\n"
    running = Server(tmp_path, {"PYTHONPATH": f"{ROOT}:{guest}"}, config=f"{sites}applications: [polly.yaml]\n")
    running.start()
    try:
        with Uws(running.url, "polly") as polly:
            infos: list[Any] = []
            deadline = time.monotonic() + SECONDS
            while not any(info["lost"] for info in infos):  # the sites are found one after the other
                assert time.monotonic() < deadline
                jobs = [polly.create({"PHASE": "RUN", "PHRASE": "ill"}) for _ in range(10)]
                assert {polly.wait(job) for job in jobs} == {"COMPLETED"}
                infos += [polly.get(job, headers={"Accept": "application/json"}).json()["jobInfo"] for job in jobs]
            assert {info["site"] for info in infos} == {"head"}
            lost = [item for info in infos for item in info["lost"]]
            assert lost and {(item["site"], item["reason"]) for item in lost} == {("bed", "Refused")}
            assert "Its disks are broken." in lost[0]["message"]
            pinned = polly.create({"PHASE": "RUN", "PHRASE": "ill", "SITE": "bed"})
            waiting = ""
            while "site bed fails" not in waiting:
                assert time.monotonic() < deadline, waiting
                info = polly.get(pinned, headers={"Accept": "application/json"}).json()
                waiting = info["jobInfo"]["waiting"] or ""
                if info["phase"] == "ERROR":  # it came before the site was put aside
                    pinned = polly.create({"PHASE": "RUN", "PHRASE": "ill", "SITE": "bed"})
            assert "with Refused; it gets no new jobs until" in waiting
    finally:
        running.stop()

"""Two services with folders of their own on one PostgreSQL: every command runs once, whoever is killed.

Each command writes a line when it starts and another one when it ends, so what ran twice shows, whatever the service
believes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest

from tests import databases
from tests.server import ROOT, Server
from uws_service.cli.common import EXIT_FAILURE
from uws_service.sites.lease import STOP_BEFORE_SECONDS, FolderLease

APPLICATION = """
name: ledger
title: Writes its id
description: Appends its job id to a file when it starts and when it ends.
command:
  - sh
  - -c
  - echo $UWS_JOB_ID >> {folder}/started; sleep $UWS_PARAM_SECONDS; echo $UWS_JOB_ID >> {folder}/ended
image: local/none
parameters:
  - name: SECONDS
    datatype: double
    default: 0.2
results: []
limits:
  attempts: 3
  execution_duration: {{default: 600, maximum: 600}}
  retention: {{default: 86400, maximum: 86400}}
"""


class Pair:
    """Two services, and what their commands wrote."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        application = folder / "ledger.yaml"
        application.write_text(APPLICATION.format(folder=folder))
        self.settings = {
            "UWS_DATABASE": database,
            "UWS_AUTO_MIGRATE": "true",
            "UWS_DEPOT": str(folder / "depot"),
            "UWS_APPLICATIONS": json.dumps([str(application)]),
            "UWS_BUILTIN_APPLICATIONS": "false",
            "UWS_SITES": json.dumps([{"name": "local", "slots": 4, "lost_after": 60}]),
        }
        self.first, self.second = (Server(folder / name, self.settings) for name in ("first", "second"))
        self.http = httpx2.Client(timeout=20)

    def submit(self, server: Server, seconds: float = 0.2) -> str:
        """Start a job; its path."""
        answer = self.http.post(f"{server.url}/ledger/async", data={"PHASE": "RUN", "SECONDS": str(seconds)})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"].removeprefix(server.url)

    def phase(self, server: Server, path: str) -> str:
        return str(self.http.get(f"{server.url}{path}/phase").text)

    def ended(self, server: Server, paths: list[str]) -> Counter[str]:
        """Wait for the end of all; their phases."""
        final = ("COMPLETED", "ERROR", "ABORTED")
        until(lambda: all(self.phase(server, path) in final for path in paths), "all to end", seconds=120)
        return Counter(self.phase(server, path) for path in paths)

    def runs(self, name: str = "started") -> Counter[str]:
        """Return how often each job's command ran."""
        path = self.folder / name
        return Counter(path.read_text().split()) if path.exists() else Counter()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``uws-service`` with the settings of both."""
        return subprocess.run(
            [sys.executable, "-m", "uws_service", *arguments],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **self.settings},
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=60,
        )

    def ready(self, server: Server) -> str:
        """Return the readiness probe's response."""
        answer = self.http.get(f"{server.url}/readyz")
        assert answer.status_code == 200, answer.text
        return str(answer.text)


def until(condition: Callable[[], object], description: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {description}"
        time.sleep(0.1)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path, databases.new_postgresql())
    yield pair
    pair.first.stop()
    pair.second.stop()
    pair.http.close()


def test_each_command_runs_once(pair: Pair) -> None:
    """The second service runs its jobs at the first."""
    pair.first.start()
    pair.second.start()
    paths = [pair.submit(server) for _ in range(6) for server in (pair.first, pair.second)]
    assert pair.ended(pair.second, paths) == {"COMPLETED": 12}
    assert set(pair.runs().values()) == {1} and len(pair.runs()) == 12
    assert pair.ready(pair.first) == "ok"
    assert pair.ready(pair.second) == "ok\nsite local: another process drives it."
    log = pair.second.log.read_text()
    assert "does not drive the site" in log and str(pair.folder / "first/data/work/local") in log
    metrics = [pair.http.get(f"{server.url}/metrics").text for server in (pair.first, pair.second)]
    assert ['uws_site_leader{site="local"} 1.0' in text for text in metrics] == [True, False]
    sites = json.loads(pair.command("sites", "--json").stdout)
    assert [(site["state"], site["folder"]) for site in sites] == [
        ("driven", str(pair.folder / "first/data/work/local"))
    ]


def test_the_owner_is_killed_and_comes_back(pair: Pair) -> None:
    """A restarted owner has its site back."""
    pair.first.start()
    pair.second.start()
    running = [pair.submit(pair.second, seconds=12) for _ in range(4)]
    until(lambda: len(pair.runs()) == 4, "four commands")
    until(lambda: all(pair.phase(pair.second, path) == "EXECUTING" for path in running), "four jobs to run")
    waiting = [pair.submit(pair.second) for _ in range(4)]
    refused = pair.command("sites", "--release", "local")
    assert refused.returncode == EXIT_FAILURE and "is driven by a process on" in refused.stderr, refused
    pair.first.kill()
    time.sleep(3)  # the second one must do nothing in all of this time
    assert len(pair.runs()) == 4 and {pair.phase(pair.second, path) for path in waiting} == {"QUEUED"}
    pair.first.start()
    until(lambda: "driving the site" in pair.first.log.read_text().rpartition("service is up")[2], "the owner")
    assert "does not drive the site" not in pair.first.log.read_text()  # it did not have to wait
    assert pair.ended(pair.second, running + waiting) == {"COMPLETED": 8}
    assert set(pair.runs().values()) == {1} and pair.runs() == pair.runs("ended")


def _expire(pair: Pair, seconds: int = 0) -> None:
    """Let the time of the owner's lease pass."""
    with psycopg.connect(pair.settings["UWS_DATABASE"], autocommit=True) as connection:
        connection.execute("UPDATE lease SET until = least(until, 1000 * extract(epoch FROM clock_timestamp()) - %s)",
                           [1000 * seconds])  # fmt: skip


def test_a_machine_that_is_gone_for_ever(pair: Pair) -> None:
    """Another service takes a site by an operator's word."""
    pair.first.start()
    pair.second.start()
    path = pair.submit(pair.second, seconds=6)
    until(lambda: pair.phase(pair.second, path) == "EXECUTING", "the job to run")
    pair.first.kill()
    _expire(pair)
    until(lambda: "1 of its jobs may still run" in pair.second.log.read_text(), "the reason in the log")
    until(lambda: sum(pair.runs("ended").values()) == 1, "the end of the lonely command")
    assert sum(pair.runs().values()) == 1 and pair.phase(pair.second, path) == "EXECUTING"
    released = pair.command("sites", "--release", "local")
    assert released.returncode == 0 and "1 jobs were there" in released.stderr, released
    assert pair.ended(pair.second, [path]) == {"COMPLETED": 1}
    assert sum(pair.runs().values()) == 2  # tried again, as the operator wanted
    pair.first.start()
    until(lambda: "another process drives it" in pair.ready(pair.first), "the old owner to stand back")


def test_the_site_moves_when_nothing_runs_there(pair: Pair) -> None:
    """An idle owner is replaced."""
    pair.first.start()
    pair.second.start()
    assert pair.ended(pair.first, [pair.submit(pair.first)]) == {"COMPLETED": 1}
    pair.first.stop()
    _expire(pair)
    path = pair.submit(pair.second, seconds=3)
    until(lambda: pair.phase(pair.second, path) == "EXECUTING", "the job to run at the second")
    pair.second.kill()
    pair.first.start()
    _expire(pair)
    until(lambda: "may still run" in pair.first.log.read_text(), "the reason in the log")
    _expire(pair, 61)
    assert pair.ended(pair.first, [path]) == {"COMPLETED": 1}


def test_a_paused_owner_begins_nothing(pair: Pair) -> None:
    """A process that slept runs nothing twice."""
    import os
    import signal

    pair.first.start()
    pair.second.start()
    assert pair.first.process is not None
    os.kill(pair.first.process.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        _expire(pair)
        until(lambda: "driving the site" in pair.second.log.read_text(), "the second to drive")
        believed = FolderLease.ttl - STOP_BEFORE_SECONDS  # after its last renewal, which was before the stop
        time.sleep(max(0.0, stopped + believed + 1 - time.monotonic()))
        paths = [pair.submit(pair.second, seconds=1) for _ in range(12)]
    finally:
        os.kill(pair.first.process.pid, signal.SIGCONT)
    assert pair.ended(pair.second, paths) == {"COMPLETED": 12}
    assert set(pair.runs().values()) == {1}


def test_two_processes_with_one_folder(pair: Pair) -> None:
    """A second service on a folder does not start."""
    pair.first.start()
    pair.second.settings["UWS_DATA"] = pair.first.settings["UWS_DATA"]
    with pytest.raises(RuntimeError, match="controller: false"):
        pair.second.start()
    pair.second.settings["UWS_CONTROLLER"] = "false"
    pair.second.start()
    assert pair.ended(pair.second, [pair.submit(pair.second)]) == {"COMPLETED": 1}


def test_several_workers_of_one_service(tmp_path: Path) -> None:
    """A killed process is replaced at once."""
    pair = Pair(tmp_path, databases.new_postgresql())
    program = ("-m", "uws_service", "serve", "--workers", "3")
    pair.first = Server(tmp_path / "first", pair.settings, program=program)
    pair.first.start()
    try:
        paths = [pair.submit(pair.first, seconds=2) for _ in range(4)]
        until(lambda: len(pair.runs()) == 4, "four commands")
        driver = _holder_of(tmp_path / "first/data/work/local/.lock")
        subprocess.run(["kill", "-9", str(driver)], check=True)
        until(lambda: not Path(f"/proc/{driver}").exists(), "the end of the driver")
        pair.http.close()
        pair.http = httpx2.Client(timeout=20)  # without connections to the dead
        paths += [pair.submit(pair.first) for _ in range(4)]
        assert pair.ended(pair.first, paths) == {"COMPLETED": 8}
        assert set(pair.runs().values()) == {1}
    finally:
        pair.first.stop()
        pair.http.close()


def _holder_of(path: Path) -> int:
    """Return the process that has locked a file."""
    inode = path.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and int(words[5].rpartition(":")[2]) == inode:
            return int(words[4])
    raise AssertionError("nobody holds the lock")

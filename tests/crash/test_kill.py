"""``kill -9`` of the service at random moments, again and again with jobs in flight.

Each job writes its id into one file, so a command that ran twice shows. The client submits with idempotency keys and
repeats what got no answer, so a job that was made twice shows too.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest
from lxml import etree

from tests import databases
from tests.server import Server

pytestmark = pytest.mark.xdist_group  # each in a worker of its own

KILLS = int(os.environ.get("UWS_TEST_KILLS", "6"))
IN_FLIGHT = int(os.environ.get("UWS_TEST_IN_FLIGHT", "60"))
"""`make soak` has 20 kills with 200 jobs in flight."""

APPLICATION = """
name: ledger
title: Writes its id
description: Appends its job id to a file, once, and gives one result.
command: ["sh", "-c", "echo $UWS_JOB_ID >> {ledger}; sleep 0.2; echo done > $UWS_OUTPUT_DIR/result"]
image: local/none
limits:
  execution_duration: {{default: 600, maximum: 600}}
  retention: {{default: 86400, maximum: 86400}}
results:
  - id: result
    path: result
    media_type: text/plain
"""


class Submitter(threading.Thread):
    """Keeps so many jobs unfinished."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = f"{url}/ledger/async"
        self.jobs: dict[str, str] = {}
        self.stopped = threading.Event()
        self.surprises: list[str] = []

    def run(self) -> None:
        number = 0
        unanswered = False  # a request whose answer was lost may have made a job: it must be repeated before the end
        with httpx2.Client(timeout=180) as http:
            while unanswered or not self.stopped.is_set():
                try:
                    if not unanswered and self._unfinished(http) >= IN_FLIGHT:
                        time.sleep(0.05)
                        continue
                    for _ in range(20):
                        key = f"key-{number}"
                        unanswered = True
                        answer = http.post(self.url, data={"PHASE": "RUN"}, headers={"idempotency-key": key})
                        if answer.status_code == 303:
                            self.jobs[key] = answer.headers["location"]
                            number += 1
                            unanswered = False
                        elif answer.status_code not in (500, 503):
                            self.surprises.append(f"{answer.status_code} {answer.text}")
                except (httpx2.TransportError, OSError):
                    time.sleep(0.05)

    def _unfinished(self, http: httpx2.Client) -> int:
        return len(etree.fromstring(http.get(f"{self.url}?PHASE=QUEUED&PHASE=EXECUTING").content))


@pytest.mark.parametrize(("database", "sites"), [("sqlite", "local"), ("postgresql", "a b")])
def test_kill_at_random_moments(database: str, sites: str, tmp_path: Path) -> None:
    """No job is lost, none runs twice, at one site or another.

    None stays in a wrong phase (U-103, U-105, U-106).
    """
    ledger = tmp_path / "ledger"
    ledger.touch()
    descriptor = tmp_path / "ledger.yaml"
    descriptor.write_text(APPLICATION.format(ledger=ledger))
    settings = {"UWS_APPLICATIONS": f'["{descriptor}"]', "UWS_BUILTIN_APPLICATIONS": "false"}
    if sites != "local":
        settings["UWS_SITES"] = json.dumps([{"name": name, "kind": "local", "slots": 4} for name in sites.split()])
    if database == "postgresql":
        settings |= {"UWS_DATABASE": databases.new_postgresql(), "UWS_AUTO_MIGRATE": "true"}
    server = Server(tmp_path / "service", settings)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    moments = random.Random(seed)
    server.start()
    submitter = Submitter(server.url)
    try:
        submitter.start()
        with httpx2.Client(timeout=180) as http:
            _wait_until(lambda: submitter._unfinished(http) >= IN_FLIGHT - 20, 600)
        for _ in range(KILLS):
            time.sleep(moments.uniform(0.05, 1.5))  # the random moment is what is tested
            server.kill()
            server.start()
        submitter.stopped.set()
        submitter.join(60)
        assert not submitter.surprises
        with httpx2.Client(timeout=180) as http:
            _wait_until(lambda: submitter._unfinished(http) == 0, 300)
            listed = etree.fromstring(http.get(submitter.url).content)
            phases = Counter(ref.findtext("{*}phase") for ref in listed)
            created = {url.rpartition("/")[2] for url in submitter.jobs.values()}
            assert phases == {"COMPLETED": len(created)}
            assert {ref.get("id") for ref in listed} == created and len(created) >= IN_FLIGHT
            ran = Counter(ledger.read_text().split())
            assert set(ran) == created and set(ran.values()) == {1}
            for url in moments.sample(sorted(submitter.jobs.values()), 20):
                assert http.get(f"{url}/results/result").text == "done\n"
        work = server.folder / "data" / "work"
        assert not [path for name in sites.split() for path in (work / name).iterdir() if path.is_dir()]
    finally:
        submitter.stopped.set()
        server.stop()


def _wait_until(condition: object, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.2)

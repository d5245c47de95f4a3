"""``kill -9`` of the service and of the catalogue, with jobs over data in flight.

They wait for data, read them in place, fetch them and have them brought: none is lost, and none runs twice.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.data.test_jobs import run, show
from tests.data.test_rucio import settings_of
from tests.rucio.network import SCOPE, Network
from tests.rucio.server import path_of, register
from tests.server import Server
from tests.service.client import Uws

KILLS = int(os.environ.get("UWS_TEST_DATA_KILLS", "2"))
"""Kills of the service while data are on their way; `make soak` takes 6."""
EACH = int(os.environ.get("UWS_TEST_DATA_JOBS", "2"))
"""Jobs of each way to the data; `make soak` takes 8."""
SECONDS = 420
AT_NORTH = {f"kill-n{number}.fits": bytes([number]) * 3000 for number in range(EACH)}
AT_SOUTH = {f"kill-s{number}.fits": bytes([number]) * 3000 for number in range(EACH)}
APPLICATION = """
name: ledger
title: Writes its id
description: Appends its job id to a file, once, and gives the size of its data.
command: ["sh", "-c", "echo $UWS_JOB_ID >> {ledger}; wc -c < $0 > $UWS_OUTPUT_DIR/size; sleep 0.3", "{{INPUT:DATA}}"]
parameters:
  - {{name: DATA, dataset: true, required: true, size: 1MiB, description: The data.}}
results:
  - {{id: result, path: size, media_type: text/plain}}
"""


@pytest.fixture
def lake(rucio: Network) -> Iterator[Network]:
    rucio.server.connect(rucio.north, rucio.south)
    for contents, storage in ((AT_NORTH, rucio.north), (AT_SOUTH, rucio.south)):
        register(rucio.server, SCOPE, contents, {name: [storage] for name in contents})
    yield rucio
    if rucio.server.process is None:
        rucio.server.start()


def settings(lake: Network, descriptor: Path) -> dict[str, str]:
    sites: list[dict[str, Any]] = [
        {
            "name": storage.name.lower(),
            "slots": 4 * EACH,
            "facts": {"any_bandwidth": 100},
            "storage": [{"area": storage.name, "path": str(storage.files), "bring": storage is lake.south}],
        }
        for storage in (lake.north, lake.south)
    ]
    return {
        "UWS_APPLICATIONS": json.dumps([str(descriptor)]),
        "UWS_FETCH": '{"allow_private": true, "timeout": 10}',
        "UWS_DATASETS": json.dumps({"catalogues": [settings_of(lake.server.url, cache=0)]}),
        "UWS_SITES": json.dumps(sites),
    }


def test_kills_of_service_and_catalogue(tmp_path: Path, lake: Network) -> None:
    ledger, descriptor = tmp_path / "ledger", tmp_path / "ledger.yaml"
    ledger.touch()
    descriptor.write_text(APPLICATION.format(ledger=ledger))
    server = Server(tmp_path / "service", settings(lake, descriptor))
    seed = random.randrange(1 << 30)
    print("seed", seed)
    moments = random.Random(seed)
    server.start()
    wishes = [{"DATA": f"{SCOPE}:{name}"} for name in (*AT_NORTH, *AT_SOUTH)]  # in place, each at its site
    wishes += [{"DATA": f"{SCOPE}:{name}", "SITE": "south"} for name in AT_NORTH]  # brought
    wishes += [{"DATA": f"{SCOPE}:{name}", "SITE": "north"} for name in AT_SOUTH]  # fetched
    moments.shuffle(wishes)
    carrier = Carrier(lake)
    try:
        with Uws(server.url, "ledger") as user:
            jobs = []
            for number, wish in enumerate(wishes):
                jobs.append(run(user, wish))
                if number == len(wishes) // 2:
                    lake.server.stop()  # SIGKILL
            time.sleep(moments.uniform(0.5, 2))
            server.kill()
            server.start()
            lake.server.start()
            _wait(lambda: all("south: 0 of 1 file is there" in _waiting(user, job) for job in brought(jobs, wishes)))
            carrier.start()
            for _ in range(KILLS):
                time.sleep(moments.uniform(0.1, 2))  # the random moment is what is tested
                server.kill()
                server.start()
            _wait(lambda: all(show(user, job)["phase"] not in ("QUEUED", "EXECUTING", "UNKNOWN") for job in jobs))
            contents = [show(user, job) for job in jobs]
            assert {content["phase"] for content in contents} == {"COMPLETED"}, contents
            ran = Counter(ledger.read_text().split())
            assert set(ran) == {content["jobId"] for content in contents}
            assert set(ran.values()) == {1}
            for job in jobs:
                assert user.http.get(f"{job}/results/result", follow_redirects=True).text.strip() == "3000"
            assert all("brought to south" in show(user, job)["jobInfo"]["data"] for job in brought(jobs, wishes))
    finally:
        server.stop()
        carrier.stop()


def brought(jobs: list[str], wishes: list[dict[str, str]]) -> list[str]:
    return [job for job, wish in zip(jobs, wishes, strict=True) if wish.get("SITE") == "south"]


def _waiting(user: Uws, job: str) -> str:
    return show(user, job)["jobInfo"]["waiting"] or ""


class Carrier(threading.Thread):
    """Does what the rules for copies at SOUTH ask for, again and again, until all are kept."""

    def __init__(self, lake: Network) -> None:
        super().__init__(daemon=True)
        self.lake = lake
        self.error: Exception | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        """Copy, until the rules are kept or it is stopped."""
        server = self.lake.server
        try:
            while not self._stopped.is_set():
                server.transfer(self.lake.south, [self.lake.north], [path_of(SCOPE, name) for name in AT_NORTH])
                answers = server.operate(*(("list_did_rules", [SCOPE, name]) for name in AT_NORTH))
                rules = [rule for rules in answers for rule in rules if rule["rse_expression"] == self.lake.south.name]
                if len(rules) == len(AT_NORTH) and {rule["state"] for rule in rules} == {"OK"}:
                    return
        except Exception as error:
            self.error = error

    def stop(self) -> None:
        """Stop, and raise what went wrong."""
        self._stopped.set()
        if self.ident is not None:
            self.join(SECONDS)
        if self.error is not None:
            raise self.error


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if condition():
                return
        except httpx2.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.5)

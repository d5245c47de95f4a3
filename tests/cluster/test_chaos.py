"""Everything killed, at random, with jobs in flight: nothing lost, nothing twice, nothing left."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import httpx2
import pytest

from tests.cluster.service import NAMESPACE, Client, ClusterServer, job_id, settings_of, until
from tests.databases import PostgreSQLServer
from tests.rig.site import Site

MANY = int(os.environ.get("UWS_TEST_CHAOS_JOBS", "30"))
"""Jobs in flight."""
PAUSE = 6.0
"""Seconds from one kill to the next."""
WORK = "sleep 2; echo $UWS_JOB_ID >> $UWS_OUTPUT_DIR/result"


@pytest.fixture
def killed_database() -> Iterator[PostgreSQLServer]:
    """A database server of the test's own, which may be killed."""
    server = PostgreSQLServer()
    yield server
    server.remove()


@pytest.mark.skipif(
    "UWS_TEST_CHAOS_JOBS" not in os.environ, reason="kills at random, which no two runs do alike: `make soak-cluster`"
)
def test_killing_everything(site_a: Site, folder: Path, killed_database: PostgreSQLServer) -> None:
    """kill -9 of the service, the API server, the kubelet and the database, over and over."""
    server = ClusterServer(
        folder, [settings_of(site_a, slots=12)], site_a.host_address, database=killed_database.url, auto_migrate=True
    )
    server.start()

    def restart_service() -> None:
        server.kill()
        server.start()

    kills: list[float] = []

    def restart(component: str) -> Callable[[], None]:
        def again() -> None:
            if component == "kube-apiserver":
                kills.append(time.time())
            site_a.kill(component)
            time.sleep(random.uniform(0, 2))
            site_a.start(component)

        return again

    def restart_database() -> None:
        killed_database.stop()
        time.sleep(random.uniform(0, 2))
        killed_database.start()

    victims = [restart_service, restart("kube-apiserver"), restart("kubelet"), restart_database]
    seed = int(os.environ.get("UWS_TEST_SEED", time.time_ns() % 10**6))
    chance = random.Random(seed)
    print(f"UWS_TEST_SEED={seed}")
    try:
        with server.client(user="ada") as client:
            urls = [client.script(WORK) for _ in range(MANY)]
            round_ = 0
            waiting = set(urls)
            deadline = time.monotonic() + 60 + 20 * MANY
            while waiting and time.monotonic() < deadline:
                victim = victims[round_] if round_ < len(victims) else chance.choice(victims)
                victim()
                round_ += 1
                time.sleep(chance.uniform(0, PAUSE))
                waiting = {url for url in waiting if _phase(client, url) not in ("COMPLETED", "ERROR", "ABORTED")}
                print(f"round {round_}: {len(waiting)} of {MANY} left")
            for url in urls:
                told = client.ended(url)
                assert told["phase"] == "COMPLETED", told["errorSummary"]
                content = client.http.get(f"{url}/results/result").text
                assert content == f"{job_id(url)}\n", "the command ran twice in one place"
            made = site_a.job_creations(NAMESPACE)
            handed = _handed_over(killed_database.url)
            for url in urls:
                mine = {name: count for name, count in made.items() if job_id(url) in name}
                attempts = client.json(url)["jobInfo"]["attempt"]
                expected = {f"uws-{job_id(url)}-{number}" for number in range(1, attempts + 1)}
                assert mine.keys() <= expected and set(mine.values()) <= {1}, mine
                for name in expected - mine.keys():
                    # Killed just then, the API server had stored the Job and not yet written of it in its log.
                    assert any(0 <= kill - handed[name] < 10 for kill in kills), f"{name} was never made"
            until(lambda: not _left(site_a, urls), "everything to be removed", 120)
    finally:
        server.stop()
        for component in ("kube-apiserver", "kubelet"):
            if not site_a.alive(component):
                site_a.start(component)


def _handed_over(database: str) -> dict[str, float]:
    """When each attempt went to its site, by its Job's name: from the service's accounts."""
    command = [sys.executable, "-m", "uws_service", "usage", "--records", "--json", "--database", database]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    records = [json.loads(line) for line in told]
    return {
        f"uws-{one['job_id']}-{one['number']}": datetime.fromisoformat(one["submitted"]).timestamp()
        for one in records
        if one["submitted"]
    }


def _phase(client: Client, url: str) -> str:
    """A job's phase; what can't be asked now is asked later."""
    try:
        answer = client.http.get(f"{url}/phase")
    except httpx2.HTTPError:
        return "?"
    return str(answer.text) if answer.status_code == 200 else "?"


def _left(site: Site, urls: list[str]) -> list[str]:
    ids = {job_id(url) for url in urls}
    items = site.get("jobs,pods", "-n", NAMESPACE)["items"]
    return [one["metadata"]["name"] for one in items if one["metadata"]["name"].split("-")[1] in ids]

"""Everything killed, at random, with jobs in flight.

Nothing lost, nothing twice, nothing left.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx2
import pytest

from tests.cluster.service import NAMESPACE, Client, ClusterServer, job_id, settings_of, until
from tests.databases import PostgreSQLServer
from tests.rig.site import Site

JOBS = int(os.environ.get("UWS_TEST_CHAOS_JOBS", "30"))
"""How many jobs are in flight."""
MAX_PAUSE_SECONDS = 6.0
"""Between two kills."""
MAX_DOWN_SECONDS = 2.0
MAX_LOG_DELAY_SECONDS = 10.0
"""For so long after it stored an object the API server may not have logged it."""
COMMAND = "sleep 2; echo $UWS_JOB_ID >> $UWS_OUTPUT_DIR/result"
COMPONENTS = ("kube-apiserver", "kubelet")


class Killer:
    """Kills parts, each once and then at random.

    The service, the API server, the kubelet and the database.
    """

    def __init__(
        self, server: ClusterServer, site: Site, database: PostgreSQLServer, random_source: random.Random
    ) -> None:
        self.api_server_kills: list[float] = []
        self._server = server
        self._site = site
        self._database = database
        self._random = random_source
        self._first: list[Callable[[], None]] = list(self._victims)

    @property
    def _victims(self) -> list[Callable[[], None]]:
        components = [partial(self._restart_component, component) for component in COMPONENTS]
        return [self._restart_service, *components, self._restart_database]

    def strike(self) -> None:
        """Kill and restart one of them."""
        victim = self._first.pop(0) if self._first else self._random.choice(self._victims)
        victim()
        time.sleep(self._random.uniform(0, MAX_PAUSE_SECONDS))

    def _restart_service(self) -> None:
        self._server.kill()
        self._server.start()

    def _restart_component(self, component: str) -> None:
        if component == "kube-apiserver":
            self.api_server_kills.append(time.time())
        self._site.kill(component)
        time.sleep(self._random.uniform(0, MAX_DOWN_SECONDS))
        self._site.start(component)

    def _restart_database(self) -> None:
        self._database.stop()
        time.sleep(self._random.uniform(0, MAX_DOWN_SECONDS))
        self._database.start()


@pytest.fixture
def killed_database() -> Iterator[PostgreSQLServer]:
    """Yield a database server to be killed."""
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
    seed = int(os.environ.get("UWS_TEST_SEED", time.time_ns() % 10**6))
    print(f"UWS_TEST_SEED={seed}")
    killer = Killer(server, site_a, killed_database, random.Random(seed))
    try:
        with server.client(user="ada") as client:
            urls = [client.script(COMMAND) for _ in range(JOBS)]
            _kill_until_ended(killer, client, urls)
            _check_results(client, urls)
            _check_attempts(client, urls, site_a, killed_database.url, killer.api_server_kills)
            until(lambda: not _remains(site_a, urls), "everything to be removed", 120)
    finally:
        server.stop()
        for component in COMPONENTS:
            if not site_a.alive(component):
                site_a.start(component)


def _kill_until_ended(killer: Killer, client: Client, urls: list[str]) -> None:
    unfinished = set(urls)
    deadline = time.monotonic() + 60 + 20 * JOBS
    while unfinished and time.monotonic() < deadline:
        killer.strike()
        unfinished = {url for url in unfinished if _phase(client, url) not in ("COMPLETED", "ERROR", "ABORTED")}
        print(f"{len(unfinished)} of {JOBS} jobs have not ended")


def _check_results(client: Client, urls: list[str]) -> None:
    """Check that every job ran once."""
    for url in urls:
        document = client.ended(url)
        assert document["phase"] == "COMPLETED", document["errorSummary"]
        content = client.http.get(f"{url}/results/result").text
        assert content == f"{job_id(url)}\n", "the command ran twice in one place"


def _check_attempts(client: Client, urls: list[str], site: Site, database: str, api_server_kills: list[float]) -> None:
    """Check that every attempt was one Job."""
    creations = site.job_creations(NAMESPACE)
    submissions = _submissions(database)
    for url in urls:
        counts = {name: count for name, count in creations.items() if job_id(url) in name}
        attempts = client.json(url)["jobInfo"]["attempt"]
        expected = {f"uws-{job_id(url)}-{number}" for number in range(1, attempts + 1)}
        assert counts.keys() <= expected and set(counts.values()) <= {1}, counts
        for name in expected - counts.keys():
            # Killed just then, the API server had stored the Job and not yet written of it in its log.
            delays = [kill - submissions[name] for kill in api_server_kills]
            assert any(0 <= delay < MAX_LOG_DELAY_SECONDS for delay in delays), f"{name} was never made"


def _submissions(database: str) -> dict[str, float]:
    """Return when each attempt was submitted.

    By its Job's name, from the service's accounts.
    """
    command = [sys.executable, "-m", "uws_service", "usage", "--records", "--json", "--database", database]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in output.splitlines()]
    return {
        f"uws-{record['job_id']}-{record['number']}": datetime.fromisoformat(record["submitted"]).timestamp()
        for record in records
        if record["submitted"]
    }


def _phase(client: Client, url: str) -> str:
    """Return a job's phase.

    "?" if it can't be asked now.
    """
    try:
        response = client.http.get(f"{url}/phase")
    except httpx2.HTTPError:
        return "?"
    return str(response.text) if response.status_code == 200 else "?"


def _remains(site: Site, urls: list[str]) -> list[str]:
    """Return the objects that are left."""
    ids = {job_id(url) for url in urls}
    names = [item["metadata"]["name"] for item in site.get("jobs,pods", "-n", NAMESPACE)["items"]]
    return [name for name in names if name.split("-")[1] in ids]

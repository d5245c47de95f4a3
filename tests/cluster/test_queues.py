"""Jobs in Kueue's queues.

Told why they wait, put back and started again, and each ended once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import site_named, with_service
from tests.cluster.service import NAMESPACE, Client, ClusterServer, is_gone, job_id, settings_of, until
from tests.rig import kueue
from tests.rig.site import Site

JOBS = int(os.environ.get("UWS_TEST_QUEUED_JOBS", "24"))
"""Jobs of the test with three owners; `make soak` takes 100."""
WORK = "sleep {}; echo $UWS_JOB_ID > $UWS_OUTPUT_DIR/result"
PREEMPTION = {"withinClusterQueue": "LowerPriority"}


def _queued(name: str) -> Iterator[Site]:
    for site in site_named(name, kueue=True):
        with_service(site)
        site.apply(*kueue.queue("astro", NAMESPACE, cpu=2, preemption=PREEMPTION))
        for priority, value in (("low", 1), ("high", 100)):
            site.apply(
                {
                    "apiVersion": "kueue.x-k8s.io/v1beta1",
                    "kind": "WorkloadPriorityClass",
                    "metadata": {"name": priority},
                    "value": value,
                }
            )
        yield site


def _waits(client: Client, url: str, words: str, ahead: int | None = None) -> Any:
    """Return a job's JSON if it says that it waits by these words, with so many jobs before it."""
    document = client.json(url)
    info = document["jobInfo"]
    return document if words in (info["waiting"] or "") and ahead in (None, info["ahead"]) else None


@pytest.fixture(scope="module")
def site_k() -> Iterator[Site]:
    """Yield a site with two queued CPUs."""
    yield from _queued("kueue")


@pytest.fixture(scope="module")
def site_l() -> Iterator[Site]:
    """Yield another one."""
    yield from _queued("kueue2")


def _settings(site: Site) -> dict[str, object]:
    classes = {"application:urgent": "high", "*": "low"}
    return settings_of(
        site, queue="astro", request_disk=False, priority_classes=classes, slots=200, schedule_patience=0
    )


@pytest.fixture
def server(site_k: Site, folder: Path) -> Iterator[ClusterServer]:
    server = ClusterServer(folder, [_settings(site_k)], site_k.host_address)
    server.start()
    yield server
    server.stop()
    # What a test that failed has left would hold the queue against the next one.
    site_k.kubectl("delete", "jobs", "--all", f"--namespace={NAMESPACE}", "--wait=false")


@pytest.fixture
def core(server: ClusterServer) -> Iterator[Client]:
    with server.client("core") as client:
        yield client


def test_why_it_waits(core: Client) -> None:
    """A held job is QUEUED, says what it waits for in words, and how many are before it."""
    busy = [core.script(WORK.format(600)) for _ in range(2)]
    for url in busy:
        core.wait(url, "EXECUTING")
    blockers = [core.script(WORK.format(0)) for _ in range(2)]
    for place, url in enumerate(blockers):
        words = "waiting for 1 more CPU in the queue astro"
        document = until(partial(_waits, core, url, words, place), f"{words}, with {place} ahead", 180)
        assert document["phase"] == "QUEUED"
    # Abort while it is held, delete while it is held: nothing is left, the other one starts.
    assert core.post(f"{blockers[0]}/phase", {"PHASE": "ABORT"}).status_code == 303
    assert core.http.delete(busy[0]).status_code == 303
    assert core.ended(blockers[1])["phase"] == "COMPLETED"
    assert core.http.delete(busy[1]).status_code == 303
    assert core.phase(blockers[0]) == "ABORTED"


@pytest.mark.parametrize("code", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_preempted(server: ClusterServer, core: Client, site_k: Site, code: int) -> None:
    """EXECUTING, SUSPENDED, EXECUTING again under the same attempt, and one set of results; whatever it answers."""
    heeding = f"trap 'exit {code}' TERM; sleep 15 & wait $!; echo $UWS_JOB_ID > $UWS_OUTPUT_DIR/result"
    low = [core.script(heeding) for _ in range(2)]
    for url in low:
        core.wait(url, "EXECUTING")
    with server.client("urgent") as urgent:
        urgent_job = urgent.script(WORK.format(3))
        put_back = until(lambda: [url for url in low if core.phase(url) == "SUSPENDED"], "a job to be put back", 180)
        assert len(put_back) == 1
        until(partial(_waits, core, put_back[0], "put back"), "it to say so", 180)
        document = urgent.ended(urgent_job)
        assert document["phase"] == "COMPLETED", document["errorSummary"]
    core.wait(put_back[0], "EXECUTING", "COMPLETED")
    for url in low:
        document = core.ended(url)
        assert document["phase"] == "COMPLETED", document["errorSummary"]
        assert document["jobInfo"]["attempt"] == 1 and [result["id"] for result in document["results"]] == ["result"]
        assert core.http.get(f"{url}/results/result").text.strip() == job_id(url)
        until(partial(is_gone, site_k, url), "the Job to go")


@pytest.mark.soak
def test_three_owners_two_sites(site_k: Site, site_l: Site, folder: Path) -> None:
    """More than the queues hold.

    All complete, none twice, and each was told why it waited.
    """
    server = ClusterServer(folder, [_settings(site_k), _settings(site_l)], "0.0.0.0")
    server.start()
    # Until then jobs are told that neither answers.
    until(lambda: server.log.read_text().count("site is reachable") == 2, "both sites to be reached")
    clients = [server.client("core", user) for user in ("ada", "ben", "eve")]
    try:
        urls = [(clients[index % 3], clients[index % 3].script(WORK.format(0))) for index in range(JOBS)]
        waited: dict[str, str] = {}
        for client, url in urls:
            if client.phase(url) == "QUEUED":
                waited[url] = str(client.json(url)["jobInfo"]["waiting"])
        for client, url in urls:
            document = client.ended(url, timeout=400)
            assert document["phase"] == "COMPLETED", document["errorSummary"]
            assert client.http.get(f"{url}/results/result").text.strip() == job_id(url)
            assert document["jobInfo"]["attempt"] == 1
        creations = site_k.job_creations(NAMESPACE) + site_l.job_creations(NAMESPACE)
        for _, url in urls:
            assert {name: count for name, count in creations.items() if job_id(url) in name} == {
                f"uws-{job_id(url)}-1": 1
            }
        assert len(waited) > JOBS // 2 and all(waited.values())
        assert any(re.search(r"more CPU|its turn|slot", words) for words in waited.values()), waited
    finally:
        for client in clients:
            client.http.close()
        server.stop()

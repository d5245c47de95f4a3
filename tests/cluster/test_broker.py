"""SRCNet's published client drives jobs in pods, with tokens of an issuer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
import requests
from ska_src_ef_broker_client import Broker

from tests.cluster.service import NAMESPACE, ClusterServer, settings_of
from tests.containers.test_client import refusal, until
from tests.issuers import NanoIdp
from tests.rig import images
from tests.rig.site import Site

Brokers = Callable[[str], Broker]
ABSENT = "docker.io/local/absent:test"


@pytest.fixture(scope="module")
def broker_service(site_a: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ClusterServer, NanoIdp]]:
    """Yield a service with the face, and its issuer."""
    with ExitStack() as stack:
        issuer = NanoIdp(tmp_path_factory.mktemp("issuer"))
        issuer.start()
        stack.callback(issuer.stop)
        rules = [
            {"repository": "docker.io/local/*", "groups": ["/ska/team"]},
            {"repository": "docker.io/local/uws-service", "tags": ["test"], "sites": ["a"]},
        ]
        server = ClusterServer(
            tmp_path_factory.mktemp("broker"),
            [settings_of(site_a, stage_out=10)],
            site_a.host_address,
            containers={"images": rules},
            srcnet_broker="container",
            auth={"issuers": [issuer.settings()]},
        )
        server.start()
        stack.callback(server.stop)
        yield server, issuer


@pytest.fixture
def broker_of(broker_service: tuple[ClusterServer, NanoIdp]) -> Brokers:
    """Return the client by the name of its user."""
    server, issuer = broker_service
    return lambda user: Broker(server.url, token=issuer.token(user), image=images.SERVICE)


def test_a_job_in_a_pod(broker_of: Brokers, broker_service: tuple[ClusterServer, NanoIdp], site_a: Site) -> None:
    """It has the resources that it asked for, its digest is recorded, and its results are there."""
    server, issuer = broker_service
    job = broker_of("bob").run(
        'echo "$GREETING"; id -u; echo 42 > $UWS_OUTPUT_DIR/answer; touch /x 2>&1 || echo read-only; sleep 5',
        cpu=1,
        memory=96,
        env={"GREETING": "good day"},
        pilot_resource="kubernetes",
    )
    assert until(job, "RUNNING", "COMPLETE") == "RUNNING"
    status = job.raw_status()
    backend = status["backend_details"]
    assert (backend["execution_backend"], backend["kubernetes_namespace"]) == ("kubernetes", NAMESPACE)
    (pod,) = json.loads(
        site_a.kubectl("-n", NAMESPACE, "get", "pods", "-l", f"job-name={backend['kubernetes_job_name']}", "-o", "json")
    )["items"]
    (container,) = pod["spec"]["containers"]
    assert container["image"] == images.SERVICE
    assert container["resources"]["limits"]["memory"] == str(96 * 2**20)
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    summary = job.wait(timeout=120, poll=1)
    assert (summary["state"], summary["run_site_id"]) == ("COMPLETE", "a"), summary
    assert "good day\n65534\n" in job.logs() and "read-only" in job.logs()
    status = job.raw_status()
    (running,) = pod["status"]["containerStatuses"]
    assert status["details"]["versions"]["digest"] == running["imageID"].rpartition("@")[2]
    (result,) = status["details"]["results"]
    answer = httpx2.get(result["href"], headers={"authorization": f"Bearer {issuer.token('bob')}"})
    assert (result["id"], answer.text) == ("answer", "42\n")
    assert server.url in status["details"]["uws_job"]


def test_an_input_is_where_the_broker_has_it(broker_of: Brokers, site_a: Site, tmp_path: Path) -> None:
    """At /srcnet/input, which is the input folder."""
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    (tmp_path / "data.txt").write_text("measured\n")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer((site_a.host_address, 0), handler) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        url = f"http://{site_a.host_address}:{files.server_address[1]}/data.txt"
        job = broker_of("bob").run("cat /srcnet/input/data.txt", input_url=url)
        assert job.wait(timeout=120, poll=1)["state"] == "COMPLETE", job.raw_status()
        files.shutdown()
    assert "measured" in job.logs()


def test_failures_and_refusals(broker_of: Brokers) -> None:
    """A code, too much memory, an image that is not there, one that is not allowed."""
    job = broker_of("bob").run("echo no avail; exit 3")
    assert job.wait(timeout=120, poll=1)["state"] == "EXECUTOR_ERROR"
    assert "no avail" in job.logs()
    greedy = broker_of("bob").run("python -c 'bytearray(500 * 2**20)'", memory=64)
    summary = greedy.wait(timeout=120, poll=1)
    assert (summary["state"], summary["progress_substage"]) == ("EXECUTOR_ERROR", "out_of_memory")
    absent = broker_of("alice").run("true", image=ABSENT).wait(timeout=120, poll=1)
    assert (absent["state"], absent["progress_substage"]) == ("SYSTEM_ERROR", "image")
    with pytest.raises(requests.HTTPError) as error:
        broker_of("bob").run("true", image=ABSENT)
    status, detail = refusal(error)
    assert status == 400 and detail.endswith("allowed for you: docker.io/local/uws-service:test at a.")


def test_the_list_of_jobs_in_pods(broker_of: Brokers) -> None:
    """One's own jobs, newest first, by state, with where they ran."""
    broker = broker_of("carol")
    states = {"true": "COMPLETE", "exit 3": "EXECUTOR_ERROR", "sleep 600": "RUNNING"}
    jobs = []
    for command, state in states.items():  # in turn: the machine has no room for three
        jobs.append(broker.run(command))
        assert until(jobs[-1], state) == state
    assert [item["job_id"] for item in broker.jobs()] == [job.job_id for job in reversed(jobs)]
    for job, state in zip(jobs, states.values(), strict=True):
        (item,) = broker.jobs(state=state)
        assert (item["job_id"], item["state"]) == (job.job_id, state)
    assert not any(item["job_id"] == jobs[0].job_id for item in broker_of("bob").jobs())
    assert jobs[2].cancel()["state"] == "CANCELED"
    assert [item["job_id"] for item in broker.jobs(state="CANCELED")] == [jobs[2].job_id]


def test_a_job_in_a_pod_is_canceled(broker_of: Brokers, site_a: Site) -> None:
    job = broker_of("bob").run("sleep 600")
    assert until(job, "RUNNING") == "RUNNING"
    name = job.raw_status()["backend_details"]["kubernetes_job_name"]
    assert job.cancel()["state"] == "CANCELED" == job.state
    deadline = time.monotonic() + 60
    while name in site_a.kubectl("-n", NAMESPACE, "get", "jobs", "-o", "name"):
        assert time.monotonic() < deadline, "the Job is still there"
        time.sleep(0.5)

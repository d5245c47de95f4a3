"""Jobs that must leave while their command answers SIGTERM with 0, for real: none is COMPLETED for that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.service import NAMESPACE, Client, ClusterServer, objects, settings_of, until
from tests.rig.site import Site

OBLIGING = (
    "trap 'exit 0' TERM; echo begun > $UWS_OUTPUT_DIR/result; echo ready; sleep 15 & wait $!; "
    "echo whole >> $UWS_OUTPUT_DIR/result"
)
"""Ends well when it is asked to end, as a program with checkpoints does."""


@pytest.fixture(scope="module")
def server(site_a: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServer]:
    """Yield a service that waits as long as there is no machine."""
    sites = [settings_of(site_a, schedule_patience=0)]
    server = ClusterServer(tmp_path_factory.mktemp("service"), sites, site_a.host_address)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def shell(server: ClusterServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


def _evict(site: Site, pod: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    site.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body))


def _delete_pod(site: Site, pod: str) -> None:
    site.kubectl("delete", "pod", "-n", NAMESPACE, pod, "--wait=false")


def _delete_job(site: Site, pod: str) -> None:
    (owner,) = site.get("pod", pod, "-n", NAMESPACE)["metadata"]["ownerReferences"]
    site.kubectl("delete", "job", "-n", NAMESPACE, owner["name"], "--wait=false")


def _drain(site: Site, pod: str) -> None:
    node = site.get("pod", pod, "-n", NAMESPACE)["spec"]["nodeName"]
    try:
        site.kubectl(
            "drain", node, f"--pod-selector={_label(site, pod)}", "--force", "--delete-emptydir-data", "--timeout=60s"
        )
    finally:
        site.kubectl("uncordon", node)


def _label(site: Site, pod: str) -> str:
    labels = site.get("pod", pod, "-n", NAMESPACE)["metadata"]["labels"]
    return f"uws-service/job={labels['uws-service/job']}"


def _taint(site: Site, pod: str) -> None:
    node = site.get("pod", pod, "-n", NAMESPACE)["spec"]["nodeName"]
    site.kubectl("taint", "nodes", node, "broken=yes:NoExecute")
    try:
        until(lambda: _is_leaving(site, pod), "the pod to be told to leave")
    finally:
        site.kubectl("taint", "nodes", node, "broken-")


def _is_leaving(site: Site, pod: str) -> bool:
    pods = [item for item in site.get("pods", "-n", NAMESPACE)["items"] if item["metadata"]["name"] == pod]
    return not pods or "deletionTimestamp" in pods[0]["metadata"]


@pytest.mark.parametrize(
    ("put_out", "reasons"),
    [
        pytest.param(_evict, {"Evicted"}, id="evicted"),
        pytest.param(_drain, {"Evicted"}, id="drained", marks=pytest.mark.soak),
        pytest.param(_taint, {"NodeLost"}, id="tainted", marks=pytest.mark.soak),
        pytest.param(_delete_pod, {"Deleted"}, id="pod deleted"),
        pytest.param(_delete_job, {"Deleted"}, id="Job deleted", marks=pytest.mark.soak),
    ],
)
def test_put_out(shell: Client, site_a: Site, put_out: Callable[[Site, str], None], reasons: set[str]) -> None:
    """The attempt is lost.

    Another one gives the whole result.
    """
    url = shell.script(OBLIGING)
    shell.wait(url, "EXECUTING")
    until(lambda: "ready" in shell.log(url), "the command")
    put_out(site_a, objects(site_a, "pods", url)[0]["metadata"]["name"])
    document: Any = shell.ended(url, timeout=180)
    assert document["phase"] == "COMPLETED", document["errorSummary"]
    assert shell.http.get(f"{url}/results/result").text == "begun\nwhole\n"
    assert (
        document["jobInfo"]["attempt"] == 2
        and {attempt["reason"] for attempt in document["jobInfo"]["lost"]} <= reasons
    ), document


def test_a_process_of_the_command_runs_out_of_memory(shell: Client) -> None:
    """The kernel ends the process, or with it the whole container: either is told."""
    url = shell.script(
        "sh -c 'exec dd if=/dev/zero of=/dev/null bs=200M count=1'; echo x > $UWS_OUTPUT_DIR/result; true"
    )
    document = shell.ended(url)
    if document["phase"] == "COMPLETED":
        assert "more memory" in document["jobInfo"]["message"], document["jobInfo"]
    else:
        assert document["errorSummary"]["reason"] == "OutOfMemory", document["errorSummary"]

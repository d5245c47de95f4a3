"""Everything that can go wrong in a pod, done for real: the reason, and words that a person understands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.service import NAMESPACE, Client, ClusterServer, objects, until
from tests.rig.site import Site


@pytest.fixture
def shell(service: ClusterServer) -> Iterator[Client]:
    with service.client() as client:
        yield client


def _error(client: Client, url: str, phase: str = "ERROR") -> tuple[str, str]:
    """Return reason and message of a failure."""
    document = client.ended(url)
    assert document["phase"] == phase, document["errorSummary"]
    words = str(document["errorSummary"]["message"])
    for jargon in ("kubelet", "BackoffLimit", "sidecar", "initContainer", "OOMKilled", "emptyDir", "CrashLoop"):
        assert jargon not in words
    return str(document["errorSummary"]["reason"]), words


def test_exit_code(shell: Client) -> None:
    """The user's own failure is never tried again.

    Its last words are in the message.

    Both lines go to one stream: the container runtime does not keep the order between two.
    """
    url = shell.script("echo first >&2; echo the last word >&2; exit 3")
    reason, words = _error(shell, url)
    assert reason == "ExitCode" and "exit code 3" in words and "the last word" in words
    assert shell.json(url)["jobInfo"]["attempt"] == 1
    error = shell.http.get(f"{url}/error")
    assert "the last word" in error.text


def test_out_of_memory(shell: Client) -> None:
    url = shell.script("exec dd if=/dev/zero of=/dev/null bs=200M count=1")
    reason, words = _error(shell, url)
    assert reason == "OutOfMemory" and "memory" in words


def test_missing_image(service: ClusterServer) -> None:
    with service.client("ghost") as client:
        reason, words = _error(client, client.create({"PHASE": "RUN"}))
    assert reason == "Image" and "image can't be had" in words


def test_no_room_anywhere(service: ClusterServer) -> None:
    """It says why, then gives up."""
    with service.client("giant") as client:
        url = client.create({"PHASE": "RUN"})
        until(lambda: "cpu" in str(client.json(url)["jobInfo"]["waiting"]).lower(), "the reason for waiting")
        reason, words = _error(client, url)
    assert reason == "Unschedulable" and "cpu" in words


def test_no_such_command(service: ClusterServer) -> None:
    with service.client("absent") as client:
        reason, words = _error(client, client.create({"PHASE": "RUN"}))
    assert reason == "Command" and "could not be started" in words


def test_execution_duration(shell: Client) -> None:
    """Counted from the command's start (U-137)."""
    url = shell.create({"SCRIPT": "sleep 100"})
    assert shell.post(f"{url}/executionduration", {"EXECUTIONDURATION": "3"}).status_code == 303
    shell.run(url)
    reason, words = _error(shell, url, "ABORTED")
    assert reason == "Deadline" and "3 s" in words


def test_result_that_was_not_written(service: ClusterServer) -> None:
    with service.client("strict") as client:
        reason, words = _error(client, client.script("true"))
    assert reason == "StageOut" and "did not write" in words


def test_too_much_output(shell: Client) -> None:
    """More than the application may write.

    Its agent sees it.
    """
    url = shell.script("head -c 30000000 /dev/zero > $UWS_OUTPUT_DIR/result; sleep 100")
    reason, words = _error(shell, url)
    assert reason == "OutputTooLarge" and "results are larger than 10000000 bytes" in words


def test_too_many_working_files(shell: Client) -> None:
    """The agent can't see these; the machine does."""
    url = shell.script("head -c 60000000 /dev/zero > large; sleep 110")
    reason, words = _error(shell, url)
    assert reason == "OutputTooLarge" and "working files are larger than" in words


def test_input_that_can_not_be_fetched(shell: Client, service: ClusterServer) -> None:
    url = shell.create({"FILE": f"{service.url}/nowhere", "PHASE": "RUN"})
    reason, words = _error(shell, url)
    assert reason == "StageIn" and "404" in words and "FILE" in words


LONGER = "echo begun; sleep 20; echo x > $UWS_OUTPUT_DIR/result"
"""Longer than a pod has to end once it was asked to, so that it can't end well all the same."""


def _second_attempt(client: Client, url: str, reason: str) -> Any:
    """Wait for a second attempt of a job."""
    document = until(
        lambda: (current := client.json(url))["jobInfo"]["attempt"] == 2 and current, "a second attempt", seconds=120
    )
    assert [attempt["reason"] for attempt in document["jobInfo"]["lost"]] == [reason], document["jobInfo"]
    return document


@pytest.mark.soak
def test_pod_deleted(shell: Client, site_a: Site) -> None:
    """Somebody deletes the pod.

    Another attempt, the same job.
    """
    url = shell.script(LONGER)
    shell.wait(url, "EXECUTING")
    site_a.kubectl(
        "delete", "pod", "-n", NAMESPACE, objects(site_a, "pods", url)[0]["metadata"]["name"], "--wait=false"
    )
    _second_attempt(shell, url, "Deleted")
    assert shell.ended(url)["phase"] == "COMPLETED"


@pytest.mark.soak
def test_job_deleted(shell: Client, site_a: Site) -> None:
    """Somebody deletes the Job."""
    url = shell.script(LONGER)
    shell.wait(url, "EXECUTING")
    site_a.kubectl(
        "delete", "job", "-n", NAMESPACE, objects(site_a, "jobs", url)[0]["metadata"]["name"], "--wait=false"
    )
    _second_attempt(shell, url, "Deleted")
    assert shell.ended(url)["phase"] == "COMPLETED"


def test_evicted(shell: Client, site_a: Site) -> None:
    """The site asks the pod to leave."""
    url = shell.script(LONGER)
    shell.wait(url, "EXECUTING")
    name = objects(site_a, "pods", url)[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    site_a.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))
    _second_attempt(shell, url, "Evicted")
    assert shell.ended(url)["phase"] == "COMPLETED"

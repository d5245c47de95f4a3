"""Jobs that run as Kubernetes Jobs.

The whole life cycle, on a real cluster.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pyvo
from astropy.table import Table

from tests.cluster.service import NAMESPACE, Client, ClusterServer, is_gone, job_id, objects, until
from tests.rig.site import Site

ALFALFA = Path(__file__).resolve().parents[2] / "uws_service/apps/data/alfalfa.csv"


@pytest.fixture
def shell(service: ClusterServer) -> Iterator[Client]:
    with service.client() as client:
        yield client


def test_crossmatch_by_pyvo(service: ClusterServer) -> None:
    """The demonstration's job, in a pod.

    Results, log, times and jobInfo are right.
    """
    with service.client("crossmatch") as client:
        answer = client.post(
            client.jobs,
            {"UPLOAD": "mine,param:table", "RADIUS": "60", "PHASE": "RUN", "RESPONSEFORMAT": "votable"},
            files={"table": ("alfalfa.csv", ALFALFA.read_bytes(), "text/csv")},
        )
        url = answer.headers["location"]
        job = pyvo.dal.AsyncTAPJob(url)
        job.wait(phases=["COMPLETED", "ERROR", "ABORTED"], timeout=120)
        assert job.phase == "COMPLETED", client.json(url)["errorSummary"]
        table = Table.read(io.BytesIO(client.http.get(job.result_uri).content), format="votable")
        assert len(table) > 0
        document = client.json(url)
        times = [datetime.fromisoformat(document[name]) for name in ("creationTime", "startTime", "endTime")]
        assert times == sorted(times)
        assert document["jobInfo"]["site"] == "a" and document["jobInfo"]["attempt"] == 1
        assert client.http.get(f"{url}/logs/stdout").status_code == 200


def test_results_go_as_they_are_closed(shell: Client, service: ClusterServer) -> None:
    """While the command still runs they are in the depot; what is written again afterwards is what counts."""
    url = shell.script("echo early > $UWS_OUTPUT_DIR/result; sleep 10; echo late > $UWS_OUTPUT_DIR/result")
    depot = service.folder / "data" / "depot" / "jobs" / job_id(url)
    until(lambda: "early\n" in {path.read_text() for path in depot.rglob("result")}, "the result")
    assert shell.phase(url) == "EXECUTING"
    document = shell.ended(url)
    assert document["phase"] == "COMPLETED", document["errorSummary"]
    assert shell.http.get(f"{url}/results/result").text == "late\n"
    assert document["results"][0]["sha256"] == hashlib.sha256(b"late\n").hexdigest()


def test_results_and_log(shell: Client, site_a: Site) -> None:
    """Files of any name come out with their digests.

    Nothing of the job is left in the cluster.
    """
    url = shell.script(
        "echo said; echo complained >&2; echo 42 > $UWS_OUTPUT_DIR/result; mkdir $UWS_OUTPUT_DIR/more;"
        "head -c 3000000 /dev/urandom > $UWS_OUTPUT_DIR/more/big; echo 0.5 half way > $UWS_PROGRESS_FILE; sleep 2"
    )
    document = shell.ended(url)
    assert document["phase"] == "COMPLETED", document["errorSummary"]
    assert {result["id"]: result["size"] for result in document["results"]} == {"result": 3, "big": 3_000_000}
    for result in document["results"]:
        content = shell.http.get(f"{url}/results/{result['id']}").content
        assert hashlib.sha256(content).hexdigest() == result["sha256"]
    assert sorted(shell.log(url).split()) == ["complained", "said"]
    assert document["jobInfo"]["message"] == "half way"
    until(lambda: not objects(site_a, "jobs,pods", url), "the Job and its pod to be removed")
    assert site_a.audited("create", namespace=NAMESPACE)[f"uws-{job_id(url)}-1"] == 1


def test_usage(shell: Client, service: ClusterServer) -> None:
    """What a command used is measured in its container, also of one that is killed for its memory."""
    urls = [
        shell.script(
            "dd if=/dev/zero of=/dev/null bs=40M count=20 2>/dev/null; sleep 2; echo > $UWS_OUTPUT_DIR/result"
        ),
        shell.script("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 7; x=x; while true; do x=$x$x; done"),
    ]
    phases = {job_id(url): shell.ended(url)["phase"] for url in urls}
    assert list(phases.values()) == ["COMPLETED", "ERROR"]

    def records() -> dict[str, dict[str, Any]]:
        command = [sys.executable, "-m", "uws_service", "usage", "--records", "--json", "--data"]
        listing = subprocess.run([*command, str(service.folder / "data")], capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in listing.stdout.splitlines()]
        return {record["job_id"]: record for record in lines if record["job_id"] in phases}

    def known() -> list[dict[str, Any]]:
        found_records = records()
        return [
            found_records[phase] for phase in phases if phase in found_records and found_records[phase]["peak_memory"]
        ]

    completed, killed = until(lambda: len(document := known()) == 2 and document, "their accounts")
    assert completed["wall"] >= 2 and completed["peak_memory"] > 40 * 2**20 and completed["bytes_out"] == 1
    assert killed["reason"] == "OutOfMemory" and killed["cpu"] > 0.1 and killed["memory_requested"] > 0


def test_inputs(shell: Client) -> None:
    """Uploads, fetched files and parameters lie where they should.

    Can't be changed.
    """
    script = "cat $UWS_INPUT_DIR/uploads/t $UWS_INPUT_DIR/files/FILE $UWS_INPUT_DIR/parameters.json; "
    script += "touch $UWS_INPUT_DIR/x 2>/dev/null || echo read-only"
    answer = shell.post(
        shell.jobs,
        {"UPLOAD": "t,param:one", "SCRIPT": script, "PHASE": "RUN"},
        files={"one": ("t.txt", b"table\n"), "FILE": ("f.txt", b"file\n")},
    )
    url = answer.headers["location"]
    document = shell.ended(url)
    assert document["phase"] == "COMPLETED", document["errorSummary"]
    lines = shell.log(url).splitlines()
    assert lines[:2] == ["table", "file"] and "SCRIPT" in lines[2] and lines[2].endswith("read-only")


def test_odd_values_arrive_as_they_are(shell: Client) -> None:
    """What Kubernetes would expand or what a shell would read is only text."""
    url = shell.script("echo '$(UWS_JOB_ID) $$ ${HOME} `id`' \"$UWS_JOB_ID\"")
    assert shell.ended(url)["phase"] == "COMPLETED"
    assert shell.log(url) == f"$(UWS_JOB_ID) $$ ${{HOME}} `id` {job_id(url)}\n"


def test_live_log_and_progress(shell: Client) -> None:
    """While it runs, its log and its progress can be read."""
    url = shell.script("echo early; echo 0.25 a quarter > $UWS_PROGRESS_FILE; sleep 60")
    shell.wait(url, "EXECUTING")
    until(lambda: "early" in shell.log(url), "the log of a running job")
    until(lambda: shell.json(url)["jobInfo"]["progress"] == 0.25, "its progress")
    assert shell.post(f"{url}/phase", {"PHASE": "ABORT"}).status_code == 303


def test_abort(shell: Client, site_a: Site) -> None:
    """An abort ends the pod.

    What was complete stays, what was being written does not (U-107).
    """
    url = shell.script(
        "trap 'echo asked to end; exit 3' TERM; mkdir $UWS_OUTPUT_DIR/more; echo done > $UWS_OUTPUT_DIR/more/done;"
        "exec 3> $UWS_OUTPUT_DIR/result; echo half >&3; sleep 3; echo started; while true; do sleep 0.2; done"
    )
    shell.wait(url, "EXECUTING")
    until(lambda: "started" in shell.log(url), "the command to have begun")
    assert shell.post(f"{url}/phase", {"PHASE": "ABORT"}).status_code == 303
    assert shell.phase(url) == "ABORTED"
    until(lambda: not objects(site_a, "jobs,pods", url), "the pod to end")
    document = until(lambda: (current := shell.json(url))["results"] and current, "the results to be kept")
    assert [result["id"] for result in document["results"]] == ["done"]
    assert "started" in shell.log(url)


def test_delete_while_running(shell: Client, site_a: Site) -> None:
    """A deleted job leaves nothing anywhere."""
    url = shell.script("sleep 600")
    shell.wait(url, "EXECUTING")
    assert shell.http.delete(url).status_code == 303
    assert shell.http.get(url).status_code == 404
    until(lambda: not objects(site_a, "jobs,pods", url), "the pod to end")


def test_abort_before_it_starts(shell: Client, site_a: Site) -> None:
    """A job that is aborted at once leaves nothing either."""
    urls = [shell.script("sleep 600") for _ in range(3)]
    for url in urls:
        assert shell.post(f"{url}/phase", {"PHASE": "ABORT"}).status_code == 303
    for url in urls:
        assert shell.phase(url) == "ABORTED"
        until(partial(is_gone, site_a, url), "the Job to go")

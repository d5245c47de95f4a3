"""The application `container` as a UWS service, and the same jobs through both faces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2
from ska_src_ef_broker_client import Broker

from tests.containers.conftest import TEAM_TOOL, TOOL

Brokers = Callable[[str], Broker]
Clients = Callable[[str], httpx2.Client]
JSON = {"accept": "application/json"}


def ended(http: httpx2.Client, files: dict[str, Any] | None = None, **form: str | list[str]) -> dict[str, Any]:
    """Run a job to its end.

    Return its document.
    """
    answer = http.post("/container/async", data={"PHASE": "RUN", **form}, files=files)
    assert answer.status_code == 303, answer.text
    job = answer.headers["location"]
    deadline = time.monotonic() + 120
    while (document := http.get(job, headers=JSON).json())["phase"] not in ("COMPLETED", "ERROR", "ABORTED"):
        assert time.monotonic() < deadline, document
        time.sleep(0.1)
    return {**document, "url": job}


def test_files_come_and_results_go(http_of: Clients, broker_of: Brokers) -> None:
    """Words stay words; inputs lie where they should; patterns choose results."""
    http = http_of("alice")
    script = (
        "cat ${UWS_INPUT_DIR}/in/a.txt > $UWS_OUTPUT_DIR/b.txt; "
        'echo "$0|$1" > $UWS_OUTPUT_DIR/c.log; touch $UWS_OUTPUT_DIR/x'
    )
    job = ended(
        http,
        IMAGE=TOOL,
        COMMAND=["sh", "-c", script, "two words", "$HOME; false"],
        INPUT="in/a.txt,param:mine",
        OUTPUT=["*.txt", "c.log"],
        MEMORY="64MiB",
        CPU="0.5",
        files={"mine": ("anything.txt", b"from the client\n")},
    )
    assert job["phase"] == "COMPLETED", job
    results = {result["id"]: http.get(result["href"]).text for result in job["results"]}
    assert results == {"b.txt": "from the client\n", "c.log": "two words|$HOME; false\n"}
    assert not job["jobInfo"]["notices"]
    status = broker_of("alice").job(str(job["jobId"])).raw_status()
    assert (status["job_id"], status["state"]) == (job["jobId"], "COMPLETE")
    assert [result["id"] for result in status["details"]["results"]] == ["b.txt", "c.log"]


def test_an_image_that_is_not_allowed_is_an_error_of_the_job(http_of: Clients) -> None:
    """UWS has it so: the error says what is allowed."""
    job = ended(http_of("bob"), IMAGE=TEAM_TOOL, COMMAND="true")
    assert job["phase"] == "ERROR"
    message = job["errorSummary"]["message"]
    assert "is not allowed here; allowed for you: registry.example.org/tools/*;" in message


def test_a_result_that_is_missing(http_of: Clients) -> None:
    job = ended(http_of("alice"), IMAGE=TOOL, COMMAND="true", OUTPUT="*.fits")
    assert job["phase"] == "ERROR"
    assert "did not write the result" in job["errorSummary"]["message"]


def test_at_another_path_no_local_site_has_inputs(http_of: Clients) -> None:
    job = ended(http_of("alice"), IMAGE=TOOL, COMMAND="true", INPUT_MOUNT="/data")
    assert job["phase"] == "ERROR"
    assert "shows inputs at the path of the input folder alone" in job["errorSummary"]["message"]


def test_a_job_that_was_not_started(http_of: Clients, broker_of: Brokers) -> None:
    """It is PENDING for both, until it is run over UWS."""
    http = http_of("carol")
    job = http.post("/container/async", data={"IMAGE": TOOL, "COMMAND": "true"}).headers["location"]
    name = job.rpartition("/")[2]
    status = broker_of("carol").job(name).raw_status()
    assert (status["state"], status["status_reason"], status["backend_details"]) == ("PENDING", "not_started", {})
    assert broker_of("carol").job(name).cancel()["state"] == "CANCELED"


def test_a_synchronous_request(http_of: Clients) -> None:
    """The first result is the answer."""
    form = {"IMAGE": TOOL, "COMMAND": ["sh", "-c", "echo $A > $UWS_OUTPUT_DIR/answer"], "ENV": "A=forty two"}
    answer = http_of("alice").post("/container/sync", data=form)
    assert (answer.status_code, answer.text) == (200, "forty two\n")
    refused = http_of("alice").post("/container/sync", data={**form, "CPU": "100"})
    assert refused.status_code == 400 and "CPU=100 is not allowed" in refused.text

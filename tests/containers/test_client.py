"""SRCNet's published client, unchanged, drives the service."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import requests
from ska_src_ef_broker_client import Broker, Job

from tests.containers.conftest import ABSENT, ELSEWHERE, TEAM_TOOL

Brokers = Callable[[str], Broker]
Clients = Callable[[str], httpx2.Client]


def until(job: Job, *states: str, seconds: float = 120) -> str:
    """Wait for one of the states; return it."""
    deadline = time.monotonic() + seconds
    while (state := job.state) not in states:
        assert time.monotonic() < deadline, job.raw_status()
        time.sleep(0.1)
    return state


def refusal(error: pytest.ExceptionInfo[requests.HTTPError]) -> tuple[int, str]:
    """Return status and detail of a refused call."""
    return error.value.response.status_code, error.value.response.json()["detail"]


def test_a_job_from_submission_to_its_logs(broker_of: Brokers, http_of: Clients) -> None:
    """All of it by the client's own id, and the same job is there as a UWS job."""
    broker = broker_of("alice")
    assert broker.is_ready() and broker.client.healthz().status_code == 200
    job = broker.run('cat /image; echo "$GREETING" >&2; echo 42 > $UWS_OUTPUT_DIR/answer', env={"GREETING": "a=b, c"})
    assert job.job_id.startswith("job-")
    summary = job.wait(timeout=120, poll=1, verbose=True)
    assert (summary["state"], summary["run_site_id"], summary["execution_backend"]) == ("COMPLETE", "local", "local")
    assert summary["next_action"] == "Collect outputs and verify expected artifacts"
    assert job.succeeded()
    logs = job.logs()
    assert "registry.example.org/tools/app:1" in logs and "a=b, c" in logs
    status = job.raw_status()
    assert status["events"][0]["phase"] == "QUEUED"
    assert status["progress"]["stage"] == "finished"
    (result,) = status["details"]["results"]
    uws = http_of("alice").get(status["details"]["uws_job"], headers={"accept": "application/json"}).json()
    assert (uws["phase"], uws["runId"], uws["jobId"]) == ("COMPLETED", job.job_id, status["run_id"])
    assert uws["jobInfo"]["versions"]["image"] == "registry.example.org/tools/app:1"
    assert http_of("alice").get(result["href"]).text == "42\n"


def test_a_budget_is_402(broker_of: Brokers) -> None:
    """The group of this user has a cent: the client gets what is missing, and no job is left."""
    broker = broker_of("dave")
    for _ in range(2):
        with pytest.raises(requests.HTTPError) as refused:
            broker.run("true")
        status, detail = refusal(refused)
        assert status == 402
        assert "has 0.01 EUR left" in detail and "EUR are missing" in detail
    assert broker.jobs() == []


def test_the_list(broker_of: Brokers) -> None:
    """Newest first, by state, in parts."""
    broker = broker_of("carol")
    jobs = [broker.run("true") for _ in range(3)]
    for job in jobs:
        until(job, "COMPLETE")
    failed = broker.run("false")
    until(failed, "EXECUTOR_ERROR")
    expected = [failed.job_id, *[job.job_id for job in reversed(jobs)]]
    assert [item["job_id"] for item in broker.jobs()] == expected
    assert [item["job_id"] for item in broker.jobs(state="COMPLETE")] == expected[1:]
    assert [item["job_id"] for item in broker.jobs(state="EXECUTOR_ERROR")] == expected[:1]
    assert broker.jobs(state="CANCELED") == broker.jobs(state="DISPATCHED") == []
    pages = [broker.client.list_jobs(limit=2, offset=offset).json()["jobs"] for offset in (0, 2, 4)]
    assert [[item["job_id"] for item in part] for part in pages] == [expected[:2], expected[2:], []]
    pages = [broker.client.list_jobs(state="COMPLETE", limit=2, offset=offset).json()["jobs"] for offset in (0, 2)]
    assert [[item["job_id"] for item in part] for part in pages] == [expected[1:3], expected[3:]]


def test_a_job_that_fails_tells_why(broker_of: Brokers) -> None:
    job = broker_of("alice").run("echo to no avail >&2; exit 3")
    summary = job.wait(timeout=120, poll=1)
    assert (summary["state"], summary["status_reason"]) == ("EXECUTOR_ERROR", "executor_error")
    assert "code 3" in summary["last_error"]
    assert summary["progress_substage"] == "exit_code"
    assert "to no avail" in job.logs()
    assert job.next_action() == "Inspect the run's stderr and backend worker logs for root cause"


def test_a_time_limit(broker_of: Brokers) -> None:
    job = broker_of("alice").run("sleep 600", timeout=1)
    summary = job.wait(timeout=120, poll=1)
    assert (summary["state"], summary["status_reason"]) == ("FAILED", "timeout")


def test_a_job_is_canceled_while_it_runs(broker_of: Brokers) -> None:
    """What runs is gone with it; a second cancel changes nothing, one of an ended job is refused."""
    broker = broker_of("alice")
    job = broker.run("echo begun; sleep 600")
    broker.client.wait_for_submission(job.job_id, timeout_s=60, poll_s=1)
    until(job, "RUNNING")
    deadline = time.monotonic() + 60
    while "begun" not in job.logs():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert job.cancel()["state"] == "CANCELED"
    assert job.state == "CANCELED" == job.cancel()["state"]
    ended = broker.run("true")
    until(ended, "COMPLETE")
    with pytest.raises(requests.HTTPError) as error:
        ended.cancel()
    assert refusal(error) == (409, "The job has ended (COMPLETE); it can't be canceled.")


def test_a_repeated_submission_is_one_job(broker_of: Brokers) -> None:
    """The same id with another command is refused."""
    broker = broker_of("alice")
    job = broker.run("true", job_id="analysis-7")
    until(job, "COMPLETE")
    assert broker.run("true", job_id="analysis-7").raw_status()["run_id"] == job.raw_status()["run_id"]
    assert len([item for item in broker.jobs() if item["job_id"] == "analysis-7"]) == 1
    with pytest.raises(requests.HTTPError) as error:
        broker.run("false", job_id="analysis-7")
    assert refusal(error) == (409, "You have another job 'analysis-7'; choose another id.")


def test_images_are_allowed_by_group_and_site(broker_of: Brokers) -> None:
    """What nobody allows is refused with what is allowed, before there is a job."""
    until(broker_of("alice").run("true", image=TEAM_TOOL), "COMPLETE")
    with pytest.raises(requests.HTTPError) as error:
        broker_of("bob").run("true", image=TEAM_TOOL, job_id="not-bobs")
    status, detail = refusal(error)
    assert status == 400
    assert detail == (
        "IMAGE='registry.example.org/team/app:1' is not allowed here; allowed for you: registry.example.org/tools/*; "
        "registry.example.org/elsewhere/app at bare."
    )
    assert not any(item["job_id"] == "not-bobs" for item in broker_of("bob").jobs())
    with pytest.raises(requests.HTTPError) as error:
        broker_of("bob").job("not-bobs").raw_status()
    assert refusal(error)[0] == 404


def test_no_site_takes_a_job(broker_of: Brokers) -> None:
    """An image that is allowed only where none runs, and a kind of site that is not there."""
    summary = broker_of("alice").run("true", image=ELSEWHERE).wait(timeout=60, poll=1)
    assert (summary["state"], summary["status_reason"]) == ("FAILED", "no_compatible_sites")
    assert "bare: it runs no container images" in summary["last_error"]
    assert "local: its image is not allowed there" in summary["last_error"]
    summary = broker_of("alice").run("true", pilot_resource="slurm").wait(timeout=60, poll=1)
    assert (summary["state"], summary["status_reason"]) == ("FAILED", "no_compatible_sites")
    assert "local: it is of the kind local, not slurm" in summary["last_error"]


def test_data_sets_are_inputs(broker_of: Brokers) -> None:
    """One that this machine has, one that nobody knows."""
    broker = broker_of("alice")
    job = broker.run('cat "$UWS_INPUT_DIR"/data/DATASET/*', dids=["lake:words"])
    assert job.wait(timeout=120, poll=1)["state"] == "COMPLETE", job.raw_status()
    assert "from the lake" in job.logs()
    summary = broker.run("true", dids=["lake:words", "lake:nothing"]).wait(timeout=120, poll=1)
    assert (summary["state"], summary["status_reason"]) == ("FAILED", "preselection_failed")
    assert "lake:nothing" in summary["last_error"]


def test_an_image_that_can_not_be_had(broker_of: Brokers) -> None:
    summary = broker_of("alice").run("true", image=ABSENT).wait(timeout=60, poll=1)
    assert summary["state"] == "EXECUTOR_ERROR"


@pytest.mark.parametrize(
    ("call", "detail"),
    [
        ({"cpu": 5}, "CPU=5 is not allowed; a job may have at most 4 cores."),
        ({"gpu": 1}, "GPUS=1 is not allowed; a job may have at most 0 GPUs."),
        ({"memory": 10**6}, "MEMORY='1048576000000' is 1048576000000 bytes; a job may have"),
        ({"output_url": "dav://storm.example.org/sa"}, "--output is not supported: results are taken from"),
        ({"input_url": "dav://storm.example.org/sa"}, "--input='dav://storm.example.org/sa' is not supported"),
        ({"dids": "product"}, "rucio_dids: 'product' is no data identifier, which is scope:name."),
        ({"extra_params": {"--dask": "true"}}, "--dask is not supported: there are no Dask clusters here"),
        ({"extra_params": {"--fast": "1"}}, "'--fast' is not known; supported: --image, --cmd"),
        ({"env": {"LD_PRELOAD": "/x"}}, "ENV: LD_PRELOAD is not for jobs to set"),
        ({"env": {"UWS_OUTPUT_DIR": "/"}}, "ENV: UWS_OUTPUT_DIR is not for jobs to set"),
        ({"disk": "10"}, "--disk='10' must be a number with a unit"),
        ({"image": "Not An Image"}, "IMAGE='Not An Image' is no image's reference"),
    ],
)
def test_what_is_not_possible_is_refused(broker_of: Brokers, call: dict[str, Any], detail: str) -> None:
    """Nothing is left out in silence, and no job is made."""
    broker = broker_of("root")
    with pytest.raises(requests.HTTPError) as error:
        broker.run("true", **call)
    status, text = refusal(error)
    assert status == 400 and text.startswith(detail), text
    assert broker.jobs() == []

"""Results that are not there: 404 says why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.server import Server


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """Yield a client of a service."""
    folder: Path = tmp_path_factory.mktemp("results")
    server = Server(folder)
    server.start()
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.stop()


def ended(http: httpx2.Client, application: str = "sleep", abort: bool = False, **parameters: str) -> tuple[str, str]:
    """Run a job to its end.

    Return path and phase.
    """
    response = http.post(f"/{application}/async", data={"PHASE": "RUN", **parameters})
    job = response.headers["location"]
    if abort:
        assert http.post(f"{job}/phase", data={"PHASE": "ABORT"}).status_code == 303
    deadline = time.monotonic() + 120
    while (phase := http.get(f"{job}/phase").text) not in ("COMPLETED", "ERROR", "ABORTED"):
        assert time.monotonic() < deadline, phase
        time.sleep(0.1)
    return job, phase


def test_a_result_of_a_failed_job(http: httpx2.Client) -> None:
    """The answer has the reason of the failure."""
    job, phase = ended(http, SECONDS="0", EXIT="3")
    assert phase == "ERROR"
    response = http.get(f"{job}/results/result")
    assert response.status_code == 404
    assert "it ended in phase ERROR: " in response.text and "code 3" in response.text


def test_a_result_of_an_aborted_job(http: httpx2.Client) -> None:
    job, phase = ended(http, abort=True, SECONDS="60")
    assert phase == "ABORTED"
    response = http.get(f"{job}/results/result")
    assert response.status_code == 404
    assert "Aborted at the owner's request." in response.text


def test_a_result_that_was_never_declared(http: httpx2.Client) -> None:
    """The answer lists the results of a completed job."""
    job, phase = ended(http, SECONDS="0")
    assert phase == "COMPLETED"
    response = http.get(f"{job}/results/absent")
    assert (response.status_code, "it has: result" in response.text) == (404, True)


@pytest.mark.parametrize(
    ("kind", "ending"), [("votable", "-result.vot"), ("csv", "-result.csv"), ("fits", "-result.fits")]
)
def test_saved_files_have_an_ending(http: httpx2.Client, kind: str, ending: str) -> None:
    """A double click opens what was downloaded."""
    query = "SELECT TOP 1 name FROM openngc.objects"
    job, _ = ended(http, "tap", LANG="ADQL", QUERY=query, RESPONSEFORMAT=kind)
    assert http.get(f"{job}/results/result").headers["content-disposition"].endswith(ending)


def test_an_unknown_type_has_no_ending(http: httpx2.Client) -> None:
    job, _ = ended(http, SECONDS="0")
    result = http.get(http.get(job, headers={"accept": "application/json"}).json()["results"][0]["href"])
    assert result.headers["content-disposition"].endswith("-result")

"""Jobs that ran out of memory are tried again with more, where their application says so; other failures are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server
from tests.service.client import Uws
from uws_service.applications.model import Resources

GREEDY = Path(__file__).parent / "greedy.yaml"
SITES = [{"name": "small", "access": {"memory": "128MiB"}}, {"name": "large", "access": {"memory": "300MiB"}}]


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uws]:
    settings = {"UWS_SITES": json.dumps(SITES), "UWS_APPLICATIONS": json.dumps([str(GREEDY)])}
    server = Server(tmp_path_factory.mktemp("greedy"), settings)
    server.start()
    with Uws(server.url, "greedy") as client:
        yield client
    server.stop()


def ended(user: Uws, **data: str) -> dict[str, Any]:
    job = user.create({**data, "PHASE": "RUN"})
    user.wait(job)
    content: dict[str, Any] = user.get(job, headers={"accept": "application/json"}).json()
    user.get(job)  # the document is valid
    return content


def test_second_try_has_more_memory(user: Uws) -> None:
    """It runs at the one site that has so much."""
    content = ended(user, MIB="120")
    info = content["jobInfo"]
    assert content["phase"] == "COMPLETED", content
    assert (info["attempt"], info["site"]) == (2, "large")
    assert [(lost["attempt"], lost["reason"]) for lost in info["lost"]] == [(1, "OutOfMemory")]


def test_no_more_than_any_site_has(user: Uws) -> None:
    """A third try would have 512 MiB, which no site gives to a job."""
    content = ended(user, MIB="400")
    assert content["phase"] == "ERROR"
    assert (content["errorSummary"]["reason"], content["jobInfo"]["attempt"]) == ("OutOfMemory", 2)


def test_other_failures_are_not_tried_again(user: Uws) -> None:
    content = ended(user, MIB="1", CODE="3")
    assert (content["errorSummary"]["reason"], content["jobInfo"]["attempt"]) == ("ExitCode", 1)


@pytest.mark.parametrize(("before", "after"), [(4, 8), (16, 32), (20, 32), (32, 0), (64, 0)])
def test_memory_of_the_next_try(before: int, after: int) -> None:
    assert Resources(memory=4, memory_retry=2.0, memory_maximum=32).memory_after(before) == after
    assert Resources(memory=4).memory_after(before) == 0

"""Why a job is where it is: JSON, page and jobInfo of a service with several sites."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.server import Server
from tests.service.client import Uws

SITES = [
    {"name": "a", "kind": "local", "slots": 1},
    {"name": "b", "kind": "local", "slots": 4},
    {"name": "c", "kind": "local", "slots": 4, "access": {"applications": ["tap"]}},
]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uws]:
    """Start a service with three sites, one of which takes queries alone."""
    server = Server(tmp_path_factory.mktemp("network"), {"UWS_SITES": json.dumps(SITES)})
    server.start()
    with Uws(server.url, "sleep") as client:
        yield client
    server.stop()


def test_the_reasons_are_in_json_and_on_the_page(network: Uws) -> None:
    """What spoke for each site, and what against."""
    job = network.create({"SECONDS": "0", "PHASE": "RUN"})
    assert network.wait(job) == "COMPLETED"
    info = network.get(job, headers={"accept": "application/json"}).json()["jobInfo"]
    assert info["siteReason"] == "0 waiting and 0 running for 1 slots, the fewest of 2 sites"
    assert [row["site"] for row in info["placement"]] == ["a", "b", "c"]
    assert info["placement"][0]["costs"] == [
        {"rank": "load", "seconds": 0.0, "words": "0 waiting and 0 running for 1 slots"}
    ]
    assert info["placement"][2]["objections"] == ["the application sleep is not available there"]
    page = network.get(job, headers={"accept": "text/html,application/xhtml+xml"}).text
    assert "Why here" in page and "the application sleep is not available there" in page


def test_a_named_site_needs_no_table(network: Uws) -> None:
    job = network.create({"SECONDS": "0", "SITE": "b", "PHASE": "RUN"})
    info = network.get(job, headers={"accept": "application/json"}).json()["jobInfo"]
    assert (info["site"], info["siteReason"], info["placement"]) == ("b", "asked for by SITE", [])


def test_sites_that_do_not_exist_are_told(network: Uws) -> None:
    job = network.create({"SECONDS": "0", "SITE": "moon", "PHASE": "RUN"})
    assert network.wait(job) == "ERROR"
    summary = network.get(job, headers={"accept": "application/json"}).json()["errorSummary"]
    assert "SITE='moon' is not known; sites: a, b, c." in summary["message"]

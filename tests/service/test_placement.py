"""Why a job is where it is.

JSON, page and jobInfo of a service with several sites.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server
from tests.service.client import Uws
from uws_service.cli import run

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
        client.folder = server.folder  # type: ignore[attr-defined]
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


def sites(network: Uws, *words: str) -> None:
    """Run the operator's command on the service's own database."""
    folder = str(Path(network.folder) / "data")  # type: ignore[attr-defined]
    command = [sys.executable, "-m", "uws_service", "sites", *words, "--data", folder]
    environment = {**os.environ, "UWS_SITES": json.dumps(SITES)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("options", [["--config", "other.yaml"], ["--data", "other"], ["--json"]])
def test_options_that_a_command_would_not_heed_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the name of `drain` they would be left unread, and another database be changed."""
    assert run(["sites", *options, "drain", "a"]) == 2
    assert capsys.readouterr().err == (
        "uws-service: options of drain stand after its name: uws-service sites drain SITE …\n"
    )


def info_of(network: Uws, job: str) -> dict[str, Any]:
    content: dict[str, Any] = network.get(job, headers={"accept": "application/json"}).json()
    return content["jobInfo"] | {"phase": content["phase"]}


def test_a_drained_site_starts_nothing(network: Uws) -> None:
    """Whether a job may go elsewhere or not: it waits, says why, and starts when it can."""
    try:
        sites(network, "drain", "a", "--reason", "new switches")
        job = network.create({"SECONDS": "0", "PHASE": "RUN"})
        assert network.wait(job) == "COMPLETED"
        assert info_of(network, job)["site"] == "b"
        pinned = network.create({"SECONDS": "0", "SITE": "a", "PHASE": "RUN"})
        sites(network, "drain", "b")
        free = network.create({"SECONDS": "0", "PHASE": "RUN"})
        waiting = info_of(network, free)
        assert (waiting["phase"], waiting["site"]) == ("QUEUED", None)
        assert waiting["waiting"] == (
            "no site takes it at the moment (a: it takes no new jobs: new switches; "
            "b: it takes no new jobs: it is drained for maintenance; c: the application sleep is not available there)"
        )
        assert info_of(network, pinned)["waiting"] == "a starts no such job now: it takes no new jobs: new switches"
        assert info_of(network, pinned)["phase"] == "QUEUED"
        sites(network, "undrain", "b")
        assert network.wait(free) == "COMPLETED" and info_of(network, free)["site"] == "b"
        assert info_of(network, pinned)["phase"] == "QUEUED"
        sites(network, "undrain", "a")
        assert network.wait(pinned) == "COMPLETED" and info_of(network, pinned)["site"] == "a"
    finally:
        for name in "ab":
            with contextlib.suppress(AssertionError):
                sites(network, "undrain", name)

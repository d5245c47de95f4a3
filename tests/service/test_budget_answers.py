"""Budgets over HTTP.

402 in DALI's forms, an estimate, what is left of the job.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server import Server
from tests.service.client import UWS, Uws

CONFIG = """
identity_header: X-Auth-Request-User
accounting:
  currency: EUR
  prices:
    - {core_hour: 36}
  budgets:
    - {owner: ada, amount: 1.5, period: total}
"""
INFO = "{urn:uws-service:jobinfo:1}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("budgets"), config=CONFIG)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def ada(server: Server) -> Iterator[Uws]:
    with Uws(server.url, "sleep", "ada") as client:
        yield client


def test_what_is_missing(ada: Uws) -> None:
    """402 says what the job may cost and what is missing; the job is as it was (D-045, D-048, U-026)."""
    job = ada.create({"SECONDS": "0", "EXECUTIONDURATION": "3600"})
    estimates = {element.get("of"): element.text for element in ada.document(job).iter(f"{INFO}estimate")}
    assert estimates == {"price": "3.60", "currency": "EUR"}
    refused = ada.post(f"{job}/phase", {"PHASE": "RUN"})
    assert refused.status_code == 402
    assert refused.headers["content-type"].startswith("text/plain")
    assert "may cost up to 3.60 EUR" in refused.text and "2.10 EUR are missing" in refused.text
    votable = ada.http.post(f"{job}/phase", data={"PHASE": "RUN"}, headers={"Accept": "application/x-votable+xml"})
    assert votable.status_code == 402 and 'value="ERROR"' in votable.text and "2.10 EUR are missing" in votable.text
    page = ada.http.post(f"{job}/phase", data={"PHASE": "RUN"}, headers={"Accept": "text/html,application/xhtml+xml"})
    assert page.status_code == 402 and "2.10 EUR are missing" in page.text
    assert ada.phase(job) == "PENDING"
    assert ada.post(f"{job}/executionduration", {"EXECUTIONDURATION": "600"}).status_code == 303
    ada.run(job)
    assert ada.wait(job) == "COMPLETED"
    assert ada.document(job).find(UWS + "phase").text == "COMPLETED"


def test_no_job_is_left(ada: Uws) -> None:
    """A creation that runs at once makes nothing."""
    before = ada.http.get(ada.jobs).text.count("<uws:jobref ")
    refused = ada.post(ada.jobs, {"SECONDS": "0", "EXECUTIONDURATION": "7200", "PHASE": "RUN"})
    assert refused.status_code == 402
    assert ada.http.get(ada.jobs).text.count("<uws:jobref ") == before


def test_the_rest_is_right(ada: Uws, server: Server) -> None:
    """What jobs cost is in the accounts; nothing stays held."""
    job = ada.create({"SECONDS": "1", "EXECUTIONDURATION": "600", "PHASE": "RUN"})
    assert ada.wait(job) == "COMPLETED"
    lines = ada.http.get(f"{server.url}/usage?BY=owner&RESPONSEFORMAT=json").json()["lines"]
    (line,) = [line for line in lines if line["owner"] == "ada"]
    assert 0 < line["price"] == pytest.approx(line["reserved_cpu_hours"] * 36, abs=1e-5 * line["attempts"])
    # Most of the budget is free again: a job of nearly all of it is taken.
    left = int((1.5 - line["price"]) / 36 / 0.1 * 3600) - 2
    again = ada.create({"SECONDS": "0", "EXECUTIONDURATION": str(left), "PHASE": "RUN"})
    assert ada.wait(again) == "COMPLETED"

"""Sites drained and shown by HTTP, for administrators."""

from __future__ import annotations

import json

import pytest

from tests.auth.callers import Caller
from tests.server import Server
from tests.sites.local.agents import eventually


def test_site_is_drained_and_undrained(callers: dict[str, Caller], secured: Server) -> None:
    """A job that comes meanwhile waits with the reason, and runs afterwards."""
    root, alice = callers["root"], callers["alice"]
    drain = f"{secured.url}/sites/local/drain"
    answer = root.http.post(drain, data={"REASON": "new disks"})
    assert (answer.status_code, answer.json()["drained"]) == (200, "new disks"), answer.text
    try:
        job = alice.create(PHASE="RUN")
        eventually(
            lambda: "new disks" in str(alice.http.get(job, headers={"accept": "application/json"}).json()["jobInfo"])
        )
        assert alice.http.get(f"{job}/phase").text == "QUEUED"
        (site,) = root.http.get(f"{secured.url}/sites").json()["sites"]
        assert (site["site"], site["kind"], site["drained"]) == ("local", "local", "new disks")
    finally:
        assert root.http.delete(drain).status_code == 204
    assert alice.wait(job) == "COMPLETED"
    assert root.http.delete(drain).status_code == 404, "it is drained no more"
    site = root.http.get(f"{secured.url}/sites/local").json()
    assert site["drained"] is None
    assert site["facts"]["anyBandwidth"] == 50_000_000


@pytest.mark.parametrize("reason", ["x" * 201, "two\nlines", "\x00"])
def test_reasons_that_nobody_could_read_are_refused(callers: dict[str, Caller], secured: Server, reason: str) -> None:
    answer = callers["root"].http.post(f"{secured.url}/sites/local/drain", data={"REASON": reason})
    assert answer.status_code == 400
    assert "REASON" in answer.text or "characters" in answer.text
    assert callers["root"].http.get(f"{secured.url}/sites/local").json()["drained"] is None


def test_nobody_else_learns_whether_a_site_exists(callers: dict[str, Caller], secured: Server) -> None:
    """The answer to those who are no administrators is the same for any name."""
    for name in ("alice", "nobody"):
        answers = [callers[name].http.get(f"{secured.url}/sites/{site}") for site in ("local", "elsewhere")]
        assert answers[0].status_code == answers[1].status_code in (401, 403)
        assert answers[0].text == answers[1].text
    text = json.dumps(callers["root"].http.get(f"{secured.url}/sites/elsewhere").text)
    assert "There is no site 'elsewhere'" in text

"""Links to jobs, and shares with people and groups."""

from __future__ import annotations

import json

import httpx2

from tests.auth.callers import Caller
from tests.server import Server


def test_a_shared_link(secured: Server, callers: dict[str, Caller]) -> None:
    """A link gives read access to one job."""
    alice, nobody = callers["alice"], callers["nobody"].http
    job, unshared = alice.create(OUTPUT="32", PHASE="RUN"), alice.create()
    assert alice.wait(job) == "COMPLETED"
    created = alice.http.post(f"{job}/shares", data={"EXPIRES": "600"})
    assert created.status_code == 201
    link, share = created.json()["link"], created.headers["location"]
    query = "?" + link.partition("?")[2]
    assert nobody.get(job).status_code == 401
    assert nobody.get(link).status_code == 200
    assert len(nobody.get(f"{job}/results/result{query}").content) == 32
    assert nobody.get(f"{job}/logs/stdout{query}").status_code == 200
    assert nobody.get(f"{unshared}{query}").status_code == 401
    assert nobody.get(f"{job}?SHARE=none").status_code == 401
    for method, path in [("DELETE", ""), ("POST", "/phase"), ("POST", "/shares"), ("GET", "/shares")]:
        assert nobody.request(method, f"{job}{path}{query}").status_code == 401, (method, path)
    assert callers["bob"].http.delete(link).status_code == 403
    with httpx2.Client(headers={"Accept": "text/html,application/xhtml+xml"}) as browser:
        page = browser.get(link)
        assert page.status_code == 200 and "httponly" in page.headers["set-cookie"].lower()
        assert browser.get(f"{job}/results/result").status_code == 200
        assert browser.get(unshared).status_code == 401
    listed = alice.http.get(f"{job}/shares").json()["shares"]
    assert [share_entry["id"] for share_entry in listed] == [created.json()["id"]]
    assert link.partition("SHARE=")[2] not in json.dumps(listed)
    assert callers["bob"].http.delete(share).status_code == 403
    assert alice.http.delete(share).status_code == 204
    assert alice.http.delete(share).status_code == 404
    assert nobody.get(link).status_code == 401


def test_shares_that_can_not_be(secured: Server, callers: dict[str, Caller]) -> None:
    alice = callers["alice"]
    job = alice.create()
    for data, words in [
        ({"EXPIRES": "0"}, "in the future"),
        ({"EXPIRES": "99999999"}, "365 days"),
        ({"EXPIRES": "soon"}, ""),
        ({"GROUP": ""}, "name of a group"),
    ]:
        refused = alice.http.post(f"{job}/shares", data=data)
        assert refused.status_code == 400 and words in refused.text
    anonymous = httpx2.post(f"{secured.url}/sleep/async").headers["location"]
    assert httpx2.post(f"{anonymous}/shares").status_code == 403


def test_shares_without_end(secured: Server, callers: dict[str, Caller]) -> None:
    """A job has a hundred at most: each reader by a link costs as much as there are."""
    job = callers["alice"].create()
    answers = [callers["alice"].http.post(f"{job}/shares") for _ in range(103)]
    assert [answer.status_code for answer in answers] == [201] * 100 + [403] * 3
    assert "100 shares already" in answers[-1].text
    assert callers["alice"].http.delete(answers[0].headers["location"]).status_code == 204
    assert callers["alice"].http.post(f"{job}/shares").status_code == 201

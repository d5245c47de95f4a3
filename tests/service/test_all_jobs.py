"""One list over all applications, and actions on many jobs, at a real service."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.server import Server
from tests.service.client import Uws

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def kim(server: Server, request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    """Open a client of somebody who has no jobs yet; they end with the test."""
    user = f"kim-{abs(hash(request.node.name))}"
    with httpx2.Client(base_url=server.url, headers={"X-Auth-Request-User": user}, timeout=60) as http:
        yield http
        assert http.post("/jobs", data={"ACTION": "DELETE", "ALL": "1"}).status_code == 200


def create(http: httpx2.Client, application: str = "sleep", **form: str) -> str:
    answer = http.post(f"/{application}/async", data=form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def found(http: httpx2.Client, **query: Any) -> list[str]:
    answer = http.get("/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return [job["href"] for job in answer.json()["jobs"]]


def test_filters_and_order(kim: httpx2.Client) -> None:
    a = create(kim, RUNID="Survey north")
    b = create(kim, "probe", RUNID="survey south", TAG='say "é" %_')
    c = create(kim, RUNID="other", SECONDS="7.25")
    kim.post(f"{a}/phase", data={"PHASE": "ABORT"})
    kim.post(f"{c}/phase", data={"PHASE": "ABORT"})
    assert found(kim) == [c, b, a] and found(kim, SORT="created") == [a, b, c]
    assert found(kim, APPLICATION="probe") == [b]
    assert found(kim, PHASE="ABORTED") == [c, a] and found(kim, PHASE=["ABORTED", "PENDING"]) == [c, b, a]
    assert found(kim, PHASE="ABORTED", APPLICATION="sleep", SORT="created") == [a, c]
    assert found(kim, NAME="SURVEY") == [b, a] and found(kim, NAME="survey_") == [] and found(kim, NAME="%") == []
    assert found(kim, RUNID="other") == [c] and found(kim, RUNID="othe") == []
    assert found(kim, RUNID="other", APPLICATION="probe") == []
    assert found(kim, TEXT="7.25") == [c] and found(kim, TEXT='SAY "é" %_') == [b]
    assert found(kim, SORT="-ended") == [c, a] and found(kim, SORT="ended", PHASE="ABORTED") == [a, c]
    assert found(kim, SORT="ended", APPLICATION="probe") == []
    moment = kim.get("/jobs").json()["jobs"][1]["creationTime"]
    assert found(kim, AFTER=moment) == [c] and found(kim, BEFORE=moment) == [a]
    row = kim.get("/jobs", params={"RUNID": "Survey north"}).json()["jobs"][0]
    assert (
        row["phase"] == "ABORTED"
        and row["runId"] == "Survey north"
        and row["endTime"]
        and row["application"] == "sleep"
    )


def test_pages(kim: httpx2.Client) -> None:
    """Each job is on one page, in every order; jobs of others are on none."""
    jobs = [create(kim, RUNID=f"n{number}") for number in range(7)]
    for query in ({}, {"SORT": "created"}, {"NAME": "n"}, {"PHASE": ["PENDING", "ABORTED"]}):
        collected: list[str] = []
        url: str | None = "/jobs"
        params: dict[str, Any] | None = {**query, "LIMIT": 3}
        while url is not None:
            document = kim.get(url, params=params).json()
            collected += [job["href"] for job in document["jobs"]]
            url, params = document["next"], None
        assert collected == (jobs if query.get("SORT") == "created" else jobs[::-1])
    with httpx2.Client(base_url=kim.base_url, headers={"X-Auth-Request-User": "somebody-else"}) as other:
        assert found(other) == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("APPLICATION=none", "no application"),
        ("PHASE=NONE", "PHASE"),
        ("SORT=name", "-created"),
        ("LIMIT=0", "1 to 500"),
        ("LIMIT=501", "1 to 500"),
        ("CURSOR=x", "next"),
        ("CURSOR=1-%27;", "next"),
        ("AFTER=yesterday", "yesterday"),
        ("SORT=created&SORT=ended", "once"),
    ],
)
def test_wrong_filters(kim: httpx2.Client, query: str, words: str) -> None:
    answer = kim.get(f"/jobs?{query}")
    assert answer.status_code == 400 and words in answer.text


def test_actions_on_a_selection(kim: httpx2.Client) -> None:
    """Named jobs: all are there, or nothing is done; each is changed by its own rules."""
    a, b, c = (create(kim) for _ in range(3))
    with httpx2.Client(base_url=kim.base_url, headers={"X-Auth-Request-User": "mallory"}) as mallory:
        foreign = create(mallory)
        answer = kim.post("/jobs", data={"ACTION": "DELETE", "JOB": [a, foreign]})
        assert answer.status_code == 404 and "nothing was changed" in answer.text
        assert mallory.get(foreign).status_code == 200 and kim.get(a).status_code == 200
        mallory.delete(foreign)
    kim.post(f"{c}/phase", data={"PHASE": "ABORT"})
    outcome = kim.post("/jobs", data={"ACTION": "ABORT", "JOB": [a, b.rpartition("/")[2], b]}).json()
    assert (outcome["matched"], outcome["changed"], outcome["refusals"]) == (2, 2, 0)
    assert [kim.get(f"{job}/phase").text for job in (a, b, c)] == ["ABORTED"] * 3
    before = kim.get(f"{a}/destruction").text
    assert kim.post("/jobs", data={"ACTION": "EXTEND", "DAYS": "2", "JOB": a}).json()["changed"] == 1
    assert kim.get(f"{a}/destruction").text >= before
    assert kim.post("/jobs", data={"ACTION": "DELETE", "JOB": [a, b, c]}).json()["changed"] == 3
    assert found(kim) == []


def test_actions_on_what_matches(kim: httpx2.Client) -> None:
    """Counted first; then done with the matching jobs, and no others."""
    jobs = [create(kim, RUNID="x" if number % 2 else "y") for number in range(6)]
    trial = kim.post("/jobs", data={"ACTION": "ABORT", "RUNID": "x", "DRYRUN": "1"}).json()
    assert trial["dryRun"] and trial["matched"] == 3 and trial["changed"] == 0
    assert {kim.get(f"{job}/phase").text for job in jobs} == {"PENDING"}
    assert kim.post("/jobs", data={"ACTION": "ABORT", "RUNID": "x"}).json()["changed"] == 3
    assert kim.post("/jobs", data={"ACTION": "ABORT", "RUNID": "x"}).json()["matched"] == 0
    assert kim.post("/jobs", data={"ACTION": "DELETE", "PHASE": "ABORTED"}).json()["changed"] == 3
    assert found(kim) == jobs[4::-2]
    for form, words in (
        ({"ACTION": "DELETE"}, "ALL=1"),
        ({"ACTION": "SELL", "ALL": "1"}, "ABORT"),
        ({"ALL": "1"}, "ABORT"),
        ({"ACTION": "EXTEND", "ALL": "1"}, "DAYS"),
        ({"ACTION": "EXTEND", "ALL": "1", "DAYS": "-1"}, "DAYS"),
    ):
        answer = kim.post("/jobs", data=form)
        assert answer.status_code == 400 and words in answer.text
    assert len(found(kim)) == 3


def test_more_than_a_request_changes(kim: httpx2.Client) -> None:
    """The answer says where the next request goes on."""
    rows = "SECONDS\n" + "0\n" * 600
    for _ in range(2):
        answer = kim.post("/sleep/bulk", files={"TABLE": ("rows.csv", rows, "text/csv")}, data={"RUNID": "many"})
        assert answer.status_code == 303, answer.text
    assert kim.post("/jobs", data={"ACTION": "DELETE", "RUNID": "many", "DRYRUN": "1"}).json()["matched"] == 1200
    first = kim.post("/jobs", data={"ACTION": "DELETE", "RUNID": "many"}).json()
    assert first["changed"] == 1000 and first["cursor"]
    second = kim.post("/jobs", data={"ACTION": "DELETE", "RUNID": "many", "CURSOR": first["cursor"]}).json()
    assert second["changed"] == 200 and second["cursor"] is None


def test_the_page(kim: httpx2.Client) -> None:
    """Without script: choose, be asked, confirm."""
    job = create(kim, RUNID="<b>bold</b>")
    page = kim.get("/jobs", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html") and "&lt;b&gt;bold" in page.text
    assert job.rpartition("/")[2] in page.text and "script-src 'self';" in page.headers["content-security-policy"]
    form = {"ACTION": "DELETE", "JOB": job.rpartition("/")[2], "DAYS": "7", "DRYRUN": "1"}
    question = kim.post("/jobs", data=form, headers=BROWSER)
    assert question.status_code == 200 and "1 job" in question.text and kim.get(job).status_code == 200
    del form["DRYRUN"]
    answer = kim.post("/jobs", data=form, headers=BROWSER)
    assert answer.status_code == 303 and answer.headers["location"].endswith("/jobs")
    assert kim.get(job).status_code == 404
    foreign = kim.post(
        "/jobs", data=form, headers={"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site"}
    )
    assert foreign.status_code == 403


def test_names_and_lives(uws: Uws) -> None:
    job = uws.create({"RUNID": "first"})
    assert uws.get(f"{job}/name").text == "first"
    assert uws.post(f"{job}/phase", {"PHASE": "ABORT"}).status_code == 303
    assert uws.post(f"{job}/name", {"RUNID": "second & last"}).status_code == 303
    assert uws.document(job).find("{http://www.ivoa.net/xml/UWS/v1.0}runId").text == "second & last"
    assert uws.post(f"{job}/name", {"RUNID": ""}).status_code == 303 and uws.get(f"{job}/name").text == ""
    for form in ({}, {"RUNID": "a" * 65}, {"RUNID": "a\nb"}):
        assert uws.post(f"{job}/name", form).status_code == 400
    assert uws.post(f"{job}/destruction", {"DESTRUCTION": "2020-01-01T00:00:00Z"}).status_code == 303
    other = uws.create()
    before = uws.get(f"{other}/destruction").text
    assert uws.post(f"{other}/extend", {"DAYS": "1"}).status_code == 303
    assert uws.get(f"{other}/destruction").text >= before
    assert uws.post(f"{other}/extend", {"DAYS": "x"}).status_code == 400


def test_all_results_at_once(uws: Uws, server: Server) -> None:
    """Zip and tar, as Python's own readers take them."""
    answer = uws.post(f"{server.url}/sleep/async", {"SECONDS": "0", "PHASE": "RUN"})
    job = answer.headers["location"]
    uws.made.append(job)
    uws.wait(job)
    results = uws.http.get(f"{job}/results", headers={"Accept": "application/json"}).json()
    contents = sorted(uws.http.get(result["href"]).content for result in results)
    assert contents
    archive = uws.http.get(f"{job}/download")
    assert archive.headers["content-type"] == "application/zip"
    assert archive.headers["content-disposition"] == f'attachment; filename="{job.rpartition("/")[2]}.zip"'
    with zipfile.ZipFile(io.BytesIO(archive.content)) as packed:
        assert packed.testzip() is None
        assert sorted(packed.read(name) for name in packed.namelist()) == contents
        assert all(name.startswith(job.rpartition("/")[2] + "/") for name in packed.namelist())
    archive = uws.http.get(f"{job}/download?FORMAT=tar")
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tape:
        assert sorted(tape.extractfile(member).read() for member in tape.getmembers()) == contents
    assert uws.http.get(f"{job}/download?FORMAT=rar").status_code == 400
    assert uws.http.head(f"{job}/download").status_code == 200
    assert uws.http.get(f"{uws.create()}/download").status_code == 404

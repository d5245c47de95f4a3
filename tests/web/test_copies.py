"""Edit as new, checks before there is a job, shares as pages: what programs use too, and what attackers try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.server import Server
from tests.web.pages_server import HEADER, HTML, server

__all__ = ["server"]

JSON = {"accept": "application/json"}
CROSS = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}


@pytest.fixture
def alice(server: Server) -> Iterator[httpx2.Client]:
    """Yield a client of one person."""
    with httpx2.Client(base_url=server.url, headers={HEADER: "alice"}, timeout=60) as client:
        yield client


@pytest.fixture
def mallory(server: Server) -> Iterator[httpx2.Client]:
    """Yield a client of another person."""
    with httpx2.Client(base_url=server.url, headers={HEADER: "mallory"}, timeout=60) as client:
        yield client


def copied(client: httpx2.Client, job: str, data: dict[str, str]) -> dict[str, list[str]]:
    """Make a copy, and return its values by parameter."""
    answer = client.post(f"{job}/copy", data=data)
    assert answer.status_code == 303, answer.text
    document = client.get(f"{answer.headers['location']}/copy", headers=JSON).json()
    values_by_name: dict[str, list[str]] = {}
    for entry in document["parameters"]:
        values_by_name.setdefault(entry["name"], []).append(entry["value"])
    return values_by_name | {"RUNID": [document["runId"]]}


def test_a_copy_has_what_is_not_changed(alice: httpx2.Client) -> None:
    """Values replace all of their name, empty ones take them away; the name and the time limit are taken over."""
    created = alice.post(
        "/probe/async", data={"SECONDS": "1", "TAG": ["a", "b"], "RUNID": "r", "EXECUTIONDURATION": "9"}
    )
    job = created.headers["location"]
    assert copied(alice, job, {}) == {"SECONDS": ["1"], "TAG": ["a", "b"], "RUNID": ["r"]}
    assert copied(alice, job, {"tag": "c", "OUTPUT": "3"}) == {
        "SECONDS": ["1"], "tag": ["c"], "OUTPUT": ["3"], "RUNID": ["r"]
    }  # fmt: skip
    assert copied(alice, job, {"SECONDS": "", "RUNID": ""}) == {"TAG": ["a", "b"], "RUNID": [None]}
    repeat = alice.post(f"{job}/copy", data={"PHASE": "RUN"}).headers["location"]
    assert alice.get(f"{repeat}/executionduration").text == "9" and alice.get(f"{repeat}/phase").text != "PENDING"


def test_a_copy_has_files_of_its_own(alice: httpx2.Client) -> None:
    """The earlier job may go; another file takes the place of the first, or none."""
    created = alice.post("/copies/async", data={"STAMP": "no"}, files={"FILE": ("a.txt", b"first")})
    job = created.headers["location"]
    twin = alice.post(f"{job}/copy").headers["location"]
    variant = alice.post(f"{job}/copy", files={"FILE": ("b.txt", b"second")}).headers["location"]
    refused = alice.post(f"{job}/copy", data={"WITHOUT": "FILE"}, headers=JSON)
    assert refused.status_code == 400 and refused.json()["problems"][0]["parameter"] == "FILE"
    assert alice.delete(job).status_code == 303
    assert alice.get(f"{twin}/parameters/FILE").content == b"first"
    assert alice.get(f"{variant}/parameters/FILE").content == b"second"


def test_an_uploaded_table_is_copied_as_long_as_it_is_named(alice: httpx2.Client) -> None:
    """UPLOAD=t,param:part keeps its part; without it the part goes."""
    form = {"UPLOAD": "t,param:part"}
    job = alice.post("/probe/async", data=form, files={"part": ("t.csv", b"ra,dec")}).headers["location"]
    twin = alice.post(f"{job}/copy").headers["location"]
    assert alice.get(f"{twin}/parameters/part").content == b"ra,dec"
    assert copied(alice, job, {"UPLOAD": ""}) == {"RUNID": [None]}
    page = {"table-1.name": "u", "table-1.part": "part", "table-1.url": ""}
    assert copied(alice, job, page)["UPLOAD"] == ["u,param:part"]
    assert "UPLOAD" not in copied(alice, job, {**page, "WITHOUT": "part"})


def test_a_key_makes_one_copy(alice: httpx2.Client) -> None:
    """Idempotency-Key, as for other new jobs."""
    job = alice.post("/probe/async", data={"TAG": "k"}).headers["location"]
    headers = {"idempotency-key": "copy-of-tests"}
    first, second = (alice.post(f"{job}/copy", data={"TAG": "m"}, headers=headers).headers["location"] for _ in "12")
    assert first == second != job


def job_ids(user: httpx2.Client) -> list[str]:
    return [job["id"] for job in user.get("/probe/async", headers=JSON).json()["jobs"]]


def test_problems_are_told_by_parameter_before_there_is_a_job(alice: httpx2.Client) -> None:
    """Of all parameters at once; a form has them beside its inputs, with the entries kept."""
    wrong = {"SECONDS": "many", "EXIT": "999", "TAG": "fine"}
    before = job_ids(alice)
    verdict = alice.post("/probe/check", data=wrong).json()
    assert [problem["parameter"] for problem in verdict["problems"]] == ["SECONDS", "EXIT"] and not verdict["ok"]
    assert "--data-urlencode TAG=fine" in verdict["calls"]["curl"]
    refused = alice.post("/probe/new", data=wrong, headers=JSON)
    assert refused.status_code == 400 and len(refused.json()["problems"]) == 2
    page = alice.post("/probe/new", data=wrong, headers=HTML)
    assert page.status_code == 400 and 'value="fine"' in page.text and 'id="EXIT-error"' in page.text
    for bad in ({"RUNID": "x" * 65}, {"EXECUTIONDURATION": "soon"}):
        assert alice.post("/probe/new", data=bad, headers=JSON).json()["problems"][0]["parameter"] == next(iter(bad))
    assert job_ids(alice) == before
    assert alice.post("/probe/check", data={"SECONDS": "1"}).json()["ok"]
    assert alice.post("/copies/check", data={"FILE": "FILE:3:a.txt"}).json()["ok"]
    created = alice.post("/probe/new", data={"SECONDS": "1", "PHASE": "RUN"})
    assert created.status_code == 303 and alice.get(f"{created.headers['location']}/phase").text != "PENDING"


def test_no_file_of_a_refused_form_is_left(server: Server, alice: httpx2.Client) -> None:
    """What was uploaded with a form that made no job is removed."""
    answer = alice.post("/copies/new", data={"STAMP": "maybe"}, files={"FILE": ("a", b"left behind?")}, headers=HTML)
    assert answer.status_code == 400 and "Choose a again" in answer.text
    depot = Path(server.settings["UWS_DATA"])
    assert not [path for path in depot.rglob("*") if path.is_file() and path.read_bytes() == b"left behind?"]


def test_a_job_of_somebody_else(alice: httpx2.Client, mallory: httpx2.Client) -> None:
    """Neither copied, nor looked at, nor shared; with a link it may be read and copied, and not changed."""
    job = alice.post("/probe/async", data={"TAG": "secret words"}).headers["location"]
    for method, path in (("GET", ""), ("GET", "/copy"), ("POST", "/copy"), ("GET", "/shares"), ("POST", "/shares")):
        answer = mallory.request(method, f"{job}{path}", headers=HTML)
        assert answer.status_code == 403 and "secret words" not in answer.text, (method, path)
    shared = alice.post(f"{job}/shares", data={"EXPIRES": "3600"}, headers=HTML)
    assert shared.status_code == 200 and "shown this once" in shared.text
    link = alice.post(f"{job}/shares", data={"EXPIRES": "3600"}, headers=JSON).json()["link"]
    page = mallory.get(link, headers=HTML)
    assert page.status_code == 200 and "secret words" in page.text
    for words in ("Delete it", "Abort", "/shares", "Save"):
        assert words not in page.text, words
    assert mallory.get(f"{job}/copy", headers=HTML).status_code == 200  # by the link's cookie
    foreign_copy = mallory.post(f"{job}/copy").headers["location"]
    assert alice.get(foreign_copy).status_code == 403
    for share in alice.get(f"{job}/shares", headers=JSON).json()["shares"]:
        assert mallory.post(f"{job}/shares/{share['id']}", data={"ACTION": "END"}).status_code == 403
        assert alice.post(f"{job}/shares/{share['id']}", data={"ACTION": "END"}).status_code == 303
    assert mallory.get(job, headers=HTML).status_code == 403


def test_the_account_has_all_shares(alice: httpx2.Client, mallory: httpx2.Client) -> None:
    """They are taken back from there; quotas and jobs are the caller's own."""
    job = alice.post("/probe/async", data={"RUNID": "shared from here"}).headers["location"]
    share = alice.post(f"{job}/shares", data={"GROUP": "/team"}, headers=JSON).json()["id"]
    listed = alice.get("/account", headers=JSON).json()
    assert listed["owner"] == "alice" and listed["jobs"]["PENDING"]["number"] >= 1
    assert (share, "shared from here") in [(entry["id"], entry["runId"]) for entry in listed["shares"]]
    page = alice.get("/account", headers=HTML).text
    assert "shared from here" in page and "Take it back" in page
    assert "shared from here" not in mallory.get("/account", headers=HTML).text
    ended = alice.post(f"{job}/shares/{share}", data={"ACTION": "END", "FROM": "account"})
    assert ended.status_code == 303 and ended.headers["location"].endswith("/account")
    assert share not in [entry["id"] for entry in alice.get("/account", headers=JSON).json()["shares"]]


def test_pages_of_other_sites_make_nothing(alice: httpx2.Client) -> None:
    """CSRF: forms that make, copy, share or end anything."""
    job = alice.post("/probe/async", data={"TAG": "x"}).headers["location"]
    share = alice.post(f"{job}/shares", headers=JSON).json()["id"]
    paths = (f"{job}/copy", "/probe/new", "/probe/check", f"{job}/shares", f"{job}/shares/{share}", f"{job}/name")
    for path in paths:
        answer = alice.post(path, data={"ACTION": "END", "RUNID": "x"}, headers=CROSS)
        assert answer.status_code == 403 and "page of another site" in answer.text, path
    assert len(alice.get(f"{job}/shares", headers=JSON).json()["shares"]) == 1


def test_run_again_asks_where_it_is_not_the_same(alice: httpx2.Client) -> None:
    """A page of its own says what is missing; programs get 409 as before."""
    job = alice.post("/probe/async", data={"TAG": "x"}).headers["location"]
    early = alice.post(f"{job}/rerun", headers=HTML)
    assert early.status_code == 409 and "has not ended" in early.text

"""The resource tree (U-001…U-044, U-070…U-088)."""

from __future__ import annotations

import re

import pytest
from lxml import etree

from tests.server import Server
from tests.service.client import NIL, UWS, XLINK, Uws, job_id, text

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
JAVA = "text/html, image/gif, image/jpeg, */*; q=0.2"


def test_unknown_things_are_404(uws: Uws) -> None:
    """Unknown resources get 404 (U-001, D-042, D-005)."""
    job = uws.create()
    for url in (
        f"{uws.jobs}/no-such-job",
        f"{uws.jobs}/no-such-job/phase",
        f"{job}/nonsense",
        f"{job}/results/none",
        f"{job}/parameters/none",
        f"{job}/logs/other",
        f"{job}/error",
        f"{uws.root}/nothing/async",
        f"{uws.root}/nothing/async/x",
        f"{uws.root}/a/b/c/d/e/f",
    ):
        answer = uws.get(url)
        assert answer.status_code == 404, url
        assert answer.text.strip()
    assert uws.request("DELETE", f"{uws.jobs}/no-such-job").status_code == 404
    assert uws.post(f"{uws.jobs}/no-such-job/phase", {"PHASE": "RUN"}).status_code == 404


def test_a_job_of_another_application_is_not_found_here(uws: Uws, server: Server) -> None:
    """A job belongs to its application (U-001)."""
    job = uws.create()
    assert uws.get(f"{server.url}/sleep/async/{job_id(job)}").status_code == 404


@pytest.mark.parametrize("accept", [None, "*/*", "application/xml,text/plain", "text/xml", JAVA, "text/plain"])
def test_types(uws: Uws, accept: str | None) -> None:
    """Programs get XML and text.

    U-004, U-005, C-15, C-18, C-32.
    """
    headers = {"accept": accept} if accept else {}
    job = uws.create({"SECONDS": "1"})
    for url in (uws.jobs, job, f"{job}/results", f"{job}/parameters"):
        answer = uws.get(url, headers=headers)
        assert answer.headers["content-type"].startswith("text/xml"), (url, accept)
        assert answer.headers["cache-control"] == "no-store"  # C-27
    for child in ("phase", "executionduration", "destruction", "quote", "owner"):
        answer = uws.get(f"{job}/{child}", headers=headers)
        assert answer.headers["content-type"].startswith("text/plain"), child
        assert answer.text == answer.text.strip()


def test_browsers_get_pages_and_programs_json(uws: Uws) -> None:
    """Browsers get HTML, others JSON (U-005)."""
    job = uws.create({"TAG": "<b>"})
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    for url in (uws.root + "/", uws.base, uws.jobs, job):
        answer = uws.get(url, headers=browser)
        assert answer.headers["content-type"].startswith("text/html") and "<b>" not in answer.text, url
    for url in (uws.root + "/", uws.base, uws.jobs, job, f"{job}/parameters", f"{job}/results"):
        answer = uws.get(url, headers={"accept": "application/json"})
        assert answer.headers["content-type"] == "application/json" and answer.json() is not None, url
    assert uws.get(job, headers={"accept": "application/json"}).json()["phase"] == "PENDING"


def test_new_job(uws: Uws) -> None:
    """A pending job is complete.

    U-007…U-009, U-070…U-075, U-104, U-138, U-088.
    """
    job = uws.create({"SECONDS": "2"})
    document = uws.document(job)
    assert document.tag == UWS + "job" and document.get("version") == "1.1"
    assert text(document, "jobId") == job_id(job) and re.fullmatch(r"[A-Za-z0-9._~-]+", job_id(job))
    assert text(document, "phase") == "PENDING"
    for name in ("startTime", "endTime", "ownerId"):
        assert document.find(UWS + name).get(NIL) == "true", name
    for name in ("creationTime", "destruction", "quote"):
        assert INSTANT.fullmatch(text(document, name) or ""), name
    assert text(document, "executionDuration") == "30"
    assert document.find(UWS + "results") is not None
    assert uws.get(f"{job}/results").content.count(b"<uws:result ") == 0
    assert uws.get(uws.jobs).content.startswith(b"<?xml") and b"<uws:jobs" in uws.get(uws.jobs).content  # C-01


def test_document_and_children_agree(uws: Uws) -> None:
    """U-025, U-028, U-030, U-033, U-034, U-036, U-040, U-076."""
    job = uws.create({"SECONDS": "2", "RUNID": "r"})
    document = uws.document(job)
    pairs = {"phase": "phase", "executionDuration": "executionduration", "destruction": "destruction"}
    for name, child in {**pairs, "quote": "quote", "ownerId": "owner"}.items():
        assert uws.get(f"{job}/{child}").text == (text(document, name) or ""), name
    parameters = etree.fromstring(uws.get(f"{job}/parameters").content)
    embedded = document.find(UWS + "parameters")
    assert [(p.get("id"), p.text) for p in parameters] == [(p.get("id"), p.text) for p in embedded]


def test_both_slash_forms(uws: Uws) -> None:
    """The list is never redirected (U-044, C-21)."""
    answer = uws.post(uws.jobs + "/", {"SECONDS": "1"})
    assert answer.status_code == 303
    job = answer.headers["location"]
    uws.made.append(job)
    assert not job.endswith("/")  # C-07
    for url in (uws.jobs, job, f"{job}/phase", f"{job}/results", f"{job}/parameters", f"{uws.base}/capabilities"):
        assert uws.get(url + "/").status_code == 200, url
    assert uws.post(f"{job}/phase/", {"PHASE": "ABORT"}).status_code == 303


def test_verbs(uws: Uws) -> None:
    """Other verbs get 405 (U-041, U-042, U-043)."""
    job = uws.create()
    refused = [("DELETE", uws.jobs), ("PUT", uws.jobs), ("PUT", job), ("PATCH", job)]
    refused += [("DELETE", f"{job}/{child}") for child in ("phase", "results", "parameters", "owner", "error")]
    refused += [(verb, f"{job}/results") for verb in ("POST", "PUT")]
    refused += [(verb, f"{job}/results/result") for verb in ("POST", "PUT", "DELETE")]
    refused += [("POST", f"{job}/owner"), ("POST", f"{job}/quote"), ("POST", f"{uws.base}/capabilities")]  # V-001
    for verb, url in refused:
        answer = uws.request(verb, url)
        assert answer.status_code == 405, (verb, url)
        assert "GET" in answer.headers["allow"]
    assert uws.phase(job) == "PENDING"


def test_head_and_options(uws: Uws) -> None:
    """U-042, A-017: HEAD works wherever GET does."""
    job = uws.create()
    for url in (uws.jobs, job, f"{job}/phase", f"{job}/parameters", f"{uws.base}/capabilities", uws.root + "/"):
        answer = uws.request("HEAD", url)
        assert answer.status_code == 200 and not answer.content, url
    answer = uws.request("OPTIONS", job)
    assert answer.status_code == 204 and "DELETE" in answer.headers["allow"]


def test_locations_are_absolute(uws: Uws) -> None:
    """Redirects use the client's own URL.

    U-010, U-011, U-029, U-031, C-12.
    """
    job = uws.create()
    assert job.startswith(uws.jobs + "/")
    changes = {"executionduration": "EXECUTIONDURATION=5", "destruction": "DESTRUCTION=2031-01-01T00:00:00Z"}
    for child, body in {**changes, "parameters": "SECONDS=1", "phase": "PHASE=ABORT"}.items():
        answer = uws.request(
            "POST",
            f"{job}/{child}",
            content=body,
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        assert answer.status_code == 303, child
        assert answer.headers["location"] == job, child


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"x-forwarded-proto": "https", "x-forwarded-host": "uws.example.org"}, "https://uws.example.org"),
        ({"x-forwarded-proto": "https", "x-forwarded-host": "a.example, b"}, "https://a.example"),
        ({"x-forwarded-host": "h:8443", "x-forwarded-prefix": "/jobs"}, "http://h:8443/jobs"),
        ({"host": "other.example"}, "http://other.example"),
    ],
)
def test_public_urls(uws: Uws, headers: dict[str, str], base: str) -> None:
    """A proxy's URLs are used (U-011, C-12, A-013)."""
    answer = uws.post(uws.jobs, {}, headers=headers)
    location = answer.headers["location"]
    uws.made.append(location.replace(base, uws.root))
    assert location.startswith(f"{base}/probe/async/")
    listed = etree.fromstring(uws.get(uws.jobs + "?LAST=1", headers=headers).content)[0]
    assert listed.get(XLINK + "href") == location


@pytest.mark.parametrize("headers", [{"host": "a b"}, {"x-forwarded-proto": "gopher"}, {"x-forwarded-prefix": "x y"}])
def test_forged_hosts(uws: Uws, headers: dict[str, str]) -> None:
    """A wrong Host is refused."""
    answer = uws.get(uws.jobs, headers=headers)
    assert answer.status_code == 400


def test_completed_job(uws: Uws) -> None:
    """A completed job has results.

    U-032, U-035, U-081…U-083, U-106, D-040, D-041, T-020.
    """
    job = uws.create({"SECONDS": "0", "OUTPUT": "1000", "PHASE": "RUN"})
    assert uws.wait(job) == "COMPLETED"
    document = uws.document(job)
    created, started, ended = (text(document, name) for name in ("creationTime", "startTime", "endTime"))
    assert created and started and ended and created <= started <= ended
    (result,) = document.find(UWS + "results")
    href = result.get(XLINK + "href")
    assert result.get("id") == "result" and href == f"{job}/results/result"
    answer = uws.get(href)
    assert answer.status_code == 200 and len(answer.content) == 1000
    assert answer.headers["content-length"] == result.get("size") == "1000"
    assert answer.headers["content-type"] == result.get("mime-type") == "application/octet-stream"
    assert uws.get(f"{job}/error").status_code == 404
    for log in ("stdout", "stderr"):
        assert uws.get(f"{job}/logs/{log}").status_code == 200


def test_ranges(uws: Uws) -> None:
    """Ranges and tags of results (RFC 9110 §14)."""
    job = uws.create({"OUTPUT": "1000", "PHASE": "RUN"})
    uws.wait(job)
    url = f"{job}/results/result"
    response = uws.get(url)
    tag = response.headers["etag"]
    part = uws.get(url, headers={"range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == response.content[10:20]
    assert part.headers["content-range"] == "bytes 10-19/1000"
    assert uws.get(url, headers={"range": "bytes=-5"}).content == response.content[-5:]
    assert uws.get(url, headers={"range": "bytes=990-"}).content == response.content[990:]
    assert uws.get(url, headers={"range": "bytes=2000-"}).status_code == 416
    assert uws.get(url, headers={"range": "nonsense"}).content == response.content
    assert uws.get(url, headers={"if-none-match": tag}).status_code == 304
    assert uws.get(url, headers={"range": "bytes=0-0", "if-range": '"other"'}).content == response.content
    assert uws.request("HEAD", url).headers["content-length"] == "1000"


def test_failed_job(uws: Uws) -> None:
    """A failed job has an error.

    U-003, U-084…U-086, D-043, D-044, D-046…D-050, C-34.
    """
    job = uws.create({"EXIT": "7", "PHASE": "RUN"})
    assert uws.wait(job) == "ERROR"
    document = uws.document(job)
    summary = document.find(UWS + "errorSummary")
    assert summary.get("type") == "fatal" and summary.get("hasDetail") == "true"
    message = summary.find(UWS + "message").text
    assert "7" in message
    answer = uws.get(f"{job}/error")
    assert answer.status_code == 200 and "votable" in answer.headers["content-type"]
    votable = etree.fromstring(answer.content)
    space = votable.nsmap[None]
    info = votable.find(f"{{{space}}}RESOURCE[@type='results']/{{{space}}}INFO[@name='QUERY_STATUS']")
    assert info.get("value") == "ERROR" and message in (info.text or "")
    plain = uws.get(f"{job}/error", headers={"accept": "text/plain"})
    assert plain.headers["content-type"].startswith("text/plain") and message in plain.text
    assert uws.get(f"{job}/results/result").status_code == 404  # T-021

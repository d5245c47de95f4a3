"""Job documents, lists and their JSON twins."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.protocol.samples import CREATED, FULL, PENDING, URLS, document, instants, jobs, texts
from tests.schemas import validate
from uws_service.domain.job import Job, JobRef, Parameter, Phase
from uws_service.domain.jobinfo import JobInfo
from uws_service.protocol import uws
from uws_service.protocol.uws import xml_form

U = f"{{{xml_form.UWS_NS}}}"
HREF = f"{{{xml_form.XLINK_NS}}}href"
NIL = f"{{{xml_form.XSI_NS}}}nil"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def local(element: Any) -> str:
    return str(etree.QName(element).localname)


def test_children_stand_in_the_order_of_the_schema() -> None:
    """U-006, U-007, U-070, U-071."""
    root = etree.fromstring(document(FULL))
    assert root.tag == U + "job" and root.get("version") == "1.1"
    assert [local(child) for child in root] == (
        "jobId runId ownerId phase quote creationTime startTime endTime executionDuration destruction parameters "
        "results errorSummary jobInfo"
    ).split()
    assert root.findtext(U + "creationTime") == uws.format_instant(CREATED)
    validate(document(FULL))


def test_unknown_values_are_nil_and_not_empty() -> None:
    """U-072…U-075; executionDuration is a number always (C-03)."""
    root = etree.fromstring(document(PENDING))
    for name in ("ownerId", "quote", "startTime", "endTime", "destruction"):
        child = root.find(U + name)
        assert child is not None and child.get(NIL) == "true" and child.text is None, name
    assert root.findtext(U + "executionDuration") == "0"
    assert root.find(U + "runId") is None and root.find(U + "errorSummary") is None
    assert root.find(U + "jobInfo") is None  # nothing to tell: no empty element
    validate(document(PENDING))


def test_prefixes_are_the_ones_that_clients_look_for() -> None:
    """C-01: some clients compare the names as they are written."""
    text = document(FULL).decode()
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<uws:job ')
    assert "<uws:jobId>" in text and " xlink:href=" in text and 'xsi:nil="true"' in document(PENDING).decode()
    assert "ns0" not in text
    listed = uws.jobs_open() + uws.jobrefs([ref(FULL)], URLS) + uws.jobs_close()
    assert b"<uws:jobref " in listed and b" xlink:href=" in listed


def test_values_come_back_as_they_were_given() -> None:
    """U-077, U-078: markup, line ends, and any script."""
    root = etree.fromstring(document(FULL))
    assert root.findtext(U + "runId") == "a b&c<é"
    values = [
        (element.get("id"), element.text)
        for element in root.iter(U + "parameter")
        if element.get("byReference") != "true"
    ]
    assert values == [
        (element.name, element.value) for element in FULL.parameters if element.name not in ("pol", "tab")
    ]


def test_what_xml_can_not_hold_goes_by_reference() -> None:
    """U-080, U-124: a URL below the job."""
    root = etree.fromstring(document(FULL))
    values = {
        element.get("id"): element.text
        for element in root.iter(U + "parameter")
        if element.get("byReference") == "true"
    }
    job = URLS.job(FULL.id)
    assert values == {"pol": f"{job}/parameters/pol?value=2", "tab": f"{job}/parameters/tab"}


def test_results_have_absolute_urls_sizes_and_types() -> None:
    """U-061, U-081, C-10."""
    root = etree.fromstring(uws.results_xml(FULL, urls=URLS))
    assert [dict(element.attrib) for element in root] == [
        {
            "id": "result",
            HREF: f"{URLS.job(FULL.id)}/results/result",
            "size": "2048",
            "mime-type": "application/x-votable+xml",
        },
        {
            "id": "plots/1.png",
            HREF: f"{URLS.job(FULL.id)}/results/plots%2F1.png",
            "size": "0",
            "mime-type": "image/png",
        },
    ]


def test_the_error_stands_in_the_document() -> None:
    """U-084…U-086, D-044, C-34."""
    root = etree.fromstring(document(FULL))
    summary = root.find(U + "errorSummary")
    assert summary is not None
    assert dict(summary.items()) == {"type": "fatal", "hasDetail": "true"}
    assert summary.findtext(U + "message") == "exit code 3 <&>"
    assert FULL.error is not None
    transient = replace(FULL, error=replace(FULL.error, transient=True))
    assert b'type="transient"' in document(transient)


def test_lists_of_parameters_and_results_are_documents_of_their_own() -> None:
    """U-034, U-036, U-076, U-088: content as in the job."""
    full = etree.fromstring(document(FULL))
    for name, part in (
        ("parameters", uws.parameters_xml(FULL, urls=URLS)),
        ("results", uws.results_xml(FULL, urls=URLS)),
    ):
        validate(part)
        root = etree.fromstring(part)
        embedded = full.find(U + name)
        assert embedded is not None
        assert not root.attrib and root.tag == U + name
        assert [(dict(element.attrib), element.text) for element in root] == [
            (dict(element.attrib), element.text) for element in embedded
        ]


def test_job_info_tells_progress_place_and_logs() -> None:
    """U-087: elements of our own namespace, which our schema knows."""
    info = f"{{{xml_form.INFO_NS}}}"
    root = etree.fromstring(document(FULL))
    progress = root.find(f"{U}jobInfo/{info}info/{info}progress")
    assert progress is not None and progress.get("percent") == "42.5" and progress.text == "half & half"
    log = root.find(f"{U}jobInfo/{info}info/{info}log")
    assert log is not None and log.get(HREF) == f"{URLS.job(FULL.id)}/logs/stdout" and log.get("size") == "3"
    sums = {element.get("result"): element.text for element in root.iter(info + "checksum")}
    assert sums == {element.id: element.sha256 for element in FULL.results}
    queued = replace(PENDING, phase=Phase.QUEUED, info=JobInfo(waiting="for a slot", ahead=7))
    waiting = etree.fromstring(document(queued)).find(f"{U}jobInfo/{info}info/{info}waiting")
    assert waiting is not None and waiting.get("ahead") == "7" and waiting.text == "for a slot"


def test_running_jobs_link_to_their_live_logs() -> None:
    """The links are there before the end, without sizes."""
    view = uws.JobInfoView.of(replace(PENDING, phase=Phase.EXECUTING), URLS)
    assert [(name, size) for name, _, size in view.logs] == [("stdout", None), ("stderr", None)]


@given(jobs)
def test_any_job_makes_a_valid_document(job: Job) -> None:
    """U-006, U-008: valid, and true to the job."""
    content = document(job)
    validate(content)
    root = etree.fromstring(content)
    assert root.findtext(U + "jobId") == job.id and root.findtext(U + "phase") == job.phase
    for name in ("quote", "creationTime", "startTime", "endTime", "destruction"):
        text = root.findtext(U + name)
        assert not text or INSTANT.fullmatch(text)
    values = [(element.get("byReference"), element.text or "") for element in root.iter(U + "parameter")]
    assert len(values) == len(job.parameters)
    for parameter, (reference, text) in zip(job.parameters, values, strict=True):
        assert reference == "true" or text == parameter.value  # U-078
    json.dumps(uws.job_json(job, urls=URLS, info=uws.JobInfoView.of(job, URLS)))


def ref(job: Job) -> JobRef:
    return JobRef(job.id, job.phase, job.run_id, job.owner, job.created)


@given(
    st.lists(
        st.builds(
            JobRef,
            st.from_regex(r"[0-9a-f]{1,32}", fullmatch=True),
            st.sampled_from(Phase),
            st.none() | texts,
            st.none() | texts,
            instants,
        ),
        max_size=5,
    )
)
def test_any_list_is_valid_and_says_what_the_jobs_say(refs: list[JobRef]) -> None:
    """U-050, U-061, U-071: written as text, and correct."""
    content = uws.jobs_open() + uws.jobrefs(refs, URLS) + uws.jobs_close()
    validate(content)
    root = etree.fromstring(content)
    assert root.get("version") == "1.1"  # U-007
    for job_ref, element in zip(refs, root, strict=True):
        assert element.get("id") == job_ref.id and element.get(HREF) == URLS.job(job_ref.id)
        assert [local(child) for child in element] == (
            ["phase", *(["runId"] if job_ref.run_id is not None else []), "ownerId", "creationTime"]
        )
        assert element.findtext(U + "phase") == job_ref.phase
        assert element.findtext(U + "creationTime") == uws.format_instant(job_ref.created)
        if job_ref.run_id is not None:
            assert element.findtext(U + "runId") == uws.xml_text(job_ref.run_id)  # U-077
        owner = element.find(U + "ownerId")
        assert owner is not None
        assert (owner.get(NIL) == "true") == (job_ref.owner is None)
        assert job_ref.owner is None or (owner.text or "") == uws.xml_text(job_ref.owner)


def test_list_in_pieces_is_one_document() -> None:
    """U-050: a long list is sent page by page."""
    pages = [[JobRef(str(10 * page + k), Phase.QUEUED, None, None, CREATED) for k in range(3)] for page in range(3)]
    content = uws.jobs_open() + b"".join(uws.jobrefs(page, URLS) for page in pages) + uws.jobs_close()
    validate(content)
    assert [item.get("id") for item in etree.fromstring(content)] == [item.id for page in pages for item in page]


def test_base_urls_with_markup_are_escaped_in_the_list() -> None:
    """Nothing in the URLs may break the list."""
    urls = uws.JobUrls('http://h/a&b"<c/async')
    content = uws.jobs_open() + uws.jobrefs([ref(FULL)], urls) + uws.jobs_close()
    assert etree.fromstring(content)[0].get(HREF) == urls.job(FULL.id)


def test_json_says_what_the_xml_says() -> None:
    """U-076 between the two forms of one job."""
    body = uws.job_json(FULL, urls=URLS, info=uws.JobInfoView.of(FULL, URLS))
    root = etree.fromstring(document(FULL))
    for name in "jobId runId ownerId phase quote creationTime startTime endTime destruction".split():
        assert body[name] == root.findtext(U + name), name
    assert str(body["executionDuration"]) == root.findtext(U + "executionDuration")
    values = [(item.get("id"), item.text) for item in root.iter(U + "parameter")]
    assert [(item["id"], item["value"]) for item in body["parameters"]] == values
    assert [(item["id"], item["href"]) for item in body["results"]] == [
        (item.get("id"), item.get(HREF)) for item in root.iter(U + "result")
    ]
    assert body["errorSummary"]["message"] == root.findtext(f"{U}errorSummary/{U}message")
    listed = uws.jobs_json([ref(FULL)], URLS)["jobs"][0]
    assert listed["href"] == URLS.job(FULL.id) and listed["creationTime"] == body["creationTime"]


@pytest.mark.parametrize("character", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
def test_characters_that_xml_forbids(character: str) -> None:
    """U-080; the same set as the XML standard's."""
    assert uws.is_reference(Parameter("A", f"x{character}y"))
    assert uws.xml_text(f"x{character}y") == "x\ufffdy"
    validate(document(replace(PENDING, run_id=character, parameters=(Parameter(f"A{character}", "v"),))))


@pytest.mark.parametrize("text", ["\t\n\r ~", "\x7f\x85\u2028", "\ue000\ufffd", "\U00010000\U0010ffff"])
def test_characters_that_xml_allows(text: str) -> None:
    """U-078: these go in the document, and come back."""
    assert not uws.is_reference(Parameter("A", text))
    root = etree.fromstring(document(replace(PENDING, parameters=(Parameter("A", text),))))
    assert root.findtext(f"{U}parameters/{U}parameter") == text

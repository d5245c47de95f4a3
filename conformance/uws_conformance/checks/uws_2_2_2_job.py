"""UWS 1.1 §2.2.2.2 and appendix B: the job document and its schema."""

from __future__ import annotations

import re

from lxml import etree

from uws_conformance import documents
from uws_conformance.bench import Bench, Job
from uws_conformance.outcomes import Skipped, expect
from uws_conformance.registry import check

AT = "UWS 1.1 §2.2.2.2"
FROM = {"pending": "pending", "completed": "completed", "failed": "failed", "aborted": "aborted"}


def document(job: Job) -> etree._Element:
    return job.documents["get"]


def valid(label: str) -> None:
    @check(
        "U-006",
        "MUST",
        "UWS 1.1 §B",
        f"The document of a {label} job is valid against the schema.",
        name=f"valid-{label}",
    )
    def judged(see: Bench) -> str:
        job: Job = getattr(see, label)()
        documents.valid(document(job), "uws-1.1.xsd", job.url)
        return "valid"


for _label in FROM:
    valid(_label)


@check("U-006", "MUST", "UWS 1.1 §B", "The document of a running job is valid against the schema.")
def valid_running(see: Bench) -> str:
    job = see.running()
    documents.valid(job.documents["executing"], "uws-1.1.xsd", job.url)
    return "valid"


@check("U-006", "MUST", "UWS 1.1 §B", "The job list is valid against the schema.")
def valid_list(see: Bench) -> str:
    see.pending(), see.aborted()
    documents.valid(see.xml(see.jobs), "uws-1.1.xsd", see.jobs)
    return "valid"


def valid_part(child: str) -> None:
    @check("U-006", "MUST", "UWS 1.1 §B", f"The {child} document is valid against the schema.", name=f"valid-{child}")
    def judged(see: Bench) -> str:
        url = f"{see.completed().url}/{child}"
        root = see.xml(url)
        expect(root.tag == f"{{{documents.UWS}}}{child}", f"the root of {url} is {root.tag}")
        documents.valid(root, "uws-1.1.xsd", url)
        return "valid"


valid_part("results")
valid_part("parameters")


@check(
    "U-070",
    "MUST",
    AT,
    "The document element of a job is uws:job in the namespace of UWS.",
    "The namespace stays …/v1.0 in version 1.1.",
)
def job_root(see: Bench) -> str:
    tag = document(see.pending()).tag
    expect(tag == f"{{{documents.UWS}}}job", f"the root is {tag}")
    return str(tag)


@check("U-007", "MUST", "UWS 1.1 §2.2.1.1", 'The job document has version="1.1".')
def job_version(see: Bench) -> str:
    version = document(see.pending()).get("version")
    expect(version == "1.1", f"version is {version!r}")
    return "1.1"


@check("U-009", "SHOULD", "UWS 1.1 §2.2.1", "jobId is the last segment of the job's URL.")
def job_id(see: Bench) -> str:
    job = see.pending()
    found, last = documents.value(document(job), "jobId"), job.url.rsplit("/", 1)[-1]
    expect(found == last, f"jobId is {found!r}, the URL ends in {last!r}")
    return last


@check("U-009", "SHOULD", "UWS 1.1 §2.2.1", "jobId needs no escaping in a URL.")
def job_id_plain(see: Bench) -> str:
    found = documents.value(document(see.pending()), "jobId") or ""
    expect(re.fullmatch(r"[A-Za-z0-9._~-]+", found), f"jobId is {found!r}")
    return found


@check("U-071", "MUST", AT, "The job document has a creationTime.")
def creation_time(see: Bench) -> str:
    found = documents.value(document(see.pending()), "creationTime")
    expect(found, "no creationTime")
    return str(found)


def instants(label: str, element: str) -> None:
    @check(
        "U-008",
        "MUST",
        "UWS 1.1 §2.2.1",
        f"{element} is ISO 8601 with T and Z.",
        "No +00:00: pyvo cannot read it.",
        name=f"{element}-element",
    )
    def written(see: Bench) -> str:
        found = documents.value(document(getattr(see, label)()), element)
        if not found:
            raise Skipped(f"no {element}")
        documents.instant(found)
        return found


for _label, _element in (
    ("pending", "creationTime"),
    ("completed", "startTime"),
    ("completed", "endTime"),
    ("pending", "destruction"),
    ("pending", "quote"),
):
    instants(_label, _element)


def fraction(label: str, element: str) -> None:
    @check(
        "C-33",
        "TRAP",
        "Clients §CADC",
        f"{element} has a fraction of a second.",
        "Write milliseconds: .123Z.",
        name=f"{element}-fraction",
    )
    def written(see: Bench) -> str:
        found = documents.value(document(getattr(see, label)()), element)
        if not found:
            raise Skipped(f"no {element}")
        expect("." in found, f"{element} is {found}")
        return found


fraction("pending", "creationTime")
fraction("pending", "destruction")


def unknown(label: str, element: str) -> None:
    @check(
        "U-072",
        "MUST",
        AT,
        f"{element} of a {label} job is nil.",
        'Write xsi:nil="true", no empty element.',
        name=f"{element}-nil-{label}",
    )
    def nil(see: Bench) -> str:
        job = see.pending() if label == "pending" else see.running()
        root = document(job) if label == "pending" else job.documents["executing"]
        found = documents.child(root, element)
        expect(found is not None, f"no {element}")
        expect(documents.value(root, element) is None, f"{element} is {documents.value(root, element)!r}")
        return "nil"


unknown("pending", "startTime")
unknown("pending", "endTime")
unknown("running", "endTime")


@check("U-073", "MUST", AT, "The element ownerId is there; nil if nobody is known.")
def owner_element(see: Bench) -> str:
    root = document(see.pending())
    expect(documents.child(root, "ownerId") is not None, "no ownerId")
    expect(documents.value(root, "ownerId") != "", "ownerId is empty, not nil")
    return repr(documents.value(root, "ownerId"))


@check("U-138", "MUST", "UWS 1.1 §2.1.4", "executionDuration of a new job is an integer.")
def duration_element(see: Bench) -> str:
    found = documents.value(document(see.pending()), "executionDuration") or ""
    expect(found.isdigit(), f"executionDuration is {found!r}")
    return found


@check("U-139", "MUST", "UWS 1.1 §B", "executionDuration fits in an xs:int.")
def duration_int(see: Bench) -> str:
    found = documents.value(document(see.pending()), "executionDuration") or ""
    expect(found.isdigit() and int(found) <= 2147483647, f"executionDuration is {found!r}")
    return found


@check("U-106", "MUST", "UWS 1.1 §2.1.7", "creationTime ≤ startTime ≤ endTime in a completed job.")
def times_ordered(see: Bench) -> str:
    root = document(see.completed())
    found = [documents.value(root, name) or "" for name in ("creationTime", "startTime", "endTime")]
    expect(all(found), f"times are {found}")
    expect(sorted(found, key=documents.instant) == found, f"times are {found}")
    return ", ".join(found)


@check("U-106", "MUST", "UWS 1.1 §2.1.7", "A running job has a startTime.")
def start_time(see: Bench) -> str:
    found = documents.value(see.running().documents["executing"], "startTime")
    expect(found, "no startTime")
    return str(found)


def ended(label: str) -> None:
    @check("U-106", "MUST", "UWS 1.1 §2.1.7", f"A {label} job has an endTime.", name=f"end-time-{label}")
    def given(see: Bench) -> str:
        found = documents.value(document(getattr(see, label)()), "endTime")
        expect(found, "no endTime")
        return str(found)


ended("completed")
ended("failed")


@check("U-076", "MUST", AT, "parameters says the same as the job document.")
def parameters_agree(see: Bench) -> str:
    job = see.completed()
    inside = documents.child(document(job), "parameters")
    alone = [(one.get("id"), one.text) for one in see.xml(f"{job.url}/parameters")]
    if inside is None:
        raise Skipped("the job document leaves the parameters out, as it may")
    found = [(one.get("id"), one.text) for one in inside]
    expect(sorted(map(str, found)) == sorted(map(str, alone)), f"in the job {found}, alone {alone}")
    return f"{len(found)} parameters"


@check("U-076", "MUST", AT, "results says the same as the job document.")
def results_agree(see: Bench) -> str:
    job = see.completed()
    results = documents.child(document(job), "results")
    inside = [] if results is None else [one.get("id") for one in results]
    alone = [one.get("id") for one in see.xml(f"{job.url}/results")]
    expect(inside == alone, f"in the job {inside}, alone {alone}")
    return ", ".join(map(str, alone))


@check("U-078", "MUST", "UWS 1.1 §2.2.2.4", "The parameters given at creation are listed with their values.")
def parameters_listed(see: Bench) -> str:
    job = see.completed()
    found = {(one.get("id") or "").upper(): one.text or "" for one in see.xml(f"{job.url}/parameters")}
    for key, value in see.kind("short"):
        expect(key.upper() in found, f"{key} is not listed")
        expect(
            found[key.upper()] == value or found[key.upper()].strip() == value.strip(),
            f"{key} is {found[key.upper()]!r}, sent {value!r}",
        )
    return f"{len(found)} parameters"

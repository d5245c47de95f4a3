"""UWS 1.1 §2.2.2.2 and appendix B: the job document."""

from __future__ import annotations

import re

from lxml import etree

from uws_conformance import documents
from uws_conformance.bench import Bench, Job
from uws_conformance.outcomes import Skipped, expect
from uws_conformance.registry import check

SECTION = "UWS 1.1 §2.2.2.2"
JOB_KINDS = {"pending": "pending", "completed": "completed", "failed": "failed", "aborted": "aborted"}


def document(job: Job) -> etree._Element:
    """Return the job document of a shared job."""
    return job.documents["get"]


def add_schema_check(job_kind: str) -> None:
    """Register the validation of a job document."""

    @check(
        "U-006",
        "MUST",
        "UWS 1.1 §B",
        f"The document of a {job_kind} job is valid against the schema.",
        name=f"valid-{job_kind}",
    )
    def is_valid(bench: Bench) -> str:
        job: Job = getattr(bench, job_kind)()
        documents.valid(document(job), "uws-1.1.xsd", job.url)
        return "valid"


for _label in JOB_KINDS:
    add_schema_check(_label)


@check("U-006", "MUST", "UWS 1.1 §B", "The document of a running job is valid against the schema.")
def valid_running(bench: Bench) -> str:
    job = bench.running()
    documents.valid(job.documents["executing"], "uws-1.1.xsd", job.url)
    return "valid"


@check("U-006", "MUST", "UWS 1.1 §B", "The job list is valid against the schema.")
def valid_list(bench: Bench) -> str:
    bench.pending(), bench.aborted()
    documents.valid(bench.get_xml(bench.list_url), "uws-1.1.xsd", bench.list_url)
    return "valid"


def add_child_schema_check(child: str) -> None:
    """Register the validation of a child's document."""

    @check("U-006", "MUST", "UWS 1.1 §B", f"The {child} document is valid against the schema.", name=f"valid-{child}")
    def is_valid(bench: Bench) -> str:
        url = f"{bench.completed().url}/{child}"
        root = bench.get_xml(url)
        expect(root.tag == f"{{{documents.UWS}}}{child}", f"the root of {url} is {root.tag}")
        documents.valid(root, "uws-1.1.xsd", url)
        return "valid"


add_child_schema_check("results")
add_child_schema_check("parameters")


@check(
    "U-070",
    "MUST",
    SECTION,
    "The document element of a job is uws:job in the namespace of UWS.",
    "The namespace stays …/v1.0 in version 1.1.",
)
def job_root(bench: Bench) -> str:
    tag = document(bench.pending()).tag
    expect(tag == f"{{{documents.UWS}}}job", f"the root is {tag}")
    return str(tag)


@check("U-007", "MUST", "UWS 1.1 §2.2.1.1", 'The job document has version="1.1".')
def job_version(bench: Bench) -> str:
    version = document(bench.pending()).get("version")
    expect(version == "1.1", f"version is {version!r}")
    return "1.1"


@check("U-009", "SHOULD", "UWS 1.1 §2.2.1", "jobId is the last segment of the job's URL.")
def job_id(bench: Bench) -> str:
    job = bench.pending()
    job_id, last_segment = documents.value(document(job), "jobId"), job.url.rsplit("/", 1)[-1]
    expect(job_id == last_segment, f"jobId is {job_id!r}, the URL ends in {last_segment!r}")
    return last_segment


@check("U-009", "SHOULD", "UWS 1.1 §2.2.1", "jobId needs no escaping in a URL.")
def job_id_plain(bench: Bench) -> str:
    job_id = documents.value(document(bench.pending()), "jobId") or ""
    expect(re.fullmatch(r"[A-Za-z0-9._~-]+", job_id), f"jobId is {job_id!r}")
    return job_id


@check("U-071", "MUST", SECTION, "The job document has a creationTime.")
def creation_time(bench: Bench) -> str:
    creation_time = documents.value(document(bench.pending()), "creationTime")
    expect(creation_time, "no creationTime")
    return str(creation_time)


def add_instant_check(job_kind: str, element: str) -> None:
    """Register the check of an instant's format."""

    @check(
        "U-008",
        "MUST",
        "UWS 1.1 §2.2.1",
        f"{element} is ISO 8601 with T and Z.",
        "No +00:00: pyvo cannot read it.",
        name=f"{element}-element",
    )
    def is_instant(bench: Bench) -> str:
        value = documents.value(document(getattr(bench, job_kind)()), element)
        if not value:
            raise Skipped(f"no {element}")
        documents.instant(value)
        return value


for _label, _element in (
    ("pending", "creationTime"),
    ("completed", "startTime"),
    ("completed", "endTime"),
    ("pending", "destruction"),
    ("pending", "quote"),
):
    add_instant_check(_label, _element)


def add_fraction_check(job_kind: str, element: str) -> None:
    """Register the check of fractions of seconds."""

    @check(
        "C-33",
        "TRAP",
        "Clients §CADC",
        f"{element} has a fraction of a second.",
        "Write milliseconds: .123Z.",
        name=f"{element}-fraction",
    )
    def has_fraction(bench: Bench) -> str:
        value = documents.value(document(getattr(bench, job_kind)()), element)
        if not value:
            raise Skipped(f"no {element}")
        expect("." in value, f"{element} is {value}")
        return value


add_fraction_check("pending", "creationTime")
add_fraction_check("pending", "destruction")


def add_nil_check(job_kind: str, element: str) -> None:
    """Register the check of a nil element."""

    @check(
        "U-072",
        "MUST",
        SECTION,
        f"{element} of a {job_kind} job is nil.",
        'Write xsi:nil="true", no empty element.',
        name=f"{element}-nil-{job_kind}",
    )
    def is_nil(bench: Bench) -> str:
        job = bench.pending() if job_kind == "pending" else bench.running()
        root = document(job) if job_kind == "pending" else job.documents["executing"]
        child = documents.child(root, element)
        expect(child is not None, f"no {element}")
        expect(documents.value(root, element) is None, f"{element} is {documents.value(root, element)!r}")
        return "nil"


add_nil_check("pending", "startTime")
add_nil_check("pending", "endTime")
add_nil_check("running", "endTime")


@check("U-073", "MUST", SECTION, "The element ownerId is there; nil if the owner is unknown.")
def owner_element(bench: Bench) -> str:
    root = document(bench.pending())
    expect(documents.child(root, "ownerId") is not None, "no ownerId")
    expect(documents.value(root, "ownerId") != "", "ownerId is empty, not nil")
    return repr(documents.value(root, "ownerId"))


@check("U-138", "MUST", "UWS 1.1 §2.1.4", "executionDuration of a new job is an integer.")
def duration_element(bench: Bench) -> str:
    duration = documents.value(document(bench.pending()), "executionDuration") or ""
    expect(duration.isdigit(), f"executionDuration is {duration!r}")
    return duration


@check("U-139", "MUST", "UWS 1.1 §B", "executionDuration fits in an xs:int.")
def duration_int(bench: Bench) -> str:
    duration = documents.value(document(bench.pending()), "executionDuration") or ""
    expect(duration.isdigit() and int(duration) <= 2147483647, f"executionDuration is {duration!r}")
    return duration


@check("U-106", "MUST", "UWS 1.1 §2.1.7", "creationTime ≤ startTime ≤ endTime in a completed job.")
def times_ordered(bench: Bench) -> str:
    root = document(bench.completed())
    times = [documents.value(root, name) or "" for name in ("creationTime", "startTime", "endTime")]
    expect(all(times), f"times are {times}")
    expect(sorted(times, key=documents.instant) == times, f"times are {times}")
    return ", ".join(times)


@check("U-106", "MUST", "UWS 1.1 §2.1.7", "A running job has a startTime.")
def start_time(bench: Bench) -> str:
    start_time = documents.value(bench.running().documents["executing"], "startTime")
    expect(start_time, "no startTime")
    return str(start_time)


def add_end_time_check(job_kind: str) -> None:
    """Register the check of an endTime."""

    @check("U-106", "MUST", "UWS 1.1 §2.1.7", f"A {job_kind} job has an endTime.", name=f"end-time-{job_kind}")
    def has_end_time(bench: Bench) -> str:
        end_time = documents.value(document(getattr(bench, job_kind)()), "endTime")
        expect(end_time, "no endTime")
        return str(end_time)


add_end_time_check("completed")
add_end_time_check("failed")


@check("U-076", "MUST", SECTION, "parameters agrees with the job document.")
def parameters_agree(bench: Bench) -> str:
    job = bench.completed()
    element = documents.child(document(job), "parameters")
    own_parameters = [(parameter.get("id"), parameter.text) for parameter in bench.get_xml(f"{job.url}/parameters")]
    if element is None:
        raise Skipped("the job document leaves the parameters out, as it may")
    job_parameters = [(parameter.get("id"), parameter.text) for parameter in element]
    expect(
        sorted(map(str, job_parameters)) == sorted(map(str, own_parameters)),
        f"in the job {job_parameters}, alone {own_parameters}",
    )
    return f"{len(job_parameters)} parameters"


@check("U-076", "MUST", SECTION, "results agrees with the job document.")
def results_agree(bench: Bench) -> str:
    job = bench.completed()
    element = documents.child(document(job), "results")
    job_results = [] if element is None else [result.get("id") for result in element]
    own_results = [result.get("id") for result in bench.get_xml(f"{job.url}/results")]
    expect(job_results == own_results, f"in the job {job_results}, alone {own_results}")
    return ", ".join(map(str, own_results))


@check("U-078", "MUST", "UWS 1.1 §2.2.2.4", "The parameters given at creation are listed with their values.")
def parameters_listed(bench: Bench) -> str:
    job = bench.completed()
    values = {
        (parameter.get("id") or "").upper(): parameter.text or ""
        for parameter in bench.get_xml(f"{job.url}/parameters")
    }
    for key, value in bench.job_form("short"):
        expect(key.upper() in values, f"{key} is not listed")
        expect(
            values[key.upper()] == value or values[key.upper()].strip() == value.strip(),
            f"{key} is {values[key.upper()]!r}, sent {value!r}",
        )
    return f"{len(values)} parameters"

"""UWS 1.1 §2.1.4, §2.1.5, §2.2.3.2 to §2.2.3.4: changes.

Also DALI 1.1 §2.1: parameters of existing jobs.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.checks.uws_2_1_3_phases import parameter_values
from uws_conformance.outcomes import Skipped, Unsupported, expect
from uws_conformance.registry import check

DELETE_SECTION = "UWS 1.1 §2.2.3.2"
ONE_SECOND = timedelta(seconds=1)


@check("U-136", "MUST", "UWS 1.1 §2.2.3.4", "A malformed EXECUTIONDURATION is refused with 4xx.")
def bad_duration(bench: Bench) -> str:
    reply = bench.post(f"{bench.editable().url}/executionduration", ("EXECUTIONDURATION", "soon"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-136", "MUST", "UWS 1.1 §2.2.3.4", "A new EXECUTIONDURATION is stored, or shown as the server limited it.")
def set_duration(bench: Bench) -> str:
    job = bench.editable()
    reply = bench.post(f"{job.url}/executionduration", ("EXECUTIONDURATION", "20"))
    if reply.status == 403:
        raise Unsupported(str(reply))
    duration = documents.value(bench.get_xml(job.url), "executionDuration") or ""
    expect(duration.isdigit() and 0 < int(duration) <= 20, f"asked for 20, executionDuration is {duration!r}")
    return duration


@check("U-135", "SHOULD", "UWS 1.1 §2.2.3.3", "A malformed DESTRUCTION is refused with 4xx.")
def bad_destruction(bench: Bench) -> str:
    reply = bench.post(f"{bench.editable().url}/destruction", ("DESTRUCTION", "tomorrow"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-134", "MUST", "UWS 1.1 §2.2.3.3", "A new DESTRUCTION is stored, or shown as the server limited it.")
def set_destruction(bench: Bench) -> str:
    job = bench.editable()
    requested = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    reply = bench.post(f"{job.url}/destruction", ("DESTRUCTION", requested.strftime("%Y-%m-%dT%H:%M:%S.%fZ")))
    if reply.status == 403:
        raise Unsupported(str(reply))
    destruction = documents.value(bench.get_xml(job.url), "destruction") or ""
    expect(
        destruction and documents.instant(destruction) <= requested,
        f"asked for {requested}, destruction is {destruction!r}",
    )
    return destruction


@check("U-134", "MUST", "UWS 1.1 §2.2.3.3", "A DESTRUCTION far ahead is no error; the document shows a readable value.")
def far_destruction(bench: Bench) -> str:
    job = bench.editable()
    reply = bench.post(f"{job.url}/destruction", ("DESTRUCTION", "9999-01-01T00:00:00Z"))
    if reply.status == 403:
        raise Unsupported(str(reply))
    expect(reply.status == 303, str(reply))
    destruction = documents.value(bench.get_xml(job.url), "destruction")
    if destruction:
        documents.instant(destruction)
    return str(destruction)


@check("D-011", "MUST", "DALI 1.1 §2.1", "POST to parameters of a pending job answers 303.")
def post_parameters(bench: Bench) -> str:
    reply = bench.post(f"{bench.editable().url}/parameters", bench.changeable_parameter())
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("D-011", "MUST", "DALI 1.1 §2.1", "A parameter that was posted to a pending job is listed.")
def posted_parameter(bench: Bench) -> str:
    key, value = bench.changeable_parameter()
    job = bench.editable()
    bench.post(f"{job.url}/parameters", (key, value))
    values = parameter_values(bench, job.url).get(key.upper(), [])
    expect(value in values, f"{key} is {values}, sent was {value!r}")
    return value


@check(
    "D-012",
    "AMBIG",
    "DALI 1.1 §2.1",
    "Parameters posted to the job's own URL are not stored.",
    "DALI forbids it, TAP 1.0 clients do it.",
)
def parameter_at_job(bench: Bench) -> str:
    job = bench.editable()
    reply = bench.post(job.url, ("ZZZ_AT_JOB", "1"))
    expect("ZZZ_AT_JOB" not in parameter_values(bench, job.url), f"{reply}, and it is listed")
    expect(reply.status < 500, str(reply))
    return str(reply)


@check("D-013", "MUST", "DALI 1.1 §2.1", "Parameters of a running job cannot be changed: 4xx.")
def parameter_running(bench: Bench) -> str:
    reply = bench.running().replies["parameters"]
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("D-013", "MUST", "DALI 1.1 §2.1", "Parameters of an aborted job cannot be changed: 4xx.")
def parameter_aborted(bench: Bench) -> str:
    reply = bench.post(f"{bench.aborted().url}/parameters", bench.changeable_parameter())
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


WAYS = {"DELETE": "DELETE", "ACTION": "POST of ACTION=DELETE", "action": "POST of action=DELETE"}


def add_deletion_checks(way: str) -> None:
    """Register the checks of a way to delete."""
    rule = "U-130" if way == "DELETE" else "U-131"

    @check(
        rule,
        "MUST",
        DELETE_SECTION,
        f"{WAYS[way]} answers 303.",
        "TOPCAT takes neither 200 nor 204.",
        name=f"{way}-303",
    )
    def redirects(bench: Bench) -> str:
        reply = bench.deleted(way).replies["delete"]
        expect(reply.status == 303, str(reply))
        return str(reply)

    @check(rule, "MUST", DELETE_SECTION, f"{WAYS[way]} leads back to the job list.", name=f"{way}-location")
    def to_list(bench: Bench) -> str:
        job = bench.deleted(way)
        reply = job.replies["delete"]
        location = reply.location.partition("?")[0].rstrip("/")
        parent_url = job.url.rpartition("/")[0]  # the list may have another URL
        expect(
            location in (bench.list_url, parent_url), f"Location is {reply.location!r}, the list is {bench.list_url}"
        )
        return location

    @check(rule, "MUST", DELETE_SECTION, f"After {WAYS[way]} the job is gone: 404, or ARCHIVED.", name=f"{way}-gone")
    def gone(bench: Bench) -> str:
        reply = bench.deleted(way).replies["get"]
        expect(reply.status == 404 or ">ARCHIVED<" in reply.text, str(reply))
        return str(reply)


for _by in WAYS:
    add_deletion_checks(_by)


@check("U-132", "MUST", "UWS 1.1 §2.1.5", "A deleted job is no longer listed.")
def deleted_not_listed(bench: Bench) -> str:
    job = bench.deleted()
    expect(f'"{job.url.rsplit("/", 1)[-1]}"' not in job.replies["list"].text, "it is still listed")
    return "not listed"


@check("U-132", "MUST", "UWS 1.1 §2.1.5", "Deleting a job deletes its children: results answers 404.")
def deleted_results(bench: Bench) -> str:
    reply = bench.get(f"{bench.deleted().url}/results")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("U-132", "MUST", "UWS 1.1 §2.1.5", "A running job can be deleted: 303, and it is gone.")
def delete_running(bench: Bench) -> str:
    job = bench.create_job((*bench.job_form("long"), ("PHASE", "RUN")))
    if bench.phase(job) == "PENDING":
        bench.post(f"{job.url}/phase", ("PHASE", "RUN"))
    if bench.wait_for_phase(job, "EXECUTING", "QUEUED", "COMPLETED") == "COMPLETED":
        raise Skipped("the profile's long job ended by itself; make it longer")
    reply = bench.client.send("DELETE", job.url)
    expect(reply.status == 303, str(reply))
    expect(bench.get(job.url).status == 404 or bench.phase(job) == "ARCHIVED", "the job is still there")
    return str(reply)


@check("U-137", "SHOULD", "UWS 1.1 §2.1.4", "A job that exceeds its execution duration is ABORTED, not ERROR.")
def duration_exceeded(bench: Bench) -> str:
    job = bench.create_job(bench.job_form("long"))
    reply = bench.post(f"{job.url}/executionduration", ("EXECUTIONDURATION", "1"))
    if documents.value(bench.get_xml(job.url), "executionDuration") != "1":
        raise Unsupported(f"{reply}: the duration cannot be set to 1 s")
    bench.post(f"{job.url}/phase", ("PHASE", "RUN"))
    phase = bench.wait_for_phase(job, "ABORTED", "ERROR", "COMPLETED")
    root = bench.get_xml(job.url)
    started, ended = (documents.value(root, name) for name in ("startTime", "endTime"))
    if (
        phase == "COMPLETED"
        and started
        and ended
        and documents.instant(ended) - documents.instant(started) < ONE_SECOND
    ):
        raise Skipped("the profile's long job ended within a second; make it longer")
    expect(phase == "ABORTED", f"the job became {phase}{bench.failure_message(job)}")
    return phase


@check("U-133", "MUST", "UWS 1.1 §2.1.5", "At its destruction time a job disappears: 404, or ARCHIVED.")
def destroyed_in_time(bench: Bench) -> str:
    job = bench.create_job(bench.job_form("short"))
    destruction = datetime.now(UTC) + timedelta(seconds=1)
    reply = bench.post(f"{job.url}/destruction", ("DESTRUCTION", destruction.strftime("%Y-%m-%dT%H:%M:%S.%fZ")))
    if reply.status == 403:
        raise Unsupported(str(reply))
    expect(reply.status == 303, str(reply))

    def is_gone() -> bool:
        reply = bench.get(job.url)
        return reply.status == 404 or ">ARCHIVED<" in reply.text

    deadline = time.monotonic() + bench.profile.patience
    while not is_gone():
        expect(time.monotonic() < deadline, f"{job.url} is still there {bench.profile.patience:g} s later")
        time.sleep(bench.profile.poll)
    return "gone"

"""UWS 1.1 §2.1.4, §2.1.5 and §2.2.3.2 to §2.2.3.4, and DALI 1.1 §2.1: changing and deleting jobs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.checks.uws_2_1_3_phases import parameters
from uws_conformance.outcomes import Skipped, Unsupported, expect
from uws_conformance.registry import check

DELETE = "UWS 1.1 §2.2.3.2"
SECOND = timedelta(seconds=1)


@check("U-136", "MUST", "UWS 1.1 §2.2.3.4", "A malformed EXECUTIONDURATION is refused with 4xx.")
def bad_duration(see: Bench) -> str:
    reply = see.post(f"{see.edited().url}/executionduration", ("EXECUTIONDURATION", "soon"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-136", "MUST", "UWS 1.1 §2.2.3.4", "A new EXECUTIONDURATION is kept, or shown as the server clamped it.")
def set_duration(see: Bench) -> str:
    job = see.edited()
    reply = see.post(f"{job.url}/executionduration", ("EXECUTIONDURATION", "20"))
    if reply.status == 403:
        raise Unsupported(str(reply))
    found = documents.value(see.xml(job.url), "executionDuration") or ""
    expect(found.isdigit() and 0 < int(found) <= 20, f"asked for 20, executionDuration is {found!r}")
    return found


@check("U-135", "SHOULD", "UWS 1.1 §2.2.3.3", "A malformed DESTRUCTION is refused with 4xx.")
def bad_destruction(see: Bench) -> str:
    reply = see.post(f"{see.edited().url}/destruction", ("DESTRUCTION", "tomorrow"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-134", "MUST", "UWS 1.1 §2.2.3.3", "A new DESTRUCTION is kept, or shown as the server clamped it.")
def set_destruction(see: Bench) -> str:
    job = see.edited()
    asked = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    reply = see.post(f"{job.url}/destruction", ("DESTRUCTION", asked.strftime("%Y-%m-%dT%H:%M:%S.%fZ")))
    if reply.status == 403:
        raise Unsupported(str(reply))
    found = documents.value(see.xml(job.url), "destruction") or ""
    expect(found and documents.instant(found) <= asked, f"asked for {asked}, destruction is {found!r}")
    return found


@check("U-134", "MUST", "UWS 1.1 §2.2.3.3", "A DESTRUCTION far ahead is no error; the document shows a readable value.")
def far_destruction(see: Bench) -> str:
    job = see.edited()
    reply = see.post(f"{job.url}/destruction", ("DESTRUCTION", "9999-01-01T00:00:00Z"))
    if reply.status == 403:
        raise Unsupported(str(reply))
    expect(reply.status == 303, str(reply))
    found = documents.value(see.xml(job.url), "destruction")
    if found:
        documents.instant(found)
    return str(found)


@check("D-011", "MUST", "DALI 1.1 §2.1", "POST to parameters of a pending job answers 303.")
def post_parameters(see: Bench) -> str:
    reply = see.post(f"{see.edited().url}/parameters", see.parameter())
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("D-011", "MUST", "DALI 1.1 §2.1", "A parameter that was posted to a pending job is listed.")
def posted_parameter(see: Bench) -> str:
    key, value = see.parameter()
    job = see.edited()
    see.post(f"{job.url}/parameters", (key, value))
    found = parameters(see, job.url).get(key.upper(), [])
    expect(value in found, f"{key} is {found}, sent was {value!r}")
    return value


@check(
    "D-012",
    "AMBIG",
    "DALI 1.1 §2.1",
    "Parameters posted to the job's own URL are not taken.",
    "DALI forbids it, TAP 1.0 clients do it.",
)
def parameter_at_job(see: Bench) -> str:
    job = see.edited()
    reply = see.post(job.url, ("ZZZ_AT_JOB", "1"))
    expect("ZZZ_AT_JOB" not in parameters(see, job.url), f"{reply}, and it is listed")
    expect(reply.status < 500, str(reply))
    return str(reply)


@check("D-013", "MUST", "DALI 1.1 §2.1", "Parameters of a running job cannot be changed: 4xx.")
def parameter_running(see: Bench) -> str:
    reply = see.running().replies["parameters"]
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("D-013", "MUST", "DALI 1.1 §2.1", "Parameters of an aborted job cannot be changed: 4xx.")
def parameter_aborted(see: Bench) -> str:
    reply = see.post(f"{see.aborted().url}/parameters", see.parameter())
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


WAYS = {"DELETE": "DELETE", "ACTION": "POST of ACTION=DELETE", "action": "POST of action=DELETE"}


def deletion(by: str) -> None:
    rule = "U-130" if by == "DELETE" else "U-131"

    @check(rule, "MUST", DELETE, f"{WAYS[by]} answers 303.", "TOPCAT takes neither 200 nor 204.", name=f"{by}-303")
    def redirects(see: Bench) -> str:
        reply = see.deleted(by).replies["delete"]
        expect(reply.status == 303, str(reply))
        return str(reply)

    @check(rule, "MUST", DELETE, f"{WAYS[by]} leads back to the job list.", name=f"{by}-location")
    def to_list(see: Bench) -> str:
        job = see.deleted(by)
        reply = job.replies["delete"]
        found = reply.location.partition("?")[0].rstrip("/")
        above = job.url.rpartition("/")[0]  # the list may have a second name
        expect(found in (see.jobs, above), f"Location is {reply.location!r}, the list is {see.jobs}")
        return found

    @check(rule, "MUST", DELETE, f"After {WAYS[by]} the job is gone: 404, or ARCHIVED.", name=f"{by}-gone")
    def gone(see: Bench) -> str:
        reply = see.deleted(by).replies["get"]
        expect(reply.status == 404 or ">ARCHIVED<" in reply.text, str(reply))
        return str(reply)


for _by in WAYS:
    deletion(_by)


@check("U-132", "MUST", "UWS 1.1 §2.1.5", "A deleted job is no longer listed.")
def deleted_not_listed(see: Bench) -> str:
    job = see.deleted()
    expect(f'"{job.url.rsplit("/", 1)[-1]}"' not in job.replies["list"].text, "it is still listed")
    return "not listed"


@check("U-132", "MUST", "UWS 1.1 §2.1.5", "Deleting a job deletes its children: results answers 404.")
def deleted_results(see: Bench) -> str:
    reply = see.get(f"{see.deleted().url}/results")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("U-132", "MUST", "UWS 1.1 §2.1.5", "A running job can be deleted: 303, and it is gone.")
def delete_running(see: Bench) -> str:
    job = see.new((*see.kind("long"), ("PHASE", "RUN")))
    if see.phase(job) == "PENDING":
        see.post(f"{job.url}/phase", ("PHASE", "RUN"))
    if see.until(job, "EXECUTING", "QUEUED", "COMPLETED") == "COMPLETED":
        raise Skipped("the profile's long job ended by itself; make it longer")
    reply = see.client.send("DELETE", job.url)
    expect(reply.status == 303, str(reply))
    expect(see.get(job.url).status == 404 or see.phase(job) == "ARCHIVED", "the job is still there")
    return str(reply)


@check("U-137", "SHOULD", "UWS 1.1 §2.1.4", "A job that exceeds its execution duration is ABORTED, not ERROR.")
def duration_exceeded(see: Bench) -> str:
    job = see.new(see.kind("long"))
    reply = see.post(f"{job.url}/executionduration", ("EXECUTIONDURATION", "1"))
    if documents.value(see.xml(job.url), "executionDuration") != "1":
        raise Unsupported(f"{reply}: the duration cannot be set to 1 s")
    see.post(f"{job.url}/phase", ("PHASE", "RUN"))
    found = see.until(job, "ABORTED", "ERROR", "COMPLETED")
    root = see.xml(job.url)
    started, ended = (documents.value(root, name) for name in ("startTime", "endTime"))
    if found == "COMPLETED" and started and ended and documents.instant(ended) - documents.instant(started) < SECOND:
        raise Skipped("the profile's long job ended within a second; make it longer")
    expect(found == "ABORTED", f"the job became {found}{see.why(job)}")
    return found


@check("U-133", "MUST", "UWS 1.1 §2.1.5", "At its destruction time a job disappears: 404, or ARCHIVED.")
def destroyed_in_time(see: Bench) -> str:
    job = see.new(see.kind("short"))
    soon = datetime.now(UTC) + timedelta(seconds=1)
    reply = see.post(f"{job.url}/destruction", ("DESTRUCTION", soon.strftime("%Y-%m-%dT%H:%M:%S.%fZ")))
    if reply.status == 403:
        raise Unsupported(str(reply))
    expect(reply.status == 303, str(reply))

    def look() -> bool:
        found = see.get(job.url)
        return found.status == 404 or ">ARCHIVED<" in found.text

    deadline = time.monotonic() + see.profile.patience
    while not look():
        expect(time.monotonic() < deadline, f"{job.url} is still there {see.profile.patience:g} s later")
        time.sleep(see.profile.poll)
    return "gone"

"""UWS 1.1 §2.1.3 to §2.1.5 and §2.2.3: phases, creating, changing and deleting jobs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.outcomes import Skipped, Unsupported, expect
from uws_conformance.registry import check

CREATE, DELETE = "UWS 1.1 §2.2.3.1", "UWS 1.1 §2.2.3.2"
SECOND = timedelta(seconds=1)


def parameters(see: Bench, url: str) -> dict[str, list[str]]:
    """The parameters of a job, names in upper case."""
    found: dict[str, list[str]] = {}
    for one in see.xml(f"{url}/parameters"):
        found.setdefault((one.get("id") or "").upper(), []).append(one.text or "")
    return found


@check("U-120", "MUST", CREATE, "A creating POST answers 303.", "TOPCAT takes nothing else, not 201 or 302.")
def create_303(see: Bench) -> str:
    reply = see.pending().created
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("U-120", "MUST", CREATE, "Location of a creation is the URL of the new job, which answers 200.")
def location_is_job(see: Bench) -> str:
    created = see.create(see.kind("short"))
    expect(created.location, f"{created} without Location")
    reply = see.get(created.location)
    expect(reply.status == 200, str(reply))
    return reply.url


@check(
    "C-07", "TRAP", "Clients §pyvo", "The job's URL has no query and no trailing slash.", "Clients append /phase to it."
)
def location_plain(see: Bench) -> str:
    raw = see.pending().created.headers.get("location", "")
    expect("?" not in raw and not raw.endswith("/"), f"Location is {raw}")
    return raw


@check("U-104", "MUST", "UWS 1.1 §2.1.3", "A job created without PHASE=RUN is PENDING.")
def new_is_pending(see: Bench) -> str:
    found = documents.value(see.pending().documents["get"], "phase")
    expect(found == "PENDING", f"phase is {found}")
    return "PENDING"


@check("U-125", "MUST", "DALI 1.1 §2.1", "A POST without any parameter creates a job.", "Parameters may come later.")
def create_empty(see: Bench) -> str:
    reply = see.create(())
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("U-122", "MUST", "DALI 1.1 §2", "A creating POST may be multipart/form-data.")
def create_multipart(see: Bench) -> str:
    reply = see.create(see.kind("short"), files={})
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("U-122", "MUST", "DALI 1.1 §2", "Parameters of a multipart POST are kept like those of a form.")
def multipart_parameters(see: Bench) -> str:
    reply = see.create(see.kind("short"), files={})
    expect(reply.location, str(reply))
    found = parameters(see, reply.location)
    for key, _ in see.kind("short"):
        expect(key.upper() in found, f"{key} was sent, listed are {sorted(found)}")
    return f"{len(found)} parameters"


def started_at_creation(where: str) -> None:
    @check(
        "U-123",
        "MAY",
        CREATE,
        f"PHASE=RUN in the {where} of the creating POST starts the job.",
        name=f"create-and-run-{where}",
    )
    def starts(see: Bench) -> str:
        form, query = see.kind("short"), ""
        if where == "body":
            form = (*form, ("PHASE", "RUN"))
        else:
            query = "?PHASE=RUN"
        job = see.new(form, query=query)
        found = see.phase(job)
        expect(found != "PENDING", "the job is PENDING")
        return found


started_at_creation("body")
started_at_creation("query")


@check("U-123", "SHOULD", CREATE, "PHASE is not kept among the parameters of the job.")
def phase_no_parameter(see: Bench) -> str:
    job = see.new((*see.kind("short"), ("PHASE", "RUN")))
    expect("PHASE" not in parameters(see, job.url), "PHASE is listed among the parameters")
    return "not listed"


@check("D-022", "SHOULD", "DALI 1.1 §3", "An unknown parameter is no obstacle to creation.")
def unknown_parameter(see: Bench) -> str:
    reply = see.create((*see.kind("short"), ("ZZZ_UNKNOWN", "1")))
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("U-077", "MUST", "UWS 1.1 §2.1.9", "runId is given back as it was sent, markup and accents too.")
def run_id(see: Bench) -> str:
    text = "a b&c<é"
    job = see.new((*see.kind("short"), ("RUNID", text)))
    found = documents.value(see.xml(job.url), "runId")
    expect(found == text, f"sent {text!r}, runId is {found!r}")
    return text


@check("D-020", "MUST", "DALI 1.1 §3.1", "Parameter names are case-insensitive: runid sets the runId.")
def run_id_case(see: Bench) -> str:
    job = see.new((*see.kind("short"), ("rUnId", "conformance")))
    found = documents.value(see.xml(job.url), "runId")
    expect(found == "conformance", f"runId is {found!r}")
    return "conformance"


@check("D-020", "MUST", "DALI 1.1 §3.1", "phase=RUN starts a job like PHASE=RUN.")
def phase_name_case(see: Bench) -> str:
    job = see.new(see.kind("short"))
    reply = see.post(f"{job.url}/phase", ("phase", "RUN"))
    found = see.phase(job)
    expect(found != "PENDING", f"{reply}, the job is {found}")
    return found


@check(
    "U-105",
    "MUST",
    "UWS 1.1 §2.1.3",
    "Once PHASE=RUN was answered nobody sees the job PENDING.",
    "Commit before you answer: pyvo stops at PENDING.",
)
def never_pending_again(see: Bench) -> str:
    found = documents.value(see.completed().documents["after run"], "phase")
    expect(found != "PENDING", f"right after PHASE=RUN the job is {found}")
    return str(found)


@check("C-04", "TRAP", "Clients §pyvo and TOPCAT", "Right after PHASE=RUN the job is not HELD.", "Use QUEUED.")
def never_held(see: Bench) -> str:
    found = documents.value(see.completed().documents["after run"], "phase")
    expect(found != "HELD", f"right after PHASE=RUN the job is {found}")
    return str(found)


@check("U-101", "MUST", "UWS 1.1 §2.1.3", "A short job becomes COMPLETED.")
def completes(see: Bench) -> str:
    see.prove("COMPLETED job", see.completed)
    return "COMPLETED"


@check("U-101", "MUST", "UWS 1.1 §2.1.3", "A failing job becomes ERROR.")
def fails(see: Bench) -> str:
    see.prove("ERROR job", see.failed)
    return "ERROR"


@check("U-108", "MUST", "UWS 1.1 §2.2.3.6", "ABORT of a pending job makes it ABORTED.")
def abort_pending(see: Bench) -> str:
    found = documents.value(see.aborted().documents["get"], "phase")
    expect(found == "ABORTED", f"phase is {found}")
    return "ABORTED"


@check("U-107", "MUST", "UWS 1.1 §2.1.4", "ABORT of a running job makes it ABORTED; the job stays.")
def abort_running(see: Bench) -> str:
    job = see.running()
    found = documents.value(job.documents["aborted"], "phase")
    expect(found == "ABORTED", f"phase is {found}")
    return "ABORTED"


@check("U-110", "MUST", "UWS 1.1 §2.2.3.5", "An unknown PHASE is refused with 4xx.")
def unknown_phase(see: Bench) -> str:
    reply = see.post(f"{see.pending().url}/phase", ("PHASE", "FOO"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-110", "MUST", "UWS 1.1 §2.2.3.5", "An unknown PHASE changes nothing.")
def unknown_phase_no_change(see: Bench) -> str:
    job = see.pending()
    reply = see.post(f"{job.url}/phase", ("PHASE", "FOO"))
    expect(see.phase(job) == "PENDING", f"after {reply} the job is {see.phase(job)}")
    return "PENDING"


def final(label: str, phase: str, word: str) -> None:
    @check(
        "U-103",
        "MUST",
        "UWS 1.1 §2.1.3",
        f"{word} leaves a job that is {phase} as it is.",
        name=f"{word.lower()}-{label}",
    )
    def stays(see: Bench) -> str:
        job = getattr(see, label)()
        reply = see.post(f"{job.url}/phase", ("PHASE", word))
        expect(see.phase(job) == phase, f"after {reply} the job is {see.phase(job)}")
        return phase

    level = "AMBIG"

    @check(
        "U-002",
        level,
        "UWS 1.1 §2.2",
        f"{word} of a job that is {phase} answers 403.",
        "It is illegal in this phase.",
        name=f"{word.lower()}-{label}",
    )
    def refused(see: Bench) -> str:
        reply = see.post(f"{getattr(see, label)().url}/phase", ("PHASE", word))
        expect(400 <= reply.status < 500, str(reply))
        return str(reply)


for _label, _phase in (("completed", "COMPLETED"), ("aborted", "ABORTED"), ("failed", "ERROR")):
    final(_label, _phase, "RUN")
final("completed", "COMPLETED", "ABORT")


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

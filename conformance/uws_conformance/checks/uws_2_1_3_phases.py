"""UWS 1.1 §2.1.3, §2.2.3.1 and §2.2.3.5: creating jobs, running and aborting them, and their phases."""

from __future__ import annotations

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.outcomes import expect
from uws_conformance.registry import check

CREATE = "UWS 1.1 §2.2.3.1"


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

"""UWS 1.1 §2.1.3, §2.2.3.1, §2.2.3.5: creation and phases."""

from __future__ import annotations

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.outcomes import expect
from uws_conformance.registry import check

CREATE_SECTION = "UWS 1.1 §2.2.3.1"


def parameter_values(bench: Bench, url: str) -> dict[str, list[str]]:
    """Map upper-case parameter names to their values."""
    values: dict[str, list[str]] = {}
    for parameter in bench.get_xml(f"{url}/parameters"):
        values.setdefault((parameter.get("id") or "").upper(), []).append(parameter.text or "")
    return values


@check("U-120", "MUST", CREATE_SECTION, "A creating POST answers 303.", "TOPCAT takes nothing else, not 201 or 302.")
def create_303(bench: Bench) -> str:
    reply = bench.pending().created
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("U-120", "MUST", CREATE_SECTION, "Location of a creation is the URL of the new job, which answers 200.")
def location_is_job(bench: Bench) -> str:
    created = bench.create(bench.job_form("short"))
    expect(created.location, f"{created} without Location")
    reply = bench.get(created.location)
    expect(reply.status == 200, str(reply))
    return reply.url


@check(
    "C-07", "TRAP", "Clients §pyvo", "The job's URL has no query and no trailing slash.", "Clients append /phase to it."
)
def location_plain(bench: Bench) -> str:
    raw = bench.pending().created.headers.get("location", "")
    expect("?" not in raw and not raw.endswith("/"), f"Location is {raw}")
    return raw


@check("U-104", "MUST", "UWS 1.1 §2.1.3", "A job created without PHASE=RUN is PENDING.")
def new_is_pending(bench: Bench) -> str:
    phase = documents.value(bench.pending().documents["get"], "phase")
    expect(phase == "PENDING", f"phase is {phase}")
    return "PENDING"


@check("U-125", "MUST", "DALI 1.1 §2.1", "A POST without any parameter creates a job.", "Parameters may come later.")
def create_empty(bench: Bench) -> str:
    reply = bench.create(())
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("U-122", "MUST", "DALI 1.1 §2", "A creating POST may be multipart/form-data.")
def create_multipart(bench: Bench) -> str:
    reply = bench.create(bench.job_form("short"), files={})
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("U-122", "MUST", "DALI 1.1 §2", "Parameters of a multipart POST are stored like those of a form.")
def multipart_parameters(bench: Bench) -> str:
    reply = bench.create(bench.job_form("short"), files={})
    expect(reply.location, str(reply))
    values = parameter_values(bench, reply.location)
    for key, _ in bench.job_form("short"):
        expect(key.upper() in values, f"{key} was sent, listed are {sorted(values)}")
    return f"{len(values)} parameters"


def add_run_at_creation_check(part: str) -> None:
    """Register the check of PHASE=RUN at creation."""

    @check(
        "U-123",
        "MAY",
        CREATE_SECTION,
        f"PHASE=RUN in the {part} of the creating POST starts the job.",
        name=f"create-and-run-{part}",
    )
    def starts_job(bench: Bench) -> str:
        form, query = bench.job_form("short"), ""
        if part == "body":
            form = (*form, ("PHASE", "RUN"))
        else:
            query = "?PHASE=RUN"
        job = bench.create_job(form, query=query)
        phase = bench.phase(job)
        expect(phase != "PENDING", "the job is PENDING")
        return phase


add_run_at_creation_check("body")
add_run_at_creation_check("query")


@check("U-123", "SHOULD", CREATE_SECTION, "PHASE is not stored among the parameters of the job.")
def phase_no_parameter(bench: Bench) -> str:
    job = bench.create_job((*bench.job_form("short"), ("PHASE", "RUN")))
    expect("PHASE" not in parameter_values(bench, job.url), "PHASE is listed among the parameters")
    return "not listed"


@check("D-022", "SHOULD", "DALI 1.1 §3", "An unknown parameter does not prevent creation.")
def unknown_parameter(bench: Bench) -> str:
    reply = bench.create((*bench.job_form("short"), ("ZZZ_UNKNOWN", "1")))
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("U-077", "MUST", "UWS 1.1 §2.1.9", "runId is returned as it was sent, with markup and accents.")
def run_id(bench: Bench) -> str:
    sent_id = "a b&c<é"
    job = bench.create_job((*bench.job_form("short"), ("RUNID", sent_id)))
    returned_id = documents.value(bench.get_xml(job.url), "runId")
    expect(returned_id == sent_id, f"sent {sent_id!r}, runId is {returned_id!r}")
    return sent_id


@check("D-020", "MUST", "DALI 1.1 §3.1", "Parameter names are case-insensitive: runid sets the runId.")
def run_id_case(bench: Bench) -> str:
    job = bench.create_job((*bench.job_form("short"), ("rUnId", "conformance")))
    returned_id = documents.value(bench.get_xml(job.url), "runId")
    expect(returned_id == "conformance", f"runId is {returned_id!r}")
    return "conformance"


@check("D-020", "MUST", "DALI 1.1 §3.1", "phase=RUN starts a job like PHASE=RUN.")
def phase_name_case(bench: Bench) -> str:
    job = bench.create_job(bench.job_form("short"))
    reply = bench.post(f"{job.url}/phase", ("phase", "RUN"))
    phase = bench.phase(job)
    expect(phase != "PENDING", f"{reply}, the job is {phase}")
    return phase


@check(
    "U-105",
    "MUST",
    "UWS 1.1 §2.1.3",
    "After the reply to PHASE=RUN the job is never seen PENDING.",
    "Commit before you answer: pyvo stops at PENDING.",
)
def never_pending_again(bench: Bench) -> str:
    phase = documents.value(bench.completed().documents["after run"], "phase")
    expect(phase != "PENDING", f"right after PHASE=RUN the job is {phase}")
    return str(phase)


@check("C-04", "TRAP", "Clients §pyvo and TOPCAT", "Right after PHASE=RUN the job is not HELD.", "Use QUEUED.")
def never_held(bench: Bench) -> str:
    phase = documents.value(bench.completed().documents["after run"], "phase")
    expect(phase != "HELD", f"right after PHASE=RUN the job is {phase}")
    return str(phase)


@check("U-101", "MUST", "UWS 1.1 §2.1.3", "A short job becomes COMPLETED.")
def completes(bench: Bench) -> str:
    bench.require_shared("COMPLETED job", bench.completed)
    return "COMPLETED"


@check("U-101", "MUST", "UWS 1.1 §2.1.3", "A failing job becomes ERROR.")
def fails(bench: Bench) -> str:
    bench.require_shared("ERROR job", bench.failed)
    return "ERROR"


@check("U-108", "MUST", "UWS 1.1 §2.2.3.6", "ABORT of a pending job makes it ABORTED.")
def abort_pending(bench: Bench) -> str:
    phase = documents.value(bench.aborted().documents["get"], "phase")
    expect(phase == "ABORTED", f"phase is {phase}")
    return "ABORTED"


@check("U-107", "MUST", "UWS 1.1 §2.1.4", "ABORT of a running job makes it ABORTED; the job stays.")
def abort_running(bench: Bench) -> str:
    job = bench.running()
    phase = documents.value(job.documents["aborted"], "phase")
    expect(phase == "ABORTED", f"phase is {phase}")
    return "ABORTED"


@check("U-110", "MUST", "UWS 1.1 §2.2.3.5", "An unknown PHASE is refused with 4xx.")
def unknown_phase(bench: Bench) -> str:
    reply = bench.post(f"{bench.pending().url}/phase", ("PHASE", "FOO"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-110", "MUST", "UWS 1.1 §2.2.3.5", "An unknown PHASE changes nothing.")
def unknown_phase_no_change(bench: Bench) -> str:
    job = bench.pending()
    reply = bench.post(f"{job.url}/phase", ("PHASE", "FOO"))
    expect(bench.phase(job) == "PENDING", f"after {reply} the job is {bench.phase(job)}")
    return "PENDING"


def add_final_phase_checks(job_kind: str, phase: str, command: str) -> None:
    """Register the checks of commands to a finished job."""

    @check(
        "U-103",
        "MUST",
        "UWS 1.1 §2.1.3",
        f"{command} leaves a job that is {phase} as it is.",
        name=f"{command.lower()}-{job_kind}",
    )
    def keeps_phase(bench: Bench) -> str:
        job = getattr(bench, job_kind)()
        reply = bench.post(f"{job.url}/phase", ("PHASE", command))
        expect(bench.phase(job) == phase, f"after {reply} the job is {bench.phase(job)}")
        return phase

    level = "AMBIG"

    @check(
        "U-002",
        level,
        "UWS 1.1 §2.2",
        f"{command} of a job that is {phase} answers 403.",
        "It is illegal in this phase.",
        name=f"{command.lower()}-{job_kind}",
    )
    def refuses_command(bench: Bench) -> str:
        reply = bench.post(f"{getattr(bench, job_kind)().url}/phase", ("PHASE", command))
        expect(400 <= reply.status < 500, str(reply))
        return str(reply)


for _label, _phase in (("completed", "COMPLETED"), ("aborted", "ABORTED"), ("failed", "ERROR")):
    add_final_phase_checks(_label, _phase, "RUN")
add_final_phase_checks("completed", "COMPLETED", "ABORT")

"""Mutants with wrong jobs, waits, identities or bodies.

Importing this module adds them to ``MUTANTS``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mutation import (
    JOB,
    LIST,
    MUTANTS,
    has_form_field,
    on,
    override,
    when,
    with_body,
    with_header,
    with_status,
    with_substitution,
    with_type,
)
from reference import Reference
from reference_documents import Answer, Job, Request

# Creating, phases, changes.
on("create-201", "POST", LIST, with_status(201))
on("create-no-location", "POST", LIST, with_header("Location", ""))
on(
    "create-relative",
    "POST",
    LIST,
    lambda answer: with_header("Location", "/async/" + answer.headers.get("Location", "").rsplit("/", 1)[-1])(answer),
)
on(
    "create-location-query",
    "POST",
    LIST,
    lambda answer: with_header("Location", answer.headers.get("Location", "") + "?new=1")(answer),
)
on(
    "create-location-slash",
    "POST",
    LIST,
    lambda answer: with_header("Location", answer.headers.get("Location", "") + "/")(answer),
)
when(
    "create-empty-400",
    lambda request, _: request.method == "POST" and request.path == "/async" and not request.form,
    lambda _: Answer(400, "parameters!"),
)
when("create-unknown-400", has_form_field("ZZZ_UNKNOWN"), lambda _: Answer(400, "unknown"))
override(
    "starts-at-once",
    create=lambda self, request: Reference.create(self, replace(request, form=[*request.form, ("PHASE", "RUN")])),
)
override(
    "create-run-body-ignored",
    create=lambda self, request: Reference.create(
        self, replace(request, form=[pair for pair in request.form if pair[0] != "PHASE"])
    ),
)
override("create-run-query-ignored", create=lambda self, request: Reference.create(self, replace(request, query=[])))


def store_phase_parameter(self: Reference, request: Request) -> Answer:
    answer = Reference.create(self, request)
    self.jobs[answer.headers["Location"].rsplit("/", 1)[-1]].parameters += [p for p in request.form if p[0] == "PHASE"]
    return answer


def change_run_id(change: Callable[[str], str | None]) -> Callable[..., Answer]:
    def create(self: Reference, request: Request) -> Answer:
        answer = Reference.create(self, request)
        job = self.jobs[answer.headers["Location"].rsplit("/", 1)[-1]]
        job.run_id = change(job.run_id) if job.run_id is not None else None
        return answer

    return create


override("phase-kept-as-parameter", create=store_phase_parameter)
override("run-id-trimmed", create=change_run_id(lambda value: value.replace("<", "").replace("&", "")))
override("run-id-lost", create=change_run_id(lambda value: None))


def finish_in(phase: str) -> Callable[..., None]:
    return lambda self, job, _phase: Reference.finish(self, job, phase)


def set_phase(word: str, then: int = 303) -> Callable[..., Answer]:
    def change(self: Reference, job: Job) -> Answer:
        job.phase = word
        return replace(self.redirect_to(job), status=then)

    return change


def advance_slowly(self: Reference, job: Job) -> None:
    """Stay PENDING for a moment after RUN."""
    mark = getattr(job, "run_at", 0.0)
    if mark and job.phase == "PENDING" and time.monotonic() - mark > 0.3:
        Reference.run(self, job)
    Reference.advance(self, job)


def run_later(self: Reference, job: Job) -> Answer:
    job.run_at = time.monotonic()  # type: ignore[attr-defined]
    return self.redirect_to(job)


override("run-commits-late", run=run_later, advance=advance_slowly)
override("run-holds", run=set_phase("HELD"))
override(
    "run-200",
    run=lambda self, job: replace(Reference.run(self, job), status=200) if job.phase == "PENDING" else Answer(403),
)
override("run-again-restarts", run=set_phase("QUEUED"))
override(
    "run-again-303", run=lambda self, job: Reference.run(self, job) if job.phase == "PENDING" else self.redirect_to(job)
)
override(
    "abort-again-303",
    abort=lambda self, job: (
        self.redirect_to(job) if job.phase in ("COMPLETED", "ABORTED", "ERROR") else Reference.abort(self, job)
    ),
)
override("abort-changes-completed", abort=set_phase("ABORTED"))
override("abort-ignored", abort=lambda self, job: self.redirect_to(job))
override("abort-error", abort=set_phase("ERROR"))
override("abort-200", abort=lambda self, job: replace(Reference.abort(self, job), status=200))
override("never-ends", finish=lambda self, job, phase: None)
override("always-completes", finish=finish_in("COMPLETED"))
override("always-fails", finish=finish_in("ERROR"))
override("over-time-error", abort_overdue=lambda self, job: self.finish(job, "ERROR"))
when("unknown-phase-303", has_form_field("PHASE", "FOO"), with_status(303))
override(
    "unknown-phase-aborts",
    change=lambda self, request, job, child: Reference.change(
        self, replace(request, form=[(k, "ABORT" if v == "FOO" else v) for k, v in request.form]), job, child
    ),
)
override(
    "form-names-upper-only",
    change=lambda self, request, job, child: Reference.change(
        self, replace(request, form=[p for p in request.form if p[0].isupper()]), job, child
    ),
)
override(
    "creation-names-upper-only",
    create=lambda self, request: Reference.create(
        self, replace(request, form=[p for p in request.form if p[0].isupper()])
    ),
)
on("change-duration-200", "POST", f"{JOB}/executionduration", with_status(200))
on("change-destruction-200", "POST", f"{JOB}/destruction", with_status(200))
on("change-parameters-200", "POST", f"{JOB}/parameters", with_status(200))
when("far-destruction-400", has_form_field("DESTRUCTION", "9999-01-01T00:00:00Z"), with_status(400))
when("bad-duration-303", has_form_field("EXECUTIONDURATION", "soon"), with_status(303))
when("bad-destruction-303", has_form_field("DESTRUCTION", "tomorrow"), with_status(303))


def ignore_changes(*children: str) -> Callable[..., Answer]:
    return lambda self, request, job, child: (
        self.redirect_to(job) if child in children else Reference.change(self, request, job, child)
    )


override("duration-ignored", change=ignore_changes("executionduration"))
override("destruction-ignored", change=ignore_changes("destruction"))
override("parameters-ignored", change=ignore_changes("parameters"))


def extend_destruction(self: Reference, request: Request, job: Job, child: str) -> Answer:
    answer = Reference.change(self, request, job, child)
    if child == "destruction" and answer.status == 303:
        job.destruction += timedelta(days=400)
    return answer


override("destruction-later-than-asked", change=extend_destruction)


def accept_parameters_at_job(self: Reference, request: Request, job: Job) -> Answer:
    if request.method == "POST" and not any(key.upper() in ("ACTION", "PHASE") for key, _ in request.form):
        job.parameters += request.form
        return self.redirect_to(job)
    return Reference.answer_job(self, request, job)


override("job-takes-parameters", answer_job=accept_parameters_at_job)
override("delete-keeps", destroy=lambda self, job: None)
override(
    "destruction-time-ignored",
    advance=lambda self, job: Reference.advance(self, job) if datetime.now(UTC) < job.destruction else None,
)
on("delete-200", "DELETE", JOB, with_status(200))
on("delete-to-root", "DELETE", JOB, with_header("Location", "/"))
for spelling in ("ACTION", "action"):
    when(f"{spelling}-delete-400", has_form_field(spelling, "DELETE"), with_status(400))
    when(f"{spelling}-delete-to-root", has_form_field(spelling, "DELETE"), with_header("Location", "/"))
override(
    "action-upper-only",
    answer_job=lambda self, request, job: (
        Answer(400) if any(k == "action" for k, _ in request.form) else Reference.answer_job(self, request, job)
    ),
)
override(
    "delete-needs-pending", destroy=lambda self, job: None if job.phase != "PENDING" else Reference.destroy(self, job)
)


def list_every_job(self: Reference, jobs: list[Job]) -> str:
    self.listed_jobs = {**getattr(self, "listed_jobs", {}), **{job.id: job for job in jobs}, **self.jobs}  # type: ignore[attr-defined]
    return Reference.list_document(self, list(self.listed_jobs.values()))  # type: ignore[attr-defined]


def destroy_but_list(self: Reference, job: Job) -> None:
    self.listed_jobs = {**getattr(self, "listed_jobs", {}), job.id: job}  # type: ignore[attr-defined]
    Reference.destroy(self, job)


override("deleted-still-listed", list_document=list_every_job, destroy=destroy_but_list)

# WAIT.
override("wait-ignored", hold_seconds=lambda self, job, request: 0.0)
override("wait-too-long", hold_seconds=lambda self, job, request: Reference.hold_seconds(self, job, request) and 4.5)
override(
    "wait-finished-too",
    hold_seconds=lambda self, job, request: (
        min(float(abs(int(request.query_value("WAIT") or 0))), 2.0)
        if (request.query_value("WAIT") or "0").lstrip("-").isdigit() and not request.query_value("PHASE")
        else Reference.hold_seconds(self, job, request)
    ),
)
override(
    "wait-minus-one-finished",
    hold_seconds=lambda self, job, request: (
        1.0 if request.query_value("WAIT") == "-1" else Reference.hold_seconds(self, job, request)
    ),
)
override(
    "wait-phase-ignored",
    hold_seconds=lambda self, job, request: Reference.hold_seconds(
        self, job, replace(request, query=[p for p in request.query if p[0] != "PHASE"])
    ),
)
override(
    "wait-zero-is-default",
    hold_seconds=lambda self, job, request: (
        1.0 if request.query_value("WAIT") == "0" else Reference.hold_seconds(self, job, request)
    ),
)
override(
    "wait-phase-alone",
    hold_seconds=lambda self, job, request: (
        1.0
        if request.query_value("PHASE") and not request.query_value("WAIT")
        else Reference.hold_seconds(self, job, request)
    ),
)
override(
    "wait-with-phase-at-once",
    hold_seconds=lambda self, job, request: (
        0.0 if request.query_value("PHASE") else Reference.hold_seconds(self, job, request)
    ),
)
override("wait-notices-nothing", hold=lambda self, job, limit: time.sleep(limit))
on("wait-504", "GET", JOB, with_status(504), query="WAIT=[12]$")
on("wait-soon-500", "GET", JOB, with_status(500), query="WAIT=soon")
on("wait-old-phase", "GET", JOB, with_substitution(">ABORTED<", ">PENDING<"), query="WAIT")

# VOSI and DALI.
for resource in ("capabilities", "availability", "examples", "sync"):
    on(f"{resource}-500", "GET|POST|HEAD", f"/{resource}", with_status(500))
    on(f"{resource}-malformed", "GET", f"/{resource}", with_body("<oops"))
    on(f"{resource}-wrong-root", "GET", f"/{resource}", with_body("<other/>"))
on("capabilities-json", "GET", "/capabilities", with_type("application/json"))
on("capabilities-qualified", "GET", "/capabilities", with_substitution(r"(</?)capability", r"\1v:capability"))
on("capabilities-anonymous-names", "GET", "/capabilities", with_substitution("VOSI#capabilities", "VOSI#other"))
on("capabilities-relative", "GET", "/capabilities", with_substitution(r">http://[^/]*/", ">/"))
on("capabilities-post-200", "POST", "/capabilities", with_status(200))
on("capabilities-no-head", "HEAD", "/capabilities", with_status(405))
when(
    "capabilities-private", lambda request, _: request.path == "/capabilities" and not request.caller, with_status(401)
)
on("availability-perhaps", "GET", "/availability", with_substitution(">true<", ">perhaps<"))


# Identities.
def hide_jobs_of_others(self: Reference, request: Request, parts: list[str]) -> Answer:
    answer = Reference.route(self, request, parts)
    return replace(answer, status=404) if answer.status == 403 and answer.body.startswith("somebody") else answer


override("everybody-sees-all", is_visible=lambda self, job, caller: True)
override("others-404", route=hide_jobs_of_others)
on("owner-nil", "GET", JOB, with_substitution(r"<uws:ownerId>\w+</uws:ownerId>", '<uws:ownerId xsi:nil="true"/>'))
on("identity-untold", "GET", "/capabilities", with_header("X-VO-Authenticated", ""))
when("identity-for-anonymous", lambda request, _: not request.caller, with_header("X-VO-Authenticated", "nobody"))
when("401-without-challenge", lambda _, answer: answer.status == 401, with_header("WWW-Authenticate", ""))
when(
    "401-is-login-page",
    lambda _, answer: answer.status == 401,
    lambda _: Answer(302, "<html>", "text/html", {"Location": "/login"}),
)

# Files, bodies and parameters posted again.
on("upload-by-value", "GET", f"{JOB}/parameters", with_substitution(' byReference="true"', ""))
on(
    "upload-altered",
    "GET",
    f"{JOB}/parameters/FILE",
    lambda answer: with_body(answer.body.replace("&lt;", "<"))(answer),
)
on("upload-404", "GET", f"{JOB}/parameters/FILE", with_status(404))
when("upload-refused", lambda request, _: bool(request.files), lambda _: Answer(400, "no files"))
when("unreadable-500", lambda request, _: not request.readable, with_status(500))
when("unreadable-created", lambda request, _: not request.readable, with_status(200))
override("multipart-lost", create=lambda self, request: Reference.create(self, replace(request, form=[], files={})))
when(
    "quoted-boundary-400",
    lambda request, answer: request.chunked and answer.status == 303,
    lambda _: Answer(411, "no length"),
)


def ignore_later_values(self: Reference, request: Request, job: Job, child: str) -> Answer:
    existing_names = {name for name, _ in job.parameters}
    form = [pair for pair in request.form if child != "parameters" or pair[0].upper() not in existing_names]
    return Reference.change(self, replace(request, form=form), job, child)


override("first-value-stays", change=ignore_later_values)
on("put-parameter-500", "PUT", f"{JOB}/parameters/NOTE", with_status(500))
on("put-parameter-ignored", "PUT", f"{JOB}/parameters/NOTE", with_status(303))

# More of capabilities, challenges and sync.
on("capabilities-elsewhere", "GET", "/capabilities", with_substitution(r">(http://[^/]*)/async<", r">\1/other/async<"))
on("capabilities-without-date", "GET", "/capabilities", with_header("Last-Modified", ""))
on("capabilities-other-xsi", "GET", "/capabilities", with_substitution(r"xsi(:type|=)", r"i\1"))
on(
    "capabilities-strange-login",
    "GET",
    "/capabilities",
    with_substitution("</accessURL>", '</accessURL><securityMethod standardID="ivo://ivoa.net/sso#magic"/>'),
)
on("sync-error-200", "GET|POST", "/sync", with_status(200), body="it failed")
on("sync-error-silent", "GET|POST", "/sync", with_body(""), body="it failed")
on("capabilities-challenge-by-get", "GET", "/capabilities", with_header("WWW-Authenticate", "Bearer"))
when("challenge-bearer-only", lambda _, answer: answer.status == 401, with_header("WWW-Authenticate", "Bearer"))
when(
    "challenges-joined",
    lambda _, answer: answer.status == 401,
    with_header("WWW-Authenticate", 'Bearer realm="x", Basic'),
)
override(
    "results-on-another-host",
    results=lambda self, job, root="": re.sub(
        r'href="http://[^/]*', 'href="http://store.example.org', Reference.results(self, job, root)
    ),
)

# Faults of a server that contradicts itself.


def hold_first(self: Reference, job: Job) -> Answer:
    """Hold the job for a moment, then go on."""
    answer = Reference.run(self, job)
    if job.phase == "QUEUED":
        job.phase, job.started = "HELD", datetime.now(UTC)
    return answer


def advance_after_hold(self: Reference, job: Job) -> None:
    if job.phase == "HELD" and job.started and datetime.now(UTC) - job.started > timedelta(seconds=0.2):
        job.phase = "QUEUED"
    Reference.advance(self, job)


override("run-holds-first", run=hold_first, advance=advance_after_hold)


on("examples-without-name", "GET", "/examples", with_substitution('property="name"', 'property="title"'))
on("examples-of-nothing", "GET", "/examples", with_substitution('resource="#a"', 'resource="#b"'))

# Faults generated above that no rule forbids: the result of a synchronous request is up to the application.
ALLOWED_FAULTS = ["sync-malformed", "sync-wrong-root"]
MUTANTS[:] = [mutant for mutant in MUTANTS if mutant.name not in ALLOWED_FAULTS]

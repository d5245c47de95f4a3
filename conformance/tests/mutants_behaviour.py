"""Mutants with wrong jobs, waits, identities or bodies.

Importing this module adds them to ``MUTANTS``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mutation import JOB, LIST, MUTANTS, header, method, on, posts, says, status, swap, typed, when
from reference import Reference
from reference_documents import Answer, Job, Request

# Creating, phases, changes.
on("create-201", "POST", LIST, status(201))
on("create-no-location", "POST", LIST, header("Location", ""))
on(
    "create-relative",
    "POST",
    LIST,
    lambda answer: header("Location", "/async/" + answer.headers.get("Location", "").rsplit("/", 1)[-1])(answer),
)
on(
    "create-location-query",
    "POST",
    LIST,
    lambda answer: header("Location", answer.headers.get("Location", "") + "?new=1")(answer),
)
on(
    "create-location-slash",
    "POST",
    LIST,
    lambda answer: header("Location", answer.headers.get("Location", "") + "/")(answer),
)
when(
    "create-empty-400",
    lambda request, _: request.method == "POST" and request.path == "/async" and not request.form,
    lambda _: Answer(400, "parameters!"),
)
when("create-unknown-400", posts("ZZZ_UNKNOWN"), lambda _: Answer(400, "unknown"))
method(
    "starts-at-once",
    create=lambda self, request: Reference.create(self, replace(request, form=[*request.form, ("PHASE", "RUN")])),
)
method(
    "create-run-body-ignored",
    create=lambda self, request: Reference.create(
        self, replace(request, form=[pair for pair in request.form if pair[0] != "PHASE"])
    ),
)
method("create-run-query-ignored", create=lambda self, request: Reference.create(self, replace(request, query=[])))


def keeps_phase(self: Reference, request: Request) -> Answer:
    answer = Reference.create(self, request)
    self.jobs[answer.headers["Location"].rsplit("/", 1)[-1]].parameters += [p for p in request.form if p[0] == "PHASE"]
    return answer


def run_ids(change: Callable[[str], str | None]) -> Callable[..., Answer]:
    def create(self: Reference, request: Request) -> Answer:
        answer = Reference.create(self, request)
        job = self.jobs[answer.headers["Location"].rsplit("/", 1)[-1]]
        job.run_id = change(job.run_id) if job.run_id is not None else None
        return answer

    return create


method("phase-kept-as-parameter", create=keeps_phase)
method("run-id-trimmed", create=run_ids(lambda value: value.replace("<", "").replace("&", "")))
method("run-id-lost", create=run_ids(lambda value: None))


def ends(phase: str) -> Callable[..., None]:
    return lambda self, job, _phase: Reference.finish(self, job, phase)


def sets_phase(word: str, then: int = 303) -> Callable[..., Answer]:
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


method("run-commits-late", run=run_later, advance=advance_slowly)
method("run-holds", run=sets_phase("HELD"))
method(
    "run-200",
    run=lambda self, job: replace(Reference.run(self, job), status=200) if job.phase == "PENDING" else Answer(403),
)
method("run-again-restarts", run=sets_phase("QUEUED"))
method(
    "run-again-303", run=lambda self, job: Reference.run(self, job) if job.phase == "PENDING" else self.redirect_to(job)
)
method(
    "abort-again-303",
    abort=lambda self, job: (
        self.redirect_to(job) if job.phase in ("COMPLETED", "ABORTED", "ERROR") else Reference.abort(self, job)
    ),
)
method("abort-changes-completed", abort=sets_phase("ABORTED"))
method("abort-ignored", abort=lambda self, job: self.redirect_to(job))
method("abort-error", abort=sets_phase("ERROR"))
method("abort-200", abort=lambda self, job: replace(Reference.abort(self, job), status=200))
method("never-ends", finish=lambda self, job, phase: None)
method("always-completes", finish=ends("COMPLETED"))
method("always-fails", finish=ends("ERROR"))
method("over-time-error", exceeded=lambda self, job: self.finish(job, "ERROR"))
when("unknown-phase-303", posts("PHASE", "FOO"), status(303))
method(
    "unknown-phase-aborts",
    change=lambda self, request, job, child: Reference.change(
        self, replace(request, form=[(k, "ABORT" if v == "FOO" else v) for k, v in request.form]), job, child
    ),
)
method(
    "form-names-upper-only",
    change=lambda self, request, job, child: Reference.change(
        self, replace(request, form=[p for p in request.form if p[0].isupper()]), job, child
    ),
)
method(
    "creation-names-upper-only",
    create=lambda self, request: Reference.create(
        self, replace(request, form=[p for p in request.form if p[0].isupper()])
    ),
)
on("change-duration-200", "POST", f"{JOB}/executionduration", status(200))
on("change-destruction-200", "POST", f"{JOB}/destruction", status(200))
on("change-parameters-200", "POST", f"{JOB}/parameters", status(200))
when("far-destruction-400", posts("DESTRUCTION", "9999-01-01T00:00:00Z"), status(400))
when("bad-duration-303", posts("EXECUTIONDURATION", "soon"), status(303))
when("bad-destruction-303", posts("DESTRUCTION", "tomorrow"), status(303))


def ignores(*children: str) -> Callable[..., Answer]:
    return lambda self, request, job, child: (
        self.redirect_to(job) if child in children else Reference.change(self, request, job, child)
    )


method("duration-ignored", change=ignores("executionduration"))
method("destruction-ignored", change=ignores("destruction"))
method("parameters-ignored", change=ignores("parameters"))


def no_limit(self: Reference, request: Request, job: Job, child: str) -> Answer:
    answer = Reference.change(self, request, job, child)
    if child == "destruction" and answer.status == 303:
        job.destruction += timedelta(days=400)
    return answer


method("destruction-later-than-asked", change=no_limit)


def job_takes_parameters(self: Reference, request: Request, job: Job) -> Answer:
    if request.method == "POST" and not any(key.upper() in ("ACTION", "PHASE") for key, _ in request.form):
        job.parameters += request.form
        return self.redirect_to(job)
    return Reference.answer_job(self, request, job)


method("job-takes-parameters", answer_job=job_takes_parameters)
method("delete-keeps", destroy=lambda self, job: None)
method(
    "destruction-time-ignored",
    advance=lambda self, job: Reference.advance(self, job) if datetime.now(UTC) < job.destruction else None,
)
on("delete-200", "DELETE", JOB, status(200))
on("delete-to-root", "DELETE", JOB, header("Location", "/"))
for spelling in ("ACTION", "action"):
    when(f"{spelling}-delete-400", posts(spelling, "DELETE"), status(400))
    when(f"{spelling}-delete-to-root", posts(spelling, "DELETE"), header("Location", "/"))
method(
    "action-upper-only",
    answer_job=lambda self, request, job: (
        Answer(400) if any(k == "action" for k, _ in request.form) else Reference.answer_job(self, request, job)
    ),
)
method(
    "delete-needs-pending", destroy=lambda self, job: None if job.phase != "PENDING" else Reference.destroy(self, job)
)


def list_every_job(self: Reference, jobs: list[Job]) -> str:
    self.listed_jobs = {**getattr(self, "listed_jobs", {}), **{job.id: job for job in jobs}, **self.jobs}  # type: ignore[attr-defined]
    return Reference.list_document(self, list(self.listed_jobs.values()))  # type: ignore[attr-defined]


def destroy_but_list(self: Reference, job: Job) -> None:
    self.listed_jobs = {**getattr(self, "listed_jobs", {}), job.id: job}  # type: ignore[attr-defined]
    Reference.destroy(self, job)


method("deleted-still-listed", list_document=list_every_job, destroy=destroy_but_list)

# WAIT.
method("wait-ignored", hold_seconds=lambda self, job, request: 0.0)
method("wait-too-long", hold_seconds=lambda self, job, request: Reference.hold_seconds(self, job, request) and 4.5)
method(
    "wait-finished-too",
    hold_seconds=lambda self, job, request: (
        min(float(abs(int(request.query_value("WAIT") or 0))), 2.0)
        if (request.query_value("WAIT") or "0").lstrip("-").isdigit() and not request.query_value("PHASE")
        else Reference.hold_seconds(self, job, request)
    ),
)
method(
    "wait-minus-one-finished",
    hold_seconds=lambda self, job, request: (
        1.0 if request.query_value("WAIT") == "-1" else Reference.hold_seconds(self, job, request)
    ),
)
method(
    "wait-phase-ignored",
    hold_seconds=lambda self, job, request: Reference.hold_seconds(
        self, job, replace(request, query=[p for p in request.query if p[0] != "PHASE"])
    ),
)
method(
    "wait-zero-is-default",
    hold_seconds=lambda self, job, request: (
        1.0 if request.query_value("WAIT") == "0" else Reference.hold_seconds(self, job, request)
    ),
)
method(
    "wait-phase-alone",
    hold_seconds=lambda self, job, request: (
        1.0
        if request.query_value("PHASE") and not request.query_value("WAIT")
        else Reference.hold_seconds(self, job, request)
    ),
)
method(
    "wait-with-phase-at-once",
    hold_seconds=lambda self, job, request: (
        0.0 if request.query_value("PHASE") else Reference.hold_seconds(self, job, request)
    ),
)
method("wait-notices-nothing", hold=lambda self, job, limit: time.sleep(limit))
on("wait-504", "GET", JOB, status(504), query="WAIT=[12]$")
on("wait-soon-500", "GET", JOB, status(500), query="WAIT=soon")
on("wait-old-phase", "GET", JOB, swap(">ABORTED<", ">PENDING<"), query="WAIT")

# VOSI and DALI.
for resource in ("capabilities", "availability", "examples", "sync"):
    on(f"{resource}-500", "GET|POST|HEAD", f"/{resource}", status(500))
    on(f"{resource}-malformed", "GET", f"/{resource}", says("<oops"))
    on(f"{resource}-wrong-root", "GET", f"/{resource}", says("<other/>"))
on("capabilities-json", "GET", "/capabilities", typed("application/json"))
on("capabilities-qualified", "GET", "/capabilities", swap(r"(</?)capability", r"\1v:capability"))
on("capabilities-anonymous-names", "GET", "/capabilities", swap("VOSI#capabilities", "VOSI#other"))
on("capabilities-relative", "GET", "/capabilities", swap(r">http://[^/]*/", ">/"))
on("capabilities-post-200", "POST", "/capabilities", status(200))
on("capabilities-no-head", "HEAD", "/capabilities", status(405))
when("capabilities-private", lambda request, _: request.path == "/capabilities" and not request.caller, status(401))
on("availability-perhaps", "GET", "/availability", swap(">true<", ">perhaps<"))


# Identities.
def hide_jobs_of_others(self: Reference, request: Request, parts: list[str]) -> Answer:
    answer = Reference.route(self, request, parts)
    return replace(answer, status=404) if answer.status == 403 and answer.body.startswith("somebody") else answer


method("everybody-sees-all", visible=lambda self, job, caller: True)
method("others-404", route=hide_jobs_of_others)
on("owner-nil", "GET", JOB, swap(r"<uws:ownerId>\w+</uws:ownerId>", '<uws:ownerId xsi:nil="true"/>'))
on("identity-untold", "GET", "/capabilities", header("X-VO-Authenticated", ""))
when("identity-for-anonymous", lambda request, _: not request.caller, header("X-VO-Authenticated", "nobody"))
when("401-without-challenge", lambda _, answer: answer.status == 401, header("WWW-Authenticate", ""))
when(
    "401-is-login-page",
    lambda _, answer: answer.status == 401,
    lambda _: Answer(302, "<html>", "text/html", {"Location": "/login"}),
)

# Files, bodies and parameters given again.
on("upload-by-value", "GET", f"{JOB}/parameters", swap(' byReference="true"', ""))
on("upload-altered", "GET", f"{JOB}/parameters/FILE", lambda answer: says(answer.body.replace("&lt;", "<"))(answer))
on("upload-404", "GET", f"{JOB}/parameters/FILE", status(404))
when("upload-refused", lambda request, _: bool(request.files), lambda _: Answer(400, "no files"))
when("unreadable-500", lambda request, _: not request.readable, status(500))
when("unreadable-created", lambda request, _: not request.readable, status(200))
method("multipart-lost", create=lambda self, request: Reference.create(self, replace(request, form=[], files={})))
when(
    "quoted-boundary-400",
    lambda request, answer: request.chunked and answer.status == 303,
    lambda _: Answer(411, "no length"),
)


def first_value_stays(self: Reference, request: Request, job: Job, child: str) -> Answer:
    existing_names = {name for name, _ in job.parameters}
    form = [pair for pair in request.form if child != "parameters" or pair[0].upper() not in existing_names]
    return Reference.change(self, replace(request, form=form), job, child)


method("first-value-stays", change=first_value_stays)
on("put-parameter-500", "PUT", f"{JOB}/parameters/NOTE", status(500))
on("put-parameter-ignored", "PUT", f"{JOB}/parameters/NOTE", status(303))

# More of capabilities, challenges and sync.
on("capabilities-elsewhere", "GET", "/capabilities", swap(r">(http://[^/]*)/async<", r">\1/other/async<"))
on("capabilities-without-date", "GET", "/capabilities", header("Last-Modified", ""))
on("capabilities-other-xsi", "GET", "/capabilities", swap(r"xsi(:type|=)", r"i\1"))
on(
    "capabilities-strange-login",
    "GET",
    "/capabilities",
    swap("</accessURL>", '</accessURL><securityMethod standardID="ivo://ivoa.net/sso#magic"/>'),
)
on("sync-error-200", "GET|POST", "/sync", status(200), body="it failed")
on("sync-error-silent", "GET|POST", "/sync", says(""), body="it failed")
on("capabilities-challenge-by-get", "GET", "/capabilities", header("WWW-Authenticate", "Bearer"))
when("challenge-bearer-only", lambda _, answer: answer.status == 401, header("WWW-Authenticate", "Bearer"))
when("challenges-joined", lambda _, answer: answer.status == 401, header("WWW-Authenticate", 'Bearer realm="x", Basic'))
method(
    "results-on-another-host",
    results=lambda self, job, root="": re.sub(
        r'href="http://[^/]*', 'href="http://store.example.org', Reference.results(self, job, root)
    ),
)

# The three that only a server breaks that contradicts itself within one exchange.


def holds(self: Reference, job: Job) -> Answer:
    """Hold the job for a moment, then go on."""
    answer = Reference.run(self, job)
    if job.phase == "QUEUED":
        job.phase, job.started = "HELD", datetime.now(UTC)
    return answer


def released(self: Reference, job: Job) -> None:
    if job.phase == "HELD" and job.started and datetime.now(UTC) - job.started > timedelta(seconds=0.2):
        job.phase = "QUEUED"
    Reference.advance(self, job)


method("run-holds-first", run=holds, advance=released)


on("examples-without-name", "GET", "/examples", swap('property="name"', 'property="title"'))
on("examples-of-nothing", "GET", "/examples", swap('resource="#a"', 'resource="#b"'))

# Faults that the families above make and no rule forbids: what a synchronous request gives is the application's own.
UNSEEN = ["sync-malformed", "sync-wrong-root"]
MUTANTS[:] = [mutant for mutant in MUTANTS if mutant.name not in UNSEEN]

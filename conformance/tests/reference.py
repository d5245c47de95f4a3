"""A small correct UWS server.

Its jobs live in memory, its bearer tokens are ``alice`` and ``bob``, and it speaks real HTTP. A mutant is the same
server with some methods replaced or with its answers rewritten (``mutation.py``). The parameter MODE is short, long
or failing.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from reference_documents import ROOT, Answer, Documents, Job, Request, format_instant, parse_instant

FINAL_PHASES = ("COMPLETED", "ERROR", "ABORTED")
ACTIVE_PHASES = ("PENDING", "QUEUED", "EXECUTING")
CHALLENGES = 'Bearer realm="reference"\nBasic realm="reference"'
EXAMPLES = (
    '<html><body vocab="http://www.ivoa.net/rdf/examples#"><div typeof="example" id="a" resource="#a">'
    '<b property="name">A</b></div></body></html>'
)


class Reference(Documents):
    """The protocol; mutants replace its methods."""

    short_job_seconds = 0.05

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.lock = threading.RLock()
        self.url = ""
        self.rewrite: Callable[[Request, Answer], Answer] | None = None

    # Life of a job

    def advance(self, job: Job) -> None:
        """Bring a job up to date."""
        now = datetime.now(UTC)
        if job.phase == "QUEUED":
            job.phase, job.started = "EXECUTING", now
        if job.phase == "EXECUTING" and job.started:
            mode = next((value for key, value in job.parameters if key == "MODE"), "short")
            ran = (now - job.started).total_seconds()
            if mode != "long" and ran >= self.short_job_seconds:
                self.finish(job, "ERROR" if mode == "failing" else "COMPLETED")
            elif ran >= job.duration:
                self.abort_overdue(job)
        if now >= job.destruction:
            self.destroy(job)

    def finish(self, job: Job, phase: str) -> None:
        job.phase, job.ended = phase, datetime.now(UTC)

    def abort_overdue(self, job: Job) -> None:
        """End a job that ran for too long."""
        self.finish(job, "ABORTED")

    def destroy(self, job: Job) -> None:
        """Remove a job."""
        self.jobs.pop(job.id, None)

    def run(self, job: Job) -> Answer:
        """Start a pending job."""
        if job.phase != "PENDING":
            return Answer(403, f"job is {job.phase}")
        job.phase = "QUEUED"
        return self.redirect_to(job)

    def abort(self, job: Job) -> Answer:
        """Abort an unfinished job."""
        if job.phase in FINAL_PHASES:
            return Answer(403, f"job is {job.phase}")
        self.finish(job, "ABORTED")
        return self.redirect_to(job)

    def is_visible(self, job: Job, caller: str | None) -> bool:
        """Return whether a caller may see a job."""
        return job.owner == caller

    # The list

    def filter_by_phase(self, jobs: list[Job], phases: list[str]) -> list[Job]:
        return [job for job in jobs if job.phase in phases]

    def filter_by_after(self, jobs: list[Job], after: str) -> list[Job]:
        try:
            limit = parse_instant(after)
        except ValueError:
            return jobs
        return [job for job in jobs if job.created > limit]

    def filter_by_last(self, jobs: list[Job], last: str) -> list[Job]:
        return jobs[: int(last)] if last.isdigit() and int(last) else jobs

    def select_jobs(self, request: Request) -> list[Job]:
        """Return the jobs that a request for the list selects."""
        jobs = [job for job in list(self.jobs.values()) if self.is_visible(job, request.caller)]
        for job in jobs:
            self.advance(job)
        jobs.sort(key=lambda job: job.created, reverse=True)
        phases = [value for key, value in request.query if key.upper() == "PHASE"]
        if phases:
            jobs = self.filter_by_phase(jobs, phases)
        if after := request.query_value("AFTER"):
            jobs = self.filter_by_after(jobs, after)
        if last := request.query_value("LAST"):
            jobs = self.filter_by_last(jobs, last)
        return jobs

    # Waiting

    def hold_seconds(self, job: Job, request: Request) -> float:
        """Return how many seconds to hold a request."""
        wait, phase = request.query_value("WAIT"), request.query_value("PHASE")
        if wait is None or not wait.lstrip("-").isdigit() or job.phase not in ACTIVE_PHASES:
            return 0.0
        if phase is not None and phase != job.phase:
            return 0.0
        return 5.0 if int(wait) < 0 else min(float(wait), 30.0)

    def hold(self, job: Job, max_seconds: float) -> None:
        """Wait until the phase changes, or for a while."""
        before, deadline = job.phase, time.monotonic() + max_seconds
        while time.monotonic() < deadline and job.phase == before:
            time.sleep(0.02)
            with self.lock:
                self.advance(job)

    # Requests

    def redirect_to(self, job: Job) -> Answer:
        """Redirect to a job."""
        return Answer(303, headers={"Location": f"{self.url}/async/{job.id}"})

    def answer(self, request: Request) -> Answer:
        """Answer a request, then apply the mutant's rewrite."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        reply = self.route(request, parts)
        if request.caller:
            reply.headers.setdefault("X-VO-Authenticated", request.caller)
        reply.headers.setdefault("Cache-Control", "no-store")
        return self.rewrite(request, reply) if self.rewrite else reply

    def route(self, request: Request, parts: list[str]) -> Answer:
        if parts == ["capabilities"]:
            changed = {"Last-Modified": "Mon, 23 Nov 2026 12:00:00 GMT"}
            is_read = request.method in ("GET", "HEAD")
            return Answer(200, self.capabilities(), "text/xml", changed) if is_read else Answer(405)
        if parts == ["availability"]:
            body = '<availability xmlns="http://www.ivoa.net/xml/VOSIAvailability/v1.0"><available>true</available></availability>'
            return Answer(200, body, "text/xml")
        if parts == ["examples"]:
            return Answer(200, EXAMPLES, "application/xhtml+xml")
        if parts == ["sync"]:
            failing = ("MODE", "failing") in [*request.query, *request.form]
            return Answer(422, "it failed") if failing else Answer(200, "hello")
        if parts[0] != "async":
            return Answer(404, "nothing here")
        if request.caller is None:
            return Answer(401, "who are you?", headers={"WWW-Authenticate": CHALLENGES})
        if len(parts) == 1:
            return self.answer_list(request)
        with self.lock:
            job = self.jobs.get(parts[1])
            if job:
                self.advance(job)
            job = self.jobs.get(parts[1])
            if job is None:
                return Answer(404, "no such job")
            if not self.is_visible(job, request.caller):
                return Answer(403, "somebody else's job")
        if len(parts) == 2:
            return self.answer_job(request, job)
        with self.lock:
            return self.answer_child(request, job, parts[2], parts[3:])

    def answer_list(self, request: Request) -> Answer:
        if request.method in ("GET", "HEAD"):
            with self.lock:
                return Answer(200, self.list_document(self.select_jobs(request)), "text/xml")
        if request.method != "POST":
            return Answer(405, headers={"Allow": "GET, HEAD, POST"})
        if not request.readable:
            return Answer(400, "no form")
        with self.lock:
            return self.create(request)

    def create(self, request: Request) -> Answer:
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        job = Job(uuid.uuid4().hex, request.caller or "", now, now + timedelta(days=1))
        run = False
        for key, value in [*request.form, *request.query]:
            if key.upper() == "PHASE":
                run = value == "RUN"
            elif key.upper() == "RUNID":
                job.run_id = value
            else:
                job.parameters.append((key.upper(), value))
                if value.startswith("param:") and value[6:] in request.files:
                    job.files[key.upper()] = request.files[value[6:]]
        self.jobs[job.id] = job
        if run:
            self.run(job)
        return self.redirect_to(job)

    def answer_job(self, request: Request, job: Job) -> Answer:
        form = {key.upper(): value for key, value in request.form}
        if request.method in ("GET", "HEAD"):
            self.hold(job, self.hold_seconds(job, request))
            with self.lock:
                return Answer(200, self.job_document(job), "text/xml")
        if request.method == "DELETE" or (request.method == "POST" and form.get("ACTION") == "DELETE"):
            self.destroy(job)
            return Answer(303, headers={"Location": f"{self.url}/async"})
        return Answer(400 if request.method == "POST" else 405, "not here")

    def answer_child(self, request: Request, job: Job, child: str, path: list[str]) -> Answer:
        if request.method == "POST":
            return self.change(request, job, child)
        if request.method not in ("GET", "HEAD"):
            return Answer(405, headers={"Allow": "GET, HEAD, POST"})
        atoms = {
            "phase": job.phase, "executionduration": str(job.duration), "destruction": format_instant(job.destruction),
            "quote": format_instant(job.created + timedelta(hours=1)), "owner": job.owner,
        }  # fmt: skip
        if child in atoms and not path:
            return Answer(200, atoms[child])
        if child == "results" and not path:
            return Answer(200, self.results(job, f" {ROOT}"), "text/xml")
        if child == "results" and path == ["result"] and job.phase == "COMPLETED":
            return Answer(200, "hello")
        if child == "parameters" and not path:
            return Answer(200, self.parameters(job, f" {ROOT}"), "text/xml")
        if child == "parameters" and path[0] in job.files:
            return Answer(200, job.files[path[0]].decode(), "application/octet-stream")
        if child == "error" and job.phase == "ERROR":
            return Answer(200, "it failed")
        return Answer(404, "no such thing")

    def change(self, request: Request, job: Job, child: str) -> Answer:
        form = {key.upper(): value for key, value in request.form}
        if child == "phase":
            if form.get("PHASE") == "RUN":
                return self.run(job)
            return self.abort(job) if form.get("PHASE") == "ABORT" else Answer(400, "PHASE is RUN or ABORT")
        if child == "executionduration":
            value = form.get("EXECUTIONDURATION", "")
            if not value.isdigit():
                return Answer(400, "seconds, please")
            job.duration = int(value)
            return self.redirect_to(job)
        if child == "destruction":
            try:
                job.destruction = min(parse_instant(form.get("DESTRUCTION", "")), job.created + timedelta(days=30))
            except ValueError:
                return Answer(400, "an instant, please")
            return self.redirect_to(job)
        if child == "parameters":
            if job.phase != "PENDING":
                return Answer(403, "too late")
            names = {key.upper() for key, _ in request.form}
            unchanged = [pair for pair in job.parameters if pair[0] not in names]
            job.parameters = unchanged + [(key.upper(), value) for key, value in request.form]
            return self.redirect_to(job)
        return Answer(405, headers={"Allow": "GET, HEAD"})

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
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote
from xml.sax.saxutils import escape, quoteattr

PHASES = "PENDING QUEUED EXECUTING COMPLETED ERROR ABORTED UNKNOWN HELD SUSPENDED ARCHIVED".split()
FINAL = ("COMPLETED", "ERROR", "ABORTED")
ACTIVE = ("PENDING", "QUEUED", "EXECUTING")
ROOT = (
    'xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)
CHALLENGES = 'Bearer realm="reference"\nBasic realm="reference"'
EXAMPLES = (
    '<html><body vocab="http://www.ivoa.net/rdf/examples#"><div typeof="example" id="a" resource="#a">'
    '<b property="name">A</b></div></body></html>'
)
Pairs = list[tuple[str, str]]


@dataclass
class Answer:
    """An outgoing response."""

    status: int
    body: str = ""
    type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """A job."""

    id: str
    owner: str
    created: datetime
    destruction: datetime
    phase: str = "PENDING"
    duration: int = 3600
    started: datetime | None = None
    ended: datetime | None = None
    run_id: str | None = None
    parameters: Pairs = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Request:
    """An incoming request."""

    method: str
    path: str
    query: Pairs
    form: Pairs
    caller: str | None
    files: dict[str, bytes] = field(default_factory=dict)
    readable: bool = True
    chunked: bool = False

    def query_value(self, name: str) -> str | None:
        """Return a query parameter by its name in any case."""
        return next((value for key, value in self.query if key.upper() == name), None)


def text(instant: datetime | None) -> str:
    """Format an instant as UWS does."""
    return "" if instant is None else instant.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def read(value: str) -> datetime:
    """Parse an instant sent by a client."""
    return datetime.fromisoformat(value.replace("Z", "+00:00").replace("Z", "")).replace(tzinfo=UTC)


class Reference:
    """The protocol; mutants replace its methods."""

    short = 0.05

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
            if mode != "long" and ran >= self.short:
                self.finish(job, "ERROR" if mode == "failing" else "COMPLETED")
            elif ran >= job.duration:
                self.exceeded(job)
        if now >= job.destruction:
            self.destroy(job)

    def finish(self, job: Job, phase: str) -> None:
        job.phase, job.ended = phase, datetime.now(UTC)

    def exceeded(self, job: Job) -> None:
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
        return self.to(job)

    def abort(self, job: Job) -> Answer:
        """Abort an unfinished job."""
        if job.phase in FINAL:
            return Answer(403, f"job is {job.phase}")
        self.finish(job, "ABORTED")
        return self.to(job)

    def visible(self, job: Job, caller: str | None) -> bool:
        """Return whether a caller may see a job."""
        return job.owner == caller

    # The list

    def by_phase(self, jobs: list[Job], phases: list[str]) -> list[Job]:
        return [job for job in jobs if job.phase in phases]

    def by_after(self, jobs: list[Job], after: str) -> list[Job]:
        try:
            limit = read(after)
        except ValueError:
            return jobs
        return [job for job in jobs if job.created > limit]

    def by_last(self, jobs: list[Job], last: str) -> list[Job]:
        return jobs[: int(last)] if last.isdigit() and int(last) else jobs

    def listed(self, request: Request) -> list[Job]:
        """Return the jobs that a request for the list selects."""
        jobs = [job for job in list(self.jobs.values()) if self.visible(job, request.caller)]
        for job in jobs:
            self.advance(job)
        jobs.sort(key=lambda job: job.created, reverse=True)
        phases = [value for key, value in request.query if key.upper() == "PHASE"]
        if phases:
            jobs = self.by_phase(jobs, phases)
        if after := request.query_value("AFTER"):
            jobs = self.by_after(jobs, after)
        if last := request.query_value("LAST"):
            jobs = self.by_last(jobs, last)
        return jobs

    def list_document(self, jobs: list[Job]) -> str:
        refs = "".join(
            f'<uws:jobref id="{job.id}" xlink:href="{self.url}/async/{job.id}"><uws:phase>{job.phase}</uws:phase>'
            f"<uws:ownerId>{job.owner}</uws:ownerId><uws:creationTime>{text(job.created)}"
            "</uws:creationTime></uws:jobref>"
            for job in jobs
        )
        return f'<uws:jobs {ROOT} version="1.1">{refs}</uws:jobs>'

    # Documents

    def results(self, job: Job, root: str = "") -> str:
        elements = ""
        if job.phase == "COMPLETED":
            elements = (
                f'<uws:result id="result" xlink:href="{self.url}/async/{job.id}/results/result" size="5" '
                'mime-type="text/plain"/>'
            )
        return f"<uws:results{root}>{elements}</uws:results>"

    def parameters(self, job: Job, root: str = "") -> str:
        elements = "".join(
            f'<uws:parameter id={quoteattr(key)} byReference="true">{self.url}/async/{job.id}/parameters/{key}'
            "</uws:parameter>"
            if key in job.files
            else f"<uws:parameter id={quoteattr(key)}>{escape(value)}</uws:parameter>"
            for key, value in job.parameters
        )
        return f"<uws:parameters{root}>{elements}</uws:parameters>"

    def job_document(self, job: Job) -> str:
        def when(name: str, value: datetime | None) -> str:
            return f"<uws:{name}>{text(value)}</uws:{name}>" if value else f'<uws:{name} xsi:nil="true"/>'

        run_id = "" if job.run_id is None else f"<uws:runId>{escape(job.run_id)}</uws:runId>"
        error = ""
        if job.phase == "ERROR":
            message = "<uws:message>it failed</uws:message>"
            error = f'<uws:errorSummary type="fatal" hasDetail="true">{message}</uws:errorSummary>'
        return (
            f'<uws:job {ROOT} version="1.1"><uws:jobId>{job.id}</uws:jobId>{run_id}'
            f"<uws:ownerId>{job.owner}</uws:ownerId>"
            f"<uws:phase>{job.phase}</uws:phase>{when('quote', job.created + timedelta(hours=1))}"
            f"{when('creationTime', job.created)}{when('startTime', job.started)}{when('endTime', job.ended)}"
            f"<uws:executionDuration>{job.duration}</uws:executionDuration>{when('destruction', job.destruction)}"
            f"{self.parameters(job)}{self.results(job)}{error}</uws:job>"
        )

    def capabilities(self) -> str:
        def capability(standard: str, path: str) -> str:
            return (
                f'<capability standardID="{standard}"><interface xsi:type="vs:ParamHTTP" role="std">'
                f'<accessURL use="full">{self.url}{path}</accessURL></interface></capability>'
            )

        return (
            '<v:capabilities xmlns:v="http://www.ivoa.net/xml/VOSICapabilities/v1.0" '
            'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            + capability("ivo://ivoa.net/std/VOSI#capabilities", "/capabilities")
            + capability("ivo://ivoa.net/std/UWS#rest-1.1", "/async")
            + "</v:capabilities>"
        )

    # Waiting

    def blocks(self, job: Job, request: Request) -> float:
        """Return how many seconds to hold a request."""
        wait, phase = request.query_value("WAIT"), request.query_value("PHASE")
        if wait is None or not wait.lstrip("-").isdigit() or job.phase not in ACTIVE:
            return 0.0
        if phase is not None and phase != job.phase:
            return 0.0
        return 5.0 if int(wait) < 0 else min(float(wait), 30.0)

    def hold(self, job: Job, limit: float) -> None:
        """Wait until the phase changes, or for a while."""
        before, deadline = job.phase, time.monotonic() + limit
        while time.monotonic() < deadline and job.phase == before:
            time.sleep(0.02)
            with self.lock:
                self.advance(job)

    # Requests

    def to(self, job: Job) -> Answer:
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
            return self.at_list(request)
        with self.lock:
            job = self.jobs.get(parts[1])
            if job:
                self.advance(job)
            job = self.jobs.get(parts[1])
            if job is None:
                return Answer(404, "no such job")
            if not self.visible(job, request.caller):
                return Answer(403, "somebody else's job")
        if len(parts) == 2:
            return self.at_job(request, job)
        with self.lock:
            return self.at_child(request, job, parts[2], parts[3:])

    def at_list(self, request: Request) -> Answer:
        if request.method in ("GET", "HEAD"):
            with self.lock:
                return Answer(200, self.list_document(self.listed(request)), "text/xml")
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
        return self.to(job)

    def at_job(self, request: Request, job: Job) -> Answer:
        form = {key.upper(): value for key, value in request.form}
        if request.method in ("GET", "HEAD"):
            self.hold(job, self.blocks(job, request))
            with self.lock:
                return Answer(200, self.job_document(job), "text/xml")
        if request.method == "DELETE" or (request.method == "POST" and form.get("ACTION") == "DELETE"):
            self.destroy(job)
            return Answer(303, headers={"Location": f"{self.url}/async"})
        return Answer(400 if request.method == "POST" else 405, "not here")

    def at_child(self, request: Request, job: Job, child: str, path: list[str]) -> Answer:
        if request.method == "POST":
            return self.change(request, job, child)
        if request.method not in ("GET", "HEAD"):
            return Answer(405, headers={"Allow": "GET, HEAD, POST"})
        atoms = {
            "phase": job.phase, "executionduration": str(job.duration), "destruction": text(job.destruction),
            "quote": text(job.created + timedelta(hours=1)), "owner": job.owner,
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
            return self.to(job)
        if child == "destruction":
            try:
                job.destruction = min(read(form.get("DESTRUCTION", "")), job.created + timedelta(days=30))
            except ValueError:
                return Answer(400, "an instant, please")
            return self.to(job)
        if child == "parameters":
            if job.phase != "PENDING":
                return Answer(403, "too late")
            names = {key.upper() for key, _ in request.form}
            unchanged = [pair for pair in job.parameters if pair[0] not in names]
            job.parameters = unchanged + [(key.upper(), value) for key, value in request.form]
            return self.to(job)
        return Answer(405, headers={"Allow": "GET, HEAD"})

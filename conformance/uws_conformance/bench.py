"""The test bench: a server, two identities, shared jobs.

Each kind of job is made once, when the first check asks for it. If that fails, the other checks that need the job are
skipped with the reason. Every job is remembered by its URL and deleted at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin

from lxml import etree

from uws_conformance import documents
from uws_conformance.http import ANONYMOUS, Client, Form, Identity, Reply
from uws_conformance.outcomes import Broken, Skipped, Unsupported, expect
from uws_conformance.profile import Profile

T = TypeVar("T")
Files = dict[str, tuple[str, bytes, str]]  # part name -> file name, bytes, media type
DELETION_SECONDS = 60  # at most, for all jobs together
PART_NAME = "conformance_part"
VOTABLE = b"""<?xml version="1.0"?>
<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="ra" datatype="double" ucd="pos.eq.ra;meta.main" unit="deg"/>
<FIELD name="dec" datatype="double" ucd="pos.eq.dec;meta.main" unit="deg"/>
<FIELD name="label" datatype="char" arraysize="*"/>
<DATA><TABLEDATA><TR><TD>10.5</TD><TD>-20.25</TD><TD>one</TD></TR><TR><TD>11.5</TD><TD>41</TD><TD>a &lt; b</TD></TR>
</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>
"""


def with_upload(form: Form, files: Files | None) -> Files | None:
    """Add our table to the files of a request.

    It is added where a value of the form names its part.
    """
    if not any(PART_NAME in value for _, value in form):
        return files
    return {PART_NAME: ("table.vot", VOTABLE, "application/x-votable+xml"), **(files or {})}


@dataclass
class Job:
    """A job of the bench, with the replies recorded for it."""

    url: str
    created: Reply
    replies: dict[str, Reply] = field(default_factory=dict)
    documents: dict[str, etree._Element] = field(default_factory=dict)


class Bench:
    """The requests, shared jobs and documents of the checks."""

    def __init__(
        self, url: str, profile: Profile, client: Client, other_identity: Identity | None = None, max_jobs: int = 60
    ) -> None:
        self.list_url = url.rstrip("/")
        self.profile, self.client, self.other_identity, self.max_jobs = profile, client, other_identity, max_jobs
        self.base_url = (
            urljoin(self.list_url, profile.base).rstrip("/")
            if profile.base != ".."
            else self.list_url.rsplit("/", 1)[0]
        )
        self.job_urls: list[str] = []
        self._shared: dict[str, object] = {}
        self._exchanges_by_key: dict[str, range] = {}
        # Numbers of the exchanges behind the shared objects of the current check.
        self.shared_exchanges: set[int] = set()

    # Requests

    def get(self, url: str, **options: str) -> Reply:
        """Send GET with headers such as ``accept=…``."""
        return self.client.send("GET", url, headers=options or None)

    def post(self, url: str, *form: tuple[str, str]) -> Reply:
        """Send a form."""
        return self.client.send("POST", url, form)

    def get_xml(self, url: str) -> etree._Element:
        """Return the document at a URL that must answer 200."""
        reply = self.get(url)
        expect(reply.status == 200, str(reply))
        return documents.parse(reply.body, url)

    def phase(self, job: Job) -> str:
        """Return the phase in the job document."""
        return documents.value(self.get_xml(job.url), "phase") or ""

    def share(self, key: str, make: Callable[[], T]) -> T:
        """Return what ``make`` returned when it was first called.

        If it failed then, raise `Skipped` with the reason.
        """
        if key not in self._shared:
            first = len(self.client.exchanges)
            try:
                self._shared[key] = make()
            except (Broken, Skipped, Unsupported) as error:
                self._shared[key] = error
            self._exchanges_by_key[key] = range(first, len(self.client.exchanges))
        self.shared_exchanges.update(self._exchanges_by_key[key])
        value = self._shared[key]
        if isinstance(value, Skipped | Unsupported):
            raise Skipped(str(value))
        if isinstance(value, Broken):
            raise Skipped(f"no {key} to look at: {value}")
        return value  # type: ignore[return-value]  # what make() returned

    def require_shared(self, key: str, make: Callable[[], object]) -> None:
        """Make a shared object and raise why that failed.

        `share` skips the checks that need the object; the check of its creation fails instead.
        """
        try:
            make()
        except Skipped:
            if isinstance(cause := self._shared.get(key), Broken):
                raise cause from None
            raise

    # Jobs

    def create(self, form: Form | None, *, files: Files | None = None, query: str = "", **options: Any) -> Reply:
        """POST to the job list.

        Our table is sent along where the form names its part. A job that was created is deleted at the end.
        """
        if form is None:
            raise Skipped("the profile has no way to create this kind of job")
        if len(self.job_urls) >= self.max_jobs:
            raise Skipped(f"the limit of {self.max_jobs} jobs is reached")
        files = with_upload(form, files)
        reply = self.client.send("POST", self.list_url + query, tuple(form), files=files, **options)
        moved = reply.status in (301, 302, 307, 308)  # Location is no job then
        if reply.location and not moved and reply.location.rstrip("/") != self.list_url:
            self.job_urls.append(reply.location)
        return reply

    def create_job(self, form: Form | None, **options: Any) -> Job:
        """Create a job, or break the rule."""
        reply = self.create(form, **options)
        expect(reply.location, f"{reply}, no Location")
        return Job(reply.location, reply)

    def job_form(self, kind: str) -> Form:
        """Return the parameters of a kind of job.

        Raise `Skipped` if the profile has none. ``{part}`` in a value becomes the name of the part with our table.
        """
        form = self.profile.form(kind)
        if form is None:
            raise Skipped(f"the profile has no way to create a job of the kind {kind!r}")
        return tuple((key, value.replace("{part}", PART_NAME)) for key, value in form)

    def wait_for_phase(self, job: Job, *phases: str) -> str:
        """Poll until the job is in one of the phases."""
        deadline = time.monotonic() + self.profile.patience
        while (phase := self.phase(job)) not in phases:
            if time.monotonic() > deadline:
                raise Broken(
                    f"{job.url} is {phase} after {self.profile.patience:g} s, waited for {' or '.join(phases)}"
                )
            if phase in documents.FINAL_PHASES:
                raise Broken(f"{job.url} became {phase}{self.failure_message(job)}, waited for {' or '.join(phases)}")
            time.sleep(self.profile.poll)
        return phase

    def failure_message(self, job: Job) -> str:
        """Return the job's error message in brackets, or nothing."""
        summary = documents.child(self.get_xml(job.url), "errorSummary")
        message = "" if summary is None else documents.value(summary, "message") or ""
        return f" ({message.strip()[:300]})" if message else ""

    def pending(self) -> Job:
        """Return a pending job that is never changed."""

        def make() -> Job:
            job = self.create_job(self.job_form("short"))
            reply = self.get(job.url)
            expect(reply.status == 200, str(reply))
            job.replies["get"] = reply
            job.documents["get"] = documents.parse(reply.body, job.url)
            return job

        return self.share("pending job", make)

    def editable(self) -> Job:
        """Return a pending job whose times and parameters may change."""
        return self.share("pending job for changes", lambda: self.create_job(self.job_form("short")))

    def run_to(self, kind: str, phase: str) -> Job:
        """Return a job of a kind that ended in a phase."""

        def make() -> Job:
            job = self.create_job(self.job_form(kind))
            job.replies["run"] = self.post(f"{job.url}/phase", ("PHASE", "RUN"))
            job.documents["after run"] = self.get_xml(job.url)
            self.wait_for_phase(job, phase)
            job.replies["get"] = self.get(job.url)
            job.documents["get"] = documents.parse(job.replies["get"].body, job.url)
            return job

        return self.share(f"{phase} job", make)

    def completed(self) -> Job:
        """Return a completed job."""
        return self.run_to("short", "COMPLETED")

    def failed(self) -> Job:
        """Return a failed job."""
        return self.run_to("failing", "ERROR")

    def aborted(self) -> Job:
        """Return a job that was aborted while pending."""

        def make() -> Job:
            job = self.create_job(self.job_form("short"))
            job.replies["abort"] = self.post(f"{job.url}/phase", ("PHASE", "ABORT"))
            job.documents["get"] = self.get_xml(job.url)
            return job

        return self.share("aborted job", make)

    def running(self) -> Job:
        """Return a long job observed while it was executing.

        Its documents and replies are recorded, then it is aborted.
        """

        def make() -> Job:
            job = self.create_job(self.job_form("long"))
            self.post(f"{job.url}/phase", ("PHASE", "RUN"))
            self.wait_for_phase(job, "EXECUTING")
            job.documents["executing"] = self.get_xml(job.url)
            job.replies["parameters"] = self.post(f"{job.url}/parameters", self.changeable_parameter())
            job.replies["parameters after"] = self.get(f"{job.url}/parameters")
            job.replies["wait other"] = self.get(f"{job.url}?WAIT={self.profile.wait}&PHASE=QUEUED")
            job.replies["wait"] = self.get(f"{job.url}?WAIT={self.profile.wait}")
            self.require_running(job)
            job.replies["abort"] = self.post(f"{job.url}/phase", ("PHASE", "ABORT"))
            job.documents["aborted"] = self.get_xml(job.url)
            return job

        return self.share("long job", make)

    def require_running(self, job: Job) -> None:
        """Skip the check if the long job has ended."""
        if self.phase(job) == "COMPLETED":
            raise Skipped("the profile's long job ended by itself; make it longer")

    def deleted(self, by: str = "DELETE") -> Job:
        """Return a deleted job.

        ``by`` is the verb DELETE or the name of the parameter ACTION. The reply is ``replies["delete"]``.
        """

        def make() -> Job:
            job = self.create_job(self.job_form("short"))
            if by == "DELETE":
                job.replies["delete"] = self.client.send("DELETE", job.url)
            else:
                job.replies["delete"] = self.post(job.url, (by, "DELETE"))
            job.replies["get"] = self.get(job.url)
            job.replies["list"] = self.get(self.list_url)
            return job

        return self.share(f"job deleted by {by}", make)

    def sync(self, form: Form, method: str = "GET", **options: Any) -> Reply:
        """Send a request to sync and follow its redirects."""
        if not self.profile.sync:
            raise Skipped("the profile says that there is no synchronous face")
        url = f"{self.base_url}/sync"
        files = with_upload(form, options.pop("files", None))
        if method != "GET":
            return self.follow(self.client.send("POST", url, form, files=files, **options))
        if files:
            raise Skipped("the profile's job needs a file, which GET cannot send")
        return self.follow(self.get(f"{url}?{urlencode(form)}"))

    def follow(self, reply: Reply) -> Reply:
        """Follow at most five redirects and return the last reply."""
        for _ in range(5):
            if reply.status not in (301, 302, 303, 307, 308) or not reply.location:
                break
            reply = self.get(reply.location)
        return reply

    def upload(self) -> Job:
        """Return a pending job with our table."""

        def make() -> Job:
            job = self.create_job(self.job_form("upload"))
            job.documents["parameters"] = self.get_xml(f"{job.url}/parameters")
            return job

        return self.share("job with an upload", make)

    def changeable_parameter(self) -> tuple[str, str]:
        """Return a parameter to post to a pending job."""
        if not self.profile.parameter[0]:
            raise Skipped("the profile names no parameter that may be changed")
        return self.profile.parameter

    def send_anonymously(self, method: str, url: str, form: Form | None = None) -> Reply:
        """Send a request without credentials."""
        return self.client.send(method, url, form, identity=ANONYMOUS)

    def send_as_other(self, method: str, url: str, form: Form | None = None) -> Reply:
        """Send a request with the second identity."""
        if self.other_identity is None:
            raise Skipped("no second identity was given (--token-other)")
        return self.client.send(method, url, form, identity=self.other_identity)

    def delete_jobs(self) -> list[str]:
        """Delete the jobs and return those that are left."""
        undeleted = []
        deadline = time.monotonic() + DELETION_SECONDS
        for url in self.job_urls:
            if time.monotonic() > deadline:
                undeleted.append(url)
                continue
            try:
                reply = self.client.send("DELETE", url, timeout=10)
                if reply.status >= 400 and reply.status != 404 and self.get(url).status not in (404, 410):
                    undeleted.append(url)
            except (Broken, Skipped):
                undeleted.append(url)
        self.job_urls = []
        return undeleted

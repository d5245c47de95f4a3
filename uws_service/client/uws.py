"""What one can do with a UWS service.

Make jobs, look at them, wait, fetch results (UWS 1.1 §2.2.3).
"""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode, urlsplit, urlunsplit

from uws_service.client.documents import JobDocument, JobEntry, JobList, format_instant, parse_job, parse_jobs
from uws_service.client.errors import BadDocument, ClientError, NetworkError, ServerError
from uws_service.client.http import Answer, Http, error_words
from uws_service.domain.job import BLOCKING, FINAL, Phase

STOPPED = frozenset({*(phase.value for phase in FINAL), Phase.PENDING.value, Phase.HELD.value})
"""Phases in which waiting is over: ended, or somebody has to send RUN."""
WAIT_SECONDS = 30
"""Length of one WAIT; below the read timeouts of common proxies (C-26)."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, PAUSE_GROWTH = 0.25, 15.0, 1.5
PATIENCE_SECONDS = 120.0
"""Seconds for which a server may fail while we wait for a job: it may be restarting."""

Pairs = Sequence[tuple[str, str]]


class WaitTimeout(ClientError):
    """The time to wait is over.

    ``job`` as last seen.
    """

    def __init__(self, job: JobDocument, seconds: float) -> None:
        super().__init__(f"{job.url} is still {job.phase} after {seconds:g} s")
        self.job = job


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to send with a new job.

    ``name`` of the part, and where it lies.
    """

    name: str
    path: Path

    @property
    def media_type(self) -> str:
        """Return the type by the file's name."""
        if self.path.suffix.lower() in (".vot", ".votable"):
            return "application/x-votable+xml"
        return mimetypes.guess_type(self.path.name)[0] or "application/octet-stream"


class UwsClient:
    """A client for one service.

    All methods take absolute URLs of jobs, as the service gave them.

    Parameters
    ----------
    url
        The job list or any job of the service; it decides where ``headers`` are sent to.
    headers
        Credentials, sent to that origin only.
    authorize
        Gives the Authorization header of each request to that origin.
    timeout
        Seconds without a byte after which an answer is given up.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        authorize: Callable[[], str | None] | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.http = Http(url, headers=headers, authorize=authorize, timeout=timeout)

    def __enter__(self) -> UwsClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    # --- reading ----------------------------------------------------------------------------------------------

    def jobs(
        self, url: str, *, phases: Iterable[str] = (), after: int | None = None, last: int | None = None
    ) -> JobList:
        """Return the job list, filtered (U-052…U-057); A 1.0 server does not filter, so it is done here again."""
        names = [phase.upper() for phase in phases]
        query: list[tuple[str, str]] = [("PHASE", phase) for phase in names]
        if after is not None:
            query.append(("AFTER", format_instant(after)))
        if last is not None:
            query.append(("LAST", str(last)))
        answer = self.http.get(_with_query(url, query))
        listing = parse_jobs(answer.body, answer.url, answer.media_type)
        if listing.version == "1.0":
            return JobList(listing.version, tuple(_filtered(listing.jobs, names, after, last)))
        return listing

    def job(self, url: str, *, wait: int | None = None, phase: str | None = None) -> JobDocument:
        """Return the job.

        With ``wait`` the server answers when the phase is no longer ``phase``, or after so many seconds.
        """
        query = [] if wait is None else [("WAIT", str(wait)), *([("PHASE", phase)] if phase else [])]
        timeout = None if wait is None else wait + self.http.timeout
        answer = self.http.get(_with_query(url, query), timeout=timeout, tries=2 if wait is None else 1)
        return parse_job(answer.body, answer.url.partition("?")[0] if query else answer.url, answer.media_type)

    def error_text(self, job: JobDocument) -> str:
        """Return what ``{job}/error`` says (U-032), in one line; empty if there is nothing to be read."""
        try:
            answer = self.http.get(f"{job.url.rstrip('/')}/error")
        except ClientError:
            return ""
        return error_words(answer.body, answer.media_type)

    def read(self, href: str) -> Iterator[bytes]:
        """Yield what is at a link, as it comes."""
        with self.http.stream("GET", href, headers={"Accept": "*/*"}) as response:
            yield from self.http.chunks(response)

    def download(
        self,
        href: str,
        path: Path,
        *,
        size: int | None = None,
        sha256: str | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> int:
        """Put what is at a link into a file.

        The number of bytes.

        The file appears under its name only when all of it is there. ``size`` and ``sha256`` are what the job's
        document says; other bytes are an error, and so is a connection that ends early. A broken connection is
        tried once more from the beginning. ``progress`` is called with bytes so far and in total.
        """
        try:
            return self._download(href, path, size, sha256, progress)
        except NetworkError:
            return self._download(href, path, size, sha256, progress)

    def _download(
        self,
        href: str,
        path: Path,
        size: int | None,
        sha256: str | None,
        progress: Callable[[int, int | None], None] | None,
    ) -> int:
        part = path.with_name(f"{path.name}.part-{os.getpid()}")
        received, digest = 0, hashlib.sha256()
        # Without compression on the way, as then Content-Length and size count the same bytes (C-28).
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        try:
            with self.http.stream("GET", href, headers=headers) as response, part.open("xb") as file:
                length = response.headers.get("content-length", "")
                encoded = "content-encoding" in response.headers
                total = size if size is not None else int(length) if length.isdigit() and not encoded else None
                for chunk in self.http.chunks(response):
                    file.write(chunk)
                    digest.update(chunk)
                    received += len(chunk)
                    if progress is not None:
                        progress(received, total)
            if size is not None and received != size:
                raise BadDocument(f"{href} has {received} bytes; the job's document says {size}")
            if sha256 is not None and digest.hexdigest() != sha256:
                raise BadDocument(f"{href} has other content than the job's document says (SHA-256)")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return received

    # --- acting -----------------------------------------------------------------------------------------------

    def create(
        self,
        url: str,
        parameters: Pairs = (),
        uploads: Sequence[Upload] = (),
        *,
        run_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Make a job in phase PENDING; its URL.

        The request carries an Idempotency-Key, so that a service that knows this header makes one job only, however
        often the request reaches it. If the connection fails, the request is sent once more with the same key.
        """
        fields = [*parameters, *([("RUNID", run_id)] if run_id is not None else [])]
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        try:
            answer = self._post(url, fields, uploads, headers)
        except NetworkError:
            time.sleep(FIRST_PAUSE_SECONDS)
            answer = self._post(url, fields, uploads, headers)
        return job_url_of(answer)

    def create_many(
        self, url: str, table: Path, parameters: Pairs = (), *, run: bool = True, run_id: str | None = None
    ) -> str:
        """Make a job for each row of a CSV file, at an application of this service's kind; the URL of their list."""
        base = url.rstrip("/").removesuffix("/async").removesuffix("/bulk")
        fields = [
            *parameters,
            *([("RUNID", run_id)] if run_id is not None else []),
            *([("PHASE", "RUN")] if run else []),
        ]
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        upload = Upload("TABLE", table)
        try:
            answer = self._post(f"{base}/bulk", fields, [upload], headers)
        except NetworkError:
            time.sleep(FIRST_PAUSE_SECONDS)
            answer = self._post(f"{base}/bulk", fields, [upload], headers)
        return job_url_of(answer)

    def _post(self, url: str, fields: Pairs, uploads: Sequence[Upload], headers: Mapping[str, str]) -> Answer:
        if not uploads:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            return self.http.send("POST", url, content=urlencode(fields), headers={**headers, **form})
        data: dict[str, list[str]] = {}
        for name, value in fields:
            data.setdefault(name, []).append(value)
        with contextlib.ExitStack() as stack:
            files = [
                (upload.name, (upload.path.name, stack.enter_context(upload.path.open("rb")), upload.media_type))
                for upload in uploads
            ]
            return self.http.send("POST", url, data=data, files=files, headers=headers)

    def run(self, url: str) -> None:
        """Start a job (U-026)."""
        self._set_phase(url, "RUN", {Phase.PENDING.value, Phase.HELD.value})

    def abort(self, url: str) -> None:
        """Stop a job (U-027)."""
        self._set_phase(url, "ABORT", {phase.value for phase in BLOCKING})

    def _set_phase(self, url: str, word: str, before: set[str]) -> None:
        phase = f"{url.rstrip('/')}/phase"
        try:
            self._set(phase, "PHASE", word)
        except NetworkError as error:
            # The server may have done it. Only if it has not, it is asked again.
            if not error.may_have_arrived or self.job(url).phase in before:
                self._set(phase, "PHASE", word)

    def set_duration(self, url: str, seconds: int) -> None:
        """Ask for another executionDuration (U-029); the server may set less."""
        self._set_again(f"{url.rstrip('/')}/executionduration", "EXECUTIONDURATION", str(seconds))

    def set_destruction(self, url: str, instant: int) -> None:
        """Ask for another destruction time, in milliseconds since the epoch (U-031); the server may set less."""
        self._set_again(f"{url.rstrip('/')}/destruction", "DESTRUCTION", format_instant(instant))

    def delete(self, url: str) -> None:
        """Delete a job (U-023).

        By POST ACTION=DELETE where DELETE does not get through (U-024).
        """
        try:
            self.http.send("DELETE", url)
        except NetworkError as error:
            try:
                self.http.send("DELETE", url)
            except ServerError as second:
                if not (error.may_have_arrived and second.status == 404):  # 404: the first request did it
                    raise
        except ServerError as error:
            if error.status not in (405, 501):
                raise
            self._set(url, "ACTION", "DELETE")

    def _set(self, url: str, name: str, value: str) -> None:
        self._post(url, [(name, value)], (), {})

    def _set_again(self, url: str, name: str, value: str) -> None:
        """Setting a value twice does no harm."""
        try:
            self._set(url, name, value)
        except NetworkError:
            self._set(url, name, value)

    # --- waiting ----------------------------------------------------------------------------------------------

    def wait(
        self,
        url: str,
        *,
        timeout: float | None = None,
        interval: int = WAIT_SECONDS,
        on_change: Callable[[JobDocument], None] | None = None,
    ) -> JobDocument:
        """Wait until the job has ended; return it.

        Also when it is in a phase that only somebody's RUN can end.

        ``interval`` is the length of one WAIT in seconds, and so the time between two looks at the progress.
        ``on_change`` is called with each document. A server that does not block (1.0, or WAIT ignored) is asked at
        growing intervals. A server that fails for a while is asked again, for at most `PATIENCE_SECONDS` seconds.

        Raises
        ------
        WaitTimeout
            ``timeout`` seconds are over.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        job = self.job(url)
        pause = FIRST_PAUSE_SECONDS
        failing: float | None = None
        while True:
            if on_change is not None:
                on_change(job)
            if job.phase in STOPPED:
                return job
            seconds_left = None if deadline is None else deadline - time.monotonic()
            if timeout is not None and seconds_left is not None and seconds_left <= 0:
                raise WaitTimeout(job, timeout)
            start = time.monotonic()
            try:
                document = self._look(
                    url, job, interval if seconds_left is None else min(interval, max(1, int(seconds_left)))
                )
                failing = None
            except (NetworkError, ServerError) as error:
                failing = failing or start
                if not _passing(error) or time.monotonic() - failing > PATIENCE_SECONDS:
                    raise
                document = job
            blocked = time.monotonic() - start >= min(1.0, interval / 2)
            pause = FIRST_PAUSE_SECONDS if document.phase != job.phase else pause
            if document.phase == job.phase and (failing is not None or not blocked):
                time.sleep(pause if seconds_left is None else max(0.0, min(pause, seconds_left)))
                pause = min(pause * PAUSE_GROWTH, MAX_PAUSE_SECONDS)
            job = document

    def _look(self, url: str, job: JobDocument, seconds: int) -> JobDocument:
        if job.version != "1.0" and job.phase in BLOCKING:
            return self.job(url, wait=seconds, phase=job.phase)
        return self.job(url)


def _passing(error: NetworkError | ServerError) -> bool:
    """Return whether the same question may be answered soon.

    A restart, a proxy's timeout, too many requests.
    """
    return isinstance(error, NetworkError) or error.status in (408, 425, 429, 502, 503, 504)


def _with_query(url: str, query: Pairs) -> str:
    if not query:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(part for part in (parts.query, urlencode(query)) if part)))


def _filtered(jobs: Iterable[JobEntry], phases: Sequence[str], after: int | None, last: int | None) -> list[JobEntry]:
    """Return the filters of UWS 1.1 as far as a 1.0 list can be filtered: without creation times only by phase."""
    matches = [job for job in jobs if not phases or job.phase in phases]
    if after is not None:
        matches = [job for job in matches if job.created is None or job.created > after]
    if last is not None and all(job.created is not None for job in matches):
        matches = sorted(matches, key=lambda job: job.created or 0, reverse=True)[:last]
    return matches


def job_url_of(answer: Answer) -> str:
    """Return the URL of the job that was made.

    The Location, or what the document in the answer says.
    """
    if answer.location is not None and (answer.status in (201, 202) or 300 <= answer.status < 400):
        return answer.location
    if answer.status < 300:
        with contextlib.suppress(BadDocument):
            job = parse_job(answer.body, answer.url, answer.media_type)
            return f"{answer.url.partition('?')[0].rstrip('/')}/{job.id}"
    kind = answer.media_type.partition(";")[0] or "no document"
    raise BadDocument(
        f"{answer.url} answers {answer.status} with {kind} where a redirect to the new job was expected; "
        "is it the URL of a job list?"
    )

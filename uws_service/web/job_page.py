"""The page of a job (U-005): pure functions from values to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from uws_service.applications import Application
from uws_service.domain.attempt import Attempt, AttemptState
from uws_service.domain.events import EventKind
from uws_service.domain.job import FINAL, PHASE_MEANING, Action, Job, Phase, Result, allowed_actions
from uws_service.protocol.file_names import with_ending
from uws_service.protocol.uws import JobInfoView, JobUrls, is_reference, numbered, xml_text
from uws_service.web.faults import OWNERS, verdict
from uws_service.web.pages import Account, render, root_of
from uws_service.web.shown import duration_text

ACTIVE = frozenset({Phase.QUEUED, Phase.EXECUTING, Phase.SUSPENDED, Phase.UNKNOWN})
"""Phases that change without the user's doing: their pages refresh themselves."""
REFRESH_SECONDS = 3
"""Between two refreshes of an active job's page in a browser without script."""
LONGEST_VALUE = 10_000
"""Characters of a parameter's value that a job's page shows; it has a link to the rest."""
SHORT_ID = 8
"""Characters of a job's id that tell it from its neighbours: the last ones, since the first are the time."""
INTERNAL_RESULTS = frozenset({"preview"})
"""Results that pages read, not people."""

PHASE_WORDS: Mapping[Phase, str] = {
    Phase.PENDING: "Not started",
    Phase.QUEUED: "Waiting",
    Phase.EXECUTING: "Running",
    Phase.COMPLETED: "Done",
    Phase.ERROR: "Failed",
    Phase.ABORTED: "Aborted",
    Phase.UNKNOWN: "Its site does not answer",
    Phase.HELD: "Held",
    Phase.SUSPENDED: "Paused",
    Phase.ARCHIVED: "Archived",
}
EXPLAINED = frozenset({Phase.PENDING, Phase.HELD, Phase.UNKNOWN, Phase.ARCHIVED})
"""Phases that take a sentence."""
EVENT_WORDS: Mapping[str, str] = {
    EventKind.CREATED: "Created",
    EventKind.PARAMETERS: "Parameters changed",
    EventKind.DURATION: "Time limit changed",
    EventKind.DESTRUCTION: "Kept until another time",
    EventKind.SITE: "Moved to another site",
    EventKind.DATA: "Its data sets were looked up",
    EventKind.REPORT: "The site reported the end",
    EventKind.RESULTS: "Results of what was done until then were stored",
    EventKind.SHARED: "Shared",
    EventKind.UNSHARED: "No longer shared",
}


class LogTail(NamedTuple):
    """The end of a log.

    ``size`` in bytes; None while it is written.
    """

    name: str
    url: str
    text: str
    size: int | None
    is_cut: bool


class Step(NamedTuple):
    """A station in a job's life.

    ``state`` is ``past``, ``now``, ``next`` or ``failed``; ``at`` is in milliseconds.
    """

    title: str
    state: str
    at: int | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class JobView:
    """What the page of a job shows beside the job itself."""

    application: Application
    attempts: Sequence[Attempt] = ()
    events: Sequence[tuple[int, str, str]] = ()
    """Instant, kind and phase of the history, first to last."""
    logs: Sequence[LogTail] = ()
    section: str = ""
    """The part of its face."""
    origin: str = ""
    """Where its results came from."""
    may_change: bool = True
    """Whether its reader may change it; those whom it is shared with may not."""
    may_share: bool = False


def timeline(job: Job, info: JobInfoView, now: int) -> list[Step]:
    """Return created, queued, running, done, as far as a job has come."""
    ended = job.phase in FINAL
    steps = [Step("Created", "now" if job.phase in (Phase.PENDING, Phase.HELD) else "past", job.created)]
    if job.queued is not None or not ended:
        waits = job.phase is Phase.QUEUED
        place = f"{info.ahead} ahead" if info.ahead else ""
        words = "; ".join(filter(None, (info.waiting, place))) if waits else ""
        steps.append(Step("Queued", _state(waits, job.queued), job.queued, words))
    if job.started is not None or not ended:
        runs = job.phase in ACTIVE - {Phase.QUEUED}
        steps.append(Step("Running", _state(runs, job.started), job.started, _run_words(job, info, now)))
    if not ended:
        return [*steps, Step("Done", "next")]
    judged = verdict(job)
    state = "failed" if judged is not None and judged.is_failure and job.phase is not Phase.COMPLETED else "past"
    title = PHASE_WORDS[job.phase] if job.phase is not Phase.ARCHIVED else "Done, results deleted"
    return [*steps, Step(title, state, job.ended)]


def _state(is_present: bool, at: int | None) -> str:
    return "now" if is_present else "past" if at is not None else "next"


def _run_words(job: Job, info: JobInfoView, now: int) -> str:
    if job.started is None:
        return ""
    if job.ended is not None:
        return f"for {duration_text(max(0, job.ended - job.started) / 1000)}"
    if job.phase is Phase.QUEUED:
        return ""
    words = [f"for {duration_text(max(0, now - job.started) / 1000)}"]
    if info.waiting:
        words.append(info.waiting)
    return "; ".join(words)


def phase_words(job: Job, info: JobInfoView) -> str:
    """Return where a job stands, in a line that a screen reader speaks when it changes."""
    words = PHASE_WORDS[job.phase]
    if job.phase is Phase.QUEUED and info.waiting:
        return f"{words}: {info.waiting}" + (f" ({info.ahead} ahead)" if info.ahead is not None else "")
    if job.phase in (Phase.EXECUTING, Phase.SUSPENDED):
        return f"{words}{f': {info.waiting}' if info.waiting else ''}"
    return PHASE_MEANING[job.phase] if job.phase in EXPLAINED else words


def python_line(result: Result, url: str) -> str:
    """Return a line of Python that reads a result."""
    kind = result.media_type.partition(";")[0].strip().lower()
    text = repr(xml_text(url))
    formats = {
        "application/x-votable+xml": "votable",
        "text/csv": "ascii.csv",
        "text/tab-separated-values": "ascii.tab",
        "application/vnd.apache.parquet": "parquet",
    }
    if kind in formats:
        return f"from astropy.table import Table; table = Table.read({text}, format={formats[kind]!r})"
    if kind in ("application/fits", "image/fits"):
        return f"from astropy.io import fits; hdus = fits.open({text})"
    return f"from urllib.request import urlopen; content = urlopen({text}).read()"


def job_page(job: Job, view: JobView, urls: JobUrls, now: int, account: Account | None = None) -> str:
    """Return the page of a job.

    ``now`` is in milliseconds since the epoch.
    """
    info = JobInfoView.of(job, urls)
    actions = allowed_actions(job.phase)
    judged = verdict(job) if job.phase is not Phase.COMPLETED else None
    is_ending = any(attempt.state is not AttemptState.CLOSED for attempt in view.attempts)
    return render(
        "job.html",
        root_of(urls),
        account,
        f"/{view.application.name}/async/{job.id}",
        job=job,
        application=view.application,
        url=urls.job(job.id),
        urls=urls,
        view=view,
        attempts=sorted(view.attempts, key=lambda attempt: attempt.number),
        history=[(at, _event_words(kind, phase)) for at, kind, phase in view.events],
        info=info,
        name=job.run_id or "",
        short=job.id[-SHORT_ID:],
        words=phase_words(job, info),
        steps=timeline(job, info, now),
        verdict=judged,
        can_fix=judged is not None and judged.fault in OWNERS,
        results=[_result(result, job, urls) for result in job.results if result.id not in INTERNAL_RESULTS],
        longest=LONGEST_VALUE,
        refresh=REFRESH_SECONDS if job.phase in ACTIVE or is_ending else None,
        is_final=job.phase in FINAL,
        can_run=Action.RUN in actions,
        can_abort=Action.ABORT in actions,
        left=max(0, job.destruction - now) / 1000 if job.destruction is not None else None,
        **_parameters(job, view.application, info, urls),
    )


def _event_words(kind: str, phase: str) -> str:
    if kind == EventKind.PHASE and phase in [*Phase]:
        return PHASE_WORDS[Phase(phase)]
    return EVENT_WORDS.get(kind, kind.capitalize())


def _result(result: Result, job: Job, urls: JobUrls) -> dict[str, Any]:
    url = urls.result(job.id, result.id)
    name = with_ending(xml_text(result.id), result.media_type)
    return {"file": result, "url": url, "name": name, "python": python_line(result, url)}


def _parameters(job: Job, application: Application, info: JobInfoView, urls: JobUrls) -> dict[str, Any]:
    """Return the parameters as they were given, and those that were not."""
    parameters = [
        (
            parameter,
            number,
            application.parameter(parameter.name),
            urls.parameter(job.id, parameter.name, number) if is_reference(parameter) else None,
        )
        for parameter, number in numbered(job.parameters)
        if parameter.value or parameter.size  # a form sends what its user left empty too
    ]
    sent_names = {parameter.name.upper() for parameter, *_ in parameters}
    defaults = [
        (name, value, application.parameter(name), "limit" if name.upper() in sent_names else "default")
        for name, value in info.defaults
    ]
    return {"parameters": parameters, "defaults": defaults, "empty": len(job.parameters) - len(parameters)}

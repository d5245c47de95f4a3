"""What to do next about one attempt: pure. An attempt, its job, what the site shows of it, the time → one step.

Every step can be repeated, so a service that is killed between any two lines goes on where it stood.
"""

from __future__ import annotations

from dataclasses import dataclass

from uws_service.domain.attempt import RETRYABLE, Attempt, AttemptState, Observation, Reason, Seen
from uws_service.domain.job import FINAL, Job, Phase

BACKOFF_MS = 2_000
"""Wait before the second attempt; doubled for each further one."""
REPORT_MS = 15_000
"""How long the report of an agent that has ended may be on its way."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand the attempt to the site (again, if that may have been lost)."""


@dataclass(frozen=True, slots=True)
class Execute:
    """The command runs since ``started``."""

    started: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What the command says of itself has changed."""

    fraction: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Wait:
    """It does not run yet, or no longer for now; ``why`` is new. ``place``: how many are before it at the site."""

    why: str
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Suspend:
    """The site has put it back, and will start it again by itself."""

    why: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """It was not known how it is, and now it is seen that it waits for its start."""


@dataclass(frozen=True, slots=True)
class Lose:
    """Its site has not answered for some time: nobody can say how it is."""

    why: str


@dataclass(frozen=True, slots=True)
class Stop:
    """executionDuration is exceeded: the job is ABORTED, the attempt no longer wanted (U-137)."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Nothing of this attempt shall run any more."""


@dataclass(frozen=True, slots=True)
class Complete:
    """It ended well: collect, record, COMPLETED."""


@dataclass(frozen=True, slots=True)
class Fail:
    """It failed for good: keep its logs, record why, ERROR."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Retry:
    """It was lost by no fault of the job: another attempt, not before ``not_before``."""

    reason: Reason
    message: str
    not_before: int


@dataclass(frozen=True, slots=True)
class Salvage:
    """It was stopped and has ended: keep results and logs that were complete, then forget it (U-107)."""


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing of it is at the site, and nobody waits for its outcome."""


Step = (
    Submit
    | Execute
    | Progress
    | Wait
    | Suspend
    | Requeue
    | Lose
    | Stop
    | Kill
    | Complete
    | Fail
    | Retry
    | Salvage
    | Close
)


def decide(job: Job | None, attempt: Attempt, seen: Observation | None, now: int, *, attempts: int) -> Step | None:
    """What to do next about one attempt; None: nothing, look again later.

    ``attempts`` is how many attempts the application allows. The job is None when it was deleted.
    """
    if job is None or not attempt.wanted or job.phase in FINAL:
        return _unwanted(job, attempt, seen)
    if seen is None:
        if attempt.state is AttemptState.RUNNING or attempt.claimed:
            return _failed(attempt, Reason.AGENT_LOST, "Nothing is left of the attempt at its site.", now, attempts)
        return Submit()
    if seen.seen is Seen.SUCCEEDED:
        return _succeeded(attempt, seen, now, attempts)
    if seen.seen is Seen.FAILED:
        return _ended_badly(attempt, seen, now, attempts)
    if seen.seen is Seen.STARTING:
        return _starting(job, attempt, seen, now, attempts)
    if seen.seen is Seen.SUSPENDED:
        if job.phase in (Phase.EXECUTING, Phase.UNKNOWN):
            return Suspend(seen.waiting)
        return _waiting(job, seen)
    if attempt.report is not None and attempt.report.reason is Reason.OUTPUT_TOO_LARGE:
        return Fail(attempt.report.reason, attempt.report.message)
    started = seen.started or now
    anew = seen.started is not None and seen.started != attempt.started
    if job.phase is not Phase.EXECUTING or attempt.state is not AttemptState.RUNNING or anew:
        return Execute(started)
    if job.duration and now >= (job.started or started) + job.duration * 1000:
        return Stop()
    known = job.info.progress, job.info.message
    if (seen.progress, seen.progress_text) != known and (seen.progress is not None or seen.progress_text):
        return Progress(seen.progress, seen.progress_text)
    return None


def decide_unreachable(
    job: Job | None, attempt: Attempt, since: int, now: int, *, attempts: int, unknown_ms: int, lost_ms: int
) -> Step | None:
    """What to do about an attempt at a site that has not answered since ``since``.

    What runs there can't be stopped, so a second attempt starts only after ``lost_ms``, and what the first one still
    hands over is refused from then on.
    """
    if job is None or not attempt.wanted or job.phase in FINAL:
        return None  # the site must be told, once it answers
    down = now - since
    if down >= lost_ms:
        message = f"Its site {attempt.site} could not be reached for {lost_ms // 1000} s."
        step = _failed(attempt, Reason.SITE_LOST, message, now, attempts)
        return Retry(step.reason, step.message, now) if isinstance(step, Retry) else step
    if down >= unknown_ms and job.phase is not Phase.UNKNOWN:
        return Lose(f"the site {attempt.site} can't be reached at the moment")
    return None


def _succeeded(attempt: Attempt, seen: Observation, now: int, attempts: int) -> Step | None:
    """The command ended with 0; whether its results are there too."""
    if not seen.reports:
        return Complete()
    report = attempt.report
    if report is None:
        if seen.gone and now >= (seen.ended or now) + REPORT_MS:
            return _failed(attempt, Reason.AGENT_LOST, "The results were not handed over.", now, attempts)
        return None
    return Complete() if report.reason is None else Fail(report.reason, report.message)


def _ended_badly(attempt: Attempt, seen: Observation, now: int, attempts: int) -> Step:
    reason = seen.reason or Reason.AGENT_LOST
    if reason is Reason.DEADLINE:
        return Stop()
    if reason is Reason.ABORTED:  # nobody asked for it here: somebody stopped it at the site
        reason = Reason.AGENT_LOST
    if attempt.report is not None and attempt.report.reason is Reason.STAGE_IN:
        return Fail(Reason.STAGE_IN, attempt.report.message)
    return _failed(attempt, reason, seen.message, now, attempts)


def _starting(job: Job, attempt: Attempt, seen: Observation, now: int, attempts: int) -> Step | None:
    """Not yet running: its agent may have found that it never can."""
    if attempt.report is not None and attempt.report.reason is Reason.STAGE_IN:  # others are of a pod that was put back
        return Fail(Reason.STAGE_IN, attempt.report.message)
    if job.phase is Phase.UNKNOWN:
        return Requeue()
    if job.phase is Phase.EXECUTING and seen.waiting:  # its pod was replaced, and the new one has not begun
        return Suspend(seen.waiting)
    return _waiting(job, seen)


def _waiting(job: Job, seen: Observation) -> Step | None:
    if seen.waiting and (job.info.waiting, job.info.place) != (seen.waiting, seen.place):
        return Wait(seen.waiting, seen.place)
    return None


def _unwanted(job: Job | None, attempt: Attempt, seen: Observation | None) -> Step:
    """An attempt that was aborted, or whose job is gone or has its outcome already."""
    aborted = job is not None and job.phase is Phase.ABORTED
    if seen is None:
        return Salvage() if aborted and attempt.claimed else Close()
    if seen.seen in (Seen.STARTING, Seen.RUNNING, Seen.SUSPENDED) or (seen.reports and not seen.gone):
        return Kill()
    return Salvage() if aborted else Close()


def _failed(attempt: Attempt, reason: Reason, message: str, now: int, attempts: int) -> Retry | Fail:
    """Try again what the infrastructure broke, up to the limit; never what the user's command did itself."""
    if reason in RETRYABLE and attempt.number < attempts:
        return Retry(reason, message, now + BACKOFF_MS * 2 ** (attempt.number - 1))
    return Fail(reason, message)

"""The next step of an attempt, decided from its job, its observation and the time.

Every step can be repeated, so a service that is killed at any point goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from uws_service.domain.attempt import RETRYABLE, Attempt, AttemptState, Observation, Reason, Seen
from uws_service.domain.job import FINAL, Job, Phase

BACKOFF_MS = 2_000
"""Wait before the second attempt; doubled for each further one."""
REPORT_MS = 15_000
"""How long to wait for the report of an agent that has ended."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand the attempt to the site."""


@dataclass(frozen=True, slots=True)
class Execute:
    """The command runs since ``started``."""

    started: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The command reports progress."""

    fraction: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Wait:
    """It waits, for a new reason.

    ``place`` is its place in the site's queue.
    """

    message: str
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Suspend:
    """The site has suspended it, and will resume it by itself."""

    message: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """Its state is known again: it waits."""


@dataclass(frozen=True, slots=True)
class Lose:
    """Its site has not answered for some time."""

    message: str


@dataclass(frozen=True, slots=True)
class Stop:
    """executionDuration is exceeded: abort the job (U-137)."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Nothing of this attempt shall run any more."""


@dataclass(frozen=True, slots=True)
class Complete:
    """It ended well: collect, record, COMPLETED."""


@dataclass(frozen=True, slots=True)
class Fail:
    """It failed for good: keep its logs; ERROR."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The infrastructure lost it: start another attempt later."""

    reason: Reason
    message: str
    not_before: int


@dataclass(frozen=True, slots=True)
class Salvage:
    """It was stopped: keep complete results (U-107)."""


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing of it is left, and nobody waits for its outcome."""


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


def decide(
    job: Job | None, attempt: Attempt, observation: Observation | None, now: int, *, attempts: int
) -> Step | None:
    """Return the next step of an attempt.

    None: none for now.

    ``attempts`` is how many attempts the application allows. The job is None when it was deleted.
    """
    if job is None or not attempt.wanted or job.phase in FINAL:
        return _unwanted(job, attempt, observation)
    if observation is None:
        if now < attempt.alive_until:
            return None  # the site has forgotten it, but its agent is alive, and will report
        if attempt.state is AttemptState.RUNNING or attempt.claimed:
            return _failed(attempt, Reason.AGENT_LOST, "Nothing is left of the attempt at its site.", now, attempts)
        return Submit()
    if observation.seen is Seen.SUCCEEDED:
        return _succeeded(attempt, observation, now, attempts)
    if observation.seen is Seen.FAILED:
        return _ended_badly(attempt, observation, now, attempts)
    if observation.seen is Seen.STARTING:
        return _starting(job, attempt, observation, now, attempts)
    if observation.seen is Seen.SUSPENDED:
        if job.phase in (Phase.EXECUTING, Phase.UNKNOWN):
            return Suspend(observation.waiting)
        return _waiting(job, observation)
    if attempt.report is not None and attempt.report.reason is Reason.OUTPUT_TOO_LARGE:
        return Fail(attempt.report.reason, attempt.report.message)
    started = observation.started or now
    restarted = observation.started is not None and observation.started != attempt.started
    if job.phase is not Phase.EXECUTING or attempt.state is not AttemptState.RUNNING or restarted:
        return Execute(started)
    if job.duration and now >= (job.started or started) + job.duration * 1000:
        return Stop()
    fraction, text = observation.progress, observation.progress_text
    if (fraction, text) != (job.info.progress, job.info.message) and (fraction is not None or text):
        return Progress(fraction, text)
    return None


def decide_unreachable(
    job: Job | None, attempt: Attempt, since: int, now: int, *, attempts: int, unknown_ms: int, lost_ms: int
) -> Step | None:
    """Return the next step of an attempt whose site has not answered since ``since``.

    What runs there can't be stopped, so a second attempt starts only after ``lost_ms``, and what the first one still
    hands over is refused from then on.
    """
    if job is None or not attempt.wanted or job.phase in FINAL:
        return None  # the site is to end it, once it answers
    down = now - since
    if down >= lost_ms:
        message = f"Its site {attempt.site} could not be reached for {lost_ms // 1000} s."
        step = _failed(attempt, Reason.SITE_LOST, message, now, attempts)
        return Retry(step.reason, step.message, now) if isinstance(step, Retry) else step
    if down >= unknown_ms and job.phase is not Phase.UNKNOWN:
        return Lose(f"the site {attempt.site} can't be reached at the moment")
    return None


def _succeeded(attempt: Attempt, observation: Observation, now: int, attempts: int) -> Step | None:
    """Decide about a command that ended with 0."""
    if not observation.reports:
        return Complete()
    report = attempt.report
    if report is None:
        if now < attempt.alive_until:
            return None  # this was a second start of the job, which was refused: the first one's agent is alive
        if observation.gone and now >= (observation.ended or now) + REPORT_MS:
            return _failed(attempt, Reason.AGENT_LOST, "The results were not handed over.", now, attempts)
        return None
    return Complete() if report.reason is None else Fail(report.reason, report.message)


def _ended_badly(attempt: Attempt, observation: Observation, now: int, attempts: int) -> Step | None:
    reason = observation.reason or Reason.AGENT_LOST
    if reason is Reason.DEADLINE:
        return Stop()
    if reason is Reason.ABORTED:  # nobody asked for it here: somebody stopped it at the site
        reason = Reason.AGENT_LOST
    if attempt.report is not None and attempt.report.reason is Reason.STAGE_IN:
        return Fail(Reason.STAGE_IN, attempt.report.message)
    if reason in RETRYABLE and attempt.report is None and now < attempt.alive_until:
        return None  # the site has given it up, but its agent was heard: nothing may run beside it
    return _failed(attempt, reason, observation.message, now, attempts)


def _starting(job: Job, attempt: Attempt, observation: Observation, now: int, attempts: int) -> Step | None:
    """Decide about an attempt before it runs.

    Its agent may have reported that it never can.
    """
    if attempt.report is not None and attempt.report.reason is Reason.STAGE_IN:  # others are of a pod that was put back
        return Fail(Reason.STAGE_IN, attempt.report.message)
    if job.phase is Phase.UNKNOWN:
        return Requeue()
    if now < attempt.alive_until:
        return None  # the site is to show soon that it runs, or means to run it twice, which its agent refuses
    if job.phase is Phase.EXECUTING and observation.waiting:  # its pod was replaced, and the new one has not begun
        return Suspend(observation.waiting)
    return _waiting(job, observation)


def _waiting(job: Job, observation: Observation) -> Step | None:
    if observation.waiting and (job.info.waiting, job.info.place) != (observation.waiting, observation.place):
        return Wait(observation.waiting, observation.place)
    return None


def _unwanted(job: Job | None, attempt: Attempt, observation: Observation | None) -> Step:
    """Decide about an attempt whose outcome nobody waits for."""
    aborted = job is not None and job.phase is Phase.ABORTED
    if observation is None:
        return Salvage() if aborted and attempt.claimed else Close()
    live = observation.seen in (Seen.STARTING, Seen.RUNNING, Seen.SUSPENDED)
    if live or (observation.reports and not observation.gone):
        return Kill()
    return Salvage() if aborted else Close()


def _failed(attempt: Attempt, reason: Reason, message: str, now: int, attempts: int) -> Retry | Fail:
    """Retry what the infrastructure broke, never a fault of the user's command."""
    if reason in RETRYABLE and attempt.number < attempts:
        return Retry(reason, message, now + BACKOFF_MS * 2 ** (attempt.number - 1))
    return Fail(reason, message)

"""The controller's decision, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from uws_service.domain.attempt import Attempt, AttemptState, Observation, Reason, Report, Seen
from uws_service.domain.decisions import (
    BACKOFF_MS,
    Close,
    Complete,
    Execute,
    Fail,
    Kill,
    Lose,
    Progress,
    Requeue,
    Retry,
    Salvage,
    Stop,
    Submit,
    Suspend,
    Wait,
    decide,
    decide_unreachable,
)
from uws_service.domain.job import Job, Phase
from uws_service.domain.jobinfo import JobInfo

NOW = 100_000
JOB = Job(
    id="j", application="sleep", owner=None, phase=Phase.EXECUTING, created=1, duration=0, destruction=None, started=50
)
QUEUED = replace(JOB, phase=Phase.QUEUED, started=None)
SUBMITTED = Attempt("j", 1, "local", "sleep", "", state=AttemptState.SUBMITTED)
RUNNING = replace(SUBMITTED, state=AttemptState.RUNNING, started=50)


def seen(state: Seen, **fields: object) -> Observation:
    return Observation("j", 1, state, **fields)  # type: ignore[arg-type]


def test_lost_hand_over_is_repeated() -> None:
    """The service was killed while it submitted."""
    assert decide(QUEUED, SUBMITTED, None, NOW, attempts=3) == Submit()


def test_vanished_while_running_is_a_lost_attempt() -> None:
    """An attempt that ran is never submitted again."""
    step = decide(JOB, RUNNING, None, NOW, attempts=3)
    assert isinstance(step, Retry) and step.reason is Reason.AGENT_LOST and step.not_before == NOW + BACKOFF_MS
    assert isinstance(decide(JOB, replace(RUNNING, number=3), None, NOW, attempts=3), Fail)


def test_start_and_progress() -> None:
    """The site's start counts (U-106); progress is saved when it changes."""
    assert decide(QUEUED, SUBMITTED, seen(Seen.STARTING), NOW, attempts=3) is None
    assert decide(QUEUED, SUBMITTED, seen(Seen.RUNNING, started=77), NOW, attempts=3) == Execute(77)
    assert decide(JOB, RUNNING, seen(Seen.RUNNING, started=50), NOW, attempts=3) is None
    half = seen(Seen.RUNNING, started=50, progress=0.5, progress_text="half")
    assert decide(JOB, RUNNING, half, NOW, attempts=3) == Progress(0.5, "half")
    reported = replace(JOB, info=JobInfo(progress=0.5, message="half"))
    assert decide(reported, RUNNING, half, NOW, attempts=3) is None


def test_duration_is_counted_from_the_start() -> None:
    """The executionDuration stops a job (U-137); 0 is no limit (U-136)."""
    limited = replace(JOB, duration=10, started=NOW - 9_999)
    assert decide(limited, RUNNING, seen(Seen.RUNNING, started=50), NOW, attempts=3) is None
    assert decide(replace(limited, started=NOW - 10_000), RUNNING, seen(Seen.RUNNING), NOW, attempts=3) == Stop()
    assert decide(replace(JOB, started=50), RUNNING, seen(Seen.RUNNING), NOW, attempts=3) is None
    late = seen(Seen.FAILED, reason=Reason.DEADLINE)
    assert decide(limited, RUNNING, late, NOW, attempts=3) == Stop()


@pytest.mark.parametrize("reason", [Reason.EXIT_CODE, Reason.OUT_OF_MEMORY, Reason.COMMAND, Reason.STAGE_IN])
def test_own_failures_are_never_retried(reason: Reason) -> None:
    assert decide(JOB, RUNNING, seen(Seen.FAILED, reason=reason, message="m"), NOW, attempts=9) == Fail(reason, "m")


def test_stopped_by_a_stranger_is_retried() -> None:
    """A signal that the service did not send is retried."""
    step = decide(JOB, RUNNING, seen(Seen.FAILED, reason=Reason.ABORTED), NOW, attempts=2)
    assert isinstance(step, Retry) and step.reason is Reason.AGENT_LOST


def test_success() -> None:
    assert decide(QUEUED, SUBMITTED, seen(Seen.SUCCEEDED), NOW, attempts=3) == Complete()


@pytest.mark.parametrize("job", [None, replace(JOB, phase=Phase.ABORTED), JOB])
def test_unwanted_attempts_end(job: Job | None) -> None:
    """An unwanted attempt is killed and closed (U-107, U-132).

    What is complete is kept for aborted jobs.
    """
    unwanted = replace(RUNNING, wanted=False)
    assert decide(job, unwanted, seen(Seen.STARTING), NOW, attempts=3) == Kill()
    assert decide(job, unwanted, seen(Seen.RUNNING), NOW, attempts=3) == Kill()
    assert decide(job, unwanted, None, NOW, attempts=3) == Close()
    salvages = job is not None and job.phase is Phase.ABORTED
    assert decide(job, unwanted, seen(Seen.FAILED), NOW, attempts=3) == (Salvage() if salvages else Close())


def test_a_late_outcome_changes_nothing() -> None:
    """U-103: the job has its outcome already."""
    ended = replace(JOB, phase=Phase.COMPLETED)
    assert decide(ended, RUNNING, seen(Seen.SUCCEEDED), NOW, attempts=3) == Close()


# --- sites that are elsewhere ---------------------------------------------------------------------------------------

CLAIMED = replace(SUBMITTED, claimed="pod")


def test_what_an_agent_has_claimed_is_never_made_again() -> None:
    """A claimed attempt without a Job is lost.

    Its command may have run, so it is another attempt or none.
    """
    assert isinstance(decide(QUEUED, CLAIMED, None, NOW, attempts=3), Retry)
    assert isinstance(decide(QUEUED, replace(CLAIMED, number=3), None, NOW, attempts=3), Fail)


def test_results_that_come_apart_are_waited_for() -> None:
    """A job completes with exit code 0 and a report.

    Without a report it is lost once the agent has ended.
    """
    ended = seen(Seen.SUCCEEDED, ended=NOW - 20_000, reports=True)
    assert decide(JOB, RUNNING, ended, NOW, attempts=3) is None
    vanished = replace(ended, gone=True)
    assert isinstance(decide(JOB, RUNNING, vanished, NOW, attempts=3), Retry)
    assert decide(JOB, RUNNING, replace(vanished, ended=NOW - 1_000), NOW, attempts=3) is None
    assert decide(JOB, replace(RUNNING, report=Report()), ended, NOW, attempts=3) == Complete()
    bad = replace(RUNNING, report=Report(reason=Reason.STAGE_OUT, message="no result"))
    assert decide(JOB, bad, ended, NOW, attempts=3) == Fail(Reason.STAGE_OUT, "no result")


def test_a_failed_stage_in_ends_it_before_it_starts() -> None:
    report = replace(CLAIMED, report=Report(reason=Reason.STAGE_IN, message="404"))
    assert decide(QUEUED, report, seen(Seen.STARTING), NOW, attempts=3) == Fail(Reason.STAGE_IN, "404")
    # What a pod that was put back could not hand over is no reason against the next one.
    reporting = replace(CLAIMED, report=Report(reason=Reason.STAGE_OUT, message="half"))
    assert decide(QUEUED, reporting, seen(Seen.STARTING), NOW, attempts=3) is None


def test_too_much_output_ends_a_running_attempt() -> None:
    """The agent's report counts before the site's word."""
    report = replace(RUNNING, report=Report(reason=Reason.OUTPUT_TOO_LARGE, message="larger"))
    assert decide(JOB, report, seen(Seen.RUNNING), NOW, attempts=3) == Fail(Reason.OUTPUT_TOO_LARGE, "larger")


def test_put_back_and_started_again() -> None:
    """A suspended attempt starts again (U-110).

    The new start counts.
    """
    put_back = seen(Seen.SUSPENDED, waiting="put back")
    assert decide(JOB, RUNNING, put_back, NOW, attempts=3) == Suspend("put back")
    suspended = replace(JOB, phase=Phase.SUSPENDED, info=JobInfo(waiting="put back"))
    assert decide(suspended, RUNNING, put_back, NOW, attempts=3) is None
    assert decide(suspended, RUNNING, replace(put_back, waiting="1 CPU", place=2), NOW, attempts=3) == Wait("1 CPU", 2)
    assert decide(suspended, RUNNING, seen(Seen.RUNNING, started=90), NOW, attempts=3) == Execute(90)
    assert decide(JOB, RUNNING, seen(Seen.STARTING, waiting="a new pod"), NOW, attempts=3) == Suspend("a new pod")


def test_a_site_that_is_silent() -> None:
    """A job at a silent site is UNKNOWN, then lost.

    A job that has ended is neither.
    """
    times = {"attempts": 3, "unknown_ms": 10_000, "lost_ms": 60_000}
    assert decide_unreachable(JOB, RUNNING, NOW - 9_999, NOW, **times) is None
    assert isinstance(decide_unreachable(JOB, RUNNING, NOW - 10_000, NOW, **times), Lose)
    unknown = replace(JOB, phase=Phase.UNKNOWN)
    assert decide_unreachable(unknown, RUNNING, NOW - 59_999, NOW, **times) is None
    step = decide_unreachable(unknown, RUNNING, NOW - 60_000, NOW, **times)
    assert isinstance(step, Retry) and step.reason is Reason.SITE_LOST and step.not_before == NOW
    last = decide_unreachable(unknown, replace(RUNNING, number=3), NOW - 60_000, NOW, **times)
    assert isinstance(last, Fail) and last.reason is Reason.SITE_LOST
    assert decide_unreachable(unknown, replace(RUNNING, wanted=False), 0, NOW, **times) is None
    assert decide_unreachable(None, RUNNING, 0, NOW, **times) is None


def test_known_again() -> None:
    """After an outage the observation decides."""
    unknown = replace(JOB, phase=Phase.UNKNOWN)
    assert decide(unknown, RUNNING, seen(Seen.RUNNING, started=50), NOW, attempts=3) == Execute(50)
    assert decide(unknown, SUBMITTED, seen(Seen.STARTING), NOW, attempts=3) == Requeue()
    assert decide(unknown, RUNNING, seen(Seen.SUSPENDED), NOW, attempts=3) == Suspend("")


def test_an_abort_waits_for_the_agent() -> None:
    """Results are collected once the agent has ended (U-107)."""
    aborted, unwanted = replace(JOB, phase=Phase.ABORTED), replace(RUNNING, wanted=False, claimed="pod")
    assert decide(aborted, unwanted, seen(Seen.RUNNING), NOW, attempts=3) == Kill()
    assert decide(aborted, unwanted, seen(Seen.FAILED, reports=True), NOW, attempts=3) == Kill()
    assert decide(aborted, unwanted, seen(Seen.FAILED, reports=True, gone=True), NOW, attempts=3) == Salvage()
    assert decide(aborted, unwanted, None, NOW, attempts=3) == Salvage()
    assert decide(None, unwanted, None, NOW, attempts=3) == Close()

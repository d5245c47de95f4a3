"""The controller's decision, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from uws_service.attempt import Attempt, AttemptState, Observation, Reason, Seen
from uws_service.deciding import (
    BACKOFF_MS,
    Close,
    Complete,
    Execute,
    Fail,
    Kill,
    Progress,
    Retry,
    Salvage,
    Stop,
    Submit,
    decide,
)
from uws_service.job import Job, Phase

NOW = 100_000
JOB = Job(
    id="j", application="sleep", owner=None, phase=Phase.EXECUTING, created=1, duration=0, destruction=None, started=50
)
QUEUED = replace(JOB, phase=Phase.QUEUED, started=None)
SUBMITTED = Attempt("j", 1, "local", "sleep", "", state=AttemptState.SUBMITTED)
RUNNING = replace(SUBMITTED, state=AttemptState.RUNNING, started=50)


def seen(what: Seen, **more: object) -> Observation:
    return Observation("j", 1, what, **more)  # type: ignore[arg-type]


def test_lost_hand_over_is_repeated() -> None:
    """Recorded as handed over, but nothing at the site: the service was killed in between."""
    assert decide(QUEUED, SUBMITTED, None, NOW, attempts=3) == Submit()


def test_vanished_while_running_is_a_lost_attempt() -> None:
    """It ran, and nothing is left: never started a second time as the same attempt."""
    step = decide(JOB, RUNNING, None, NOW, attempts=3)
    assert isinstance(step, Retry) and step.reason is Reason.AGENT_LOST and step.not_before == NOW + BACKOFF_MS
    assert isinstance(decide(JOB, replace(RUNNING, number=3), None, NOW, attempts=3), Fail)


def test_start_and_progress() -> None:
    """The start is the one that the site tells (U-106); progress is written when it changes."""
    assert decide(QUEUED, SUBMITTED, seen(Seen.STARTING), NOW, attempts=3) is None
    assert decide(QUEUED, SUBMITTED, seen(Seen.RUNNING, started=77), NOW, attempts=3) == Execute(77)
    assert decide(JOB, RUNNING, seen(Seen.RUNNING, started=50), NOW, attempts=3) is None
    half = seen(Seen.RUNNING, started=50, progress=0.5, progress_text="half")
    assert decide(JOB, RUNNING, half, NOW, attempts=3) == Progress(0.5, "half")
    told = replace(JOB, info={"progress": 0.5, "message": "half"})
    assert decide(told, RUNNING, half, NOW, attempts=3) is None


def test_duration_is_counted_from_the_start() -> None:
    """U-137: exceeded executionDuration stops the job; 0 is no limit (U-136)."""
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
    """Ended by a signal that the service did not send: the infrastructure's fault."""
    step = decide(JOB, RUNNING, seen(Seen.FAILED, reason=Reason.ABORTED), NOW, attempts=2)
    assert isinstance(step, Retry) and step.reason is Reason.AGENT_LOST


def test_success() -> None:
    assert decide(QUEUED, SUBMITTED, seen(Seen.SUCCEEDED), NOW, attempts=3) == Complete()


@pytest.mark.parametrize("job", [None, replace(JOB, phase=Phase.ABORTED), JOB])
def test_unwanted_attempts_end(job: Job | None) -> None:
    """U-107, U-132: killed while it runs; then what is complete is kept for aborted jobs, and all is closed."""
    unwanted = replace(RUNNING, wanted=False)
    assert decide(job, unwanted, seen(Seen.STARTING), NOW, attempts=3) == Kill()
    assert decide(job, unwanted, seen(Seen.RUNNING), NOW, attempts=3) == Kill()
    assert decide(job, unwanted, None, NOW, attempts=3) == Close()
    kept = job is not None and job.phase is Phase.ABORTED
    assert decide(job, unwanted, seen(Seen.FAILED), NOW, attempts=3) == (Salvage() if kept else Close())


def test_a_late_outcome_changes_nothing() -> None:
    """U-103: the job has its outcome already."""
    done = replace(JOB, phase=Phase.COMPLETED)
    assert decide(done, RUNNING, seen(Seen.SUCCEEDED), NOW, attempts=3) == Close()

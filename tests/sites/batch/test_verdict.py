"""Batch jobs read as observations.

Pure, case by case.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from uws_service.domain.attempt import Observation, Reason, Seen
from uws_service.sites.batch.driver import BatchJob, BatchState
from uws_service.sites.batch.verdict import by_attempt, has_begun, observe, room, wins

KEY = ("0192f0c1a2b37abc8def0123456789ab", 1)
OTHER = ("0192f0c1a2b37abc8def0123456789ac", 1)
T0 = 1_790_000_000_000
PATIENCE = 60


def job(state: BatchState, handle: str = "7.0", **fields: Any) -> BatchJob:
    return BatchJob(fields.pop("key", KEY), handle, state, **fields)


def look(batch_job: BatchJob, now: int = T0, stuck_since: int | None = None) -> Observation:
    observation = observe(batch_job, now, PATIENCE, stuck_since)
    assert (observation.job_id, observation.number) == batch_job.key and observation.reports
    assert observation.handle == batch_job.handle
    return observation


@pytest.mark.parametrize("state", [BatchState.HELD, BatchState.QUEUED, BatchState.STARTING])
def test_before_it_runs(state: BatchState) -> None:
    observation = look(job(state))
    assert observation.seen is Seen.STARTING and observation.waiting and not observation.gone


def test_why_it_waits() -> None:
    """The system's own reason is passed on, and its place in the queue."""
    observation = look(job(BatchState.QUEUED, waiting="no machine has 8 GPUs", place=3))
    assert (observation.waiting, observation.place) == ("no machine has 8 GPUs", 3)


def test_running_and_suspended() -> None:
    assert look(job(BatchState.RUNNING, started=T0)).started == T0
    assert look(job(BatchState.SUSPENDED, started=T0)).seen is Seen.SUSPENDED


def test_being_ended_counts_as_live() -> None:
    """An attempt that is asked to end has not ended: what it hands over meanwhile is waited for."""
    assert look(job(BatchState.ENDING, started=T0)).seen is Seen.RUNNING
    assert look(job(BatchState.ENDING)).seen is Seen.STARTING
    assert not look(job(BatchState.ENDING, started=T0)).gone


def test_stuck_is_patience_then_failure() -> None:
    held = job(BatchState.STUCK, message="by the operator")
    waits = look(held, T0 + PATIENCE * 1000 - 1, T0)
    assert waits.seen is Seen.STARTING and "by the operator" in waits.waiting
    ended = look(held, T0 + PATIENCE * 1000, T0)
    assert ended.seen is Seen.FAILED and ended.reason is Reason.UNSCHEDULABLE and ended.gone


@pytest.mark.parametrize(
    ("fields", "seen", "reason", "words"),
    [
        ({"exit_code": 0}, Seen.SUCCEEDED, None, ""),
        ({"exit_code": 1}, Seen.FAILED, Reason.AGENT_LOST, "code 1"),
        ({"signal": 9}, Seen.FAILED, Reason.AGENT_LOST, "signal 9"),
        ({}, Seen.FAILED, Reason.AGENT_LOST, "has ended"),
        ({"reason": Reason.NODE_LOST, "message": "the node"}, Seen.FAILED, Reason.NODE_LOST, "the node"),
        ({"reason": Reason.OUT_OF_MEMORY, "exit_code": 0}, Seen.FAILED, Reason.OUT_OF_MEMORY, "has ended"),
    ],
)
def test_ended(fields: dict[str, Any], seen: Seen, reason: Reason | None, words: str) -> None:
    observation = look(job(BatchState.ENDED, started=T0, ended=T0 + 5, **fields))
    assert (observation.seen, observation.reason, observation.gone) == (seen, reason, True)
    assert words in observation.message and observation.ended == T0 + 5


def test_which_job_of_an_attempt_counts() -> None:
    """What runs counts before what has ended, that before what waits, and a removed job that never ran comes last."""
    removed = job(BatchState.ENDED, "1.0", reason=Reason.DELETED)
    waits, held = job(BatchState.QUEUED, "3.0"), job(BatchState.HELD, "2.0")
    ended, runs = job(BatchState.ENDED, "5.0", starts=1), job(BatchState.RUNNING, "9.0", starts=1)
    other = job(BatchState.QUEUED, "4.0", key=OTHER)
    groups = by_attempt([removed, waits, held, ended, runs, other])
    assert [batch_job.handle for batch_job in groups[KEY]] == ["9.0", "5.0", "3.0", "2.0", "1.0"]
    assert groups[OTHER] == (other,)


def test_which_jobs_have_begun() -> None:
    assert has_begun(job(BatchState.QUEUED)) and has_begun(job(BatchState.ENDED, starts=1))
    assert not has_begun(job(BatchState.HELD)) and not has_begun(job(BatchState.ENDED))


def test_the_oldest_of_the_held_wins() -> None:
    """Both services that see two of them agree; ids are compared as numbers."""
    first, second = job(BatchState.HELD, "9.0"), job(BatchState.HELD, "10.0")
    assert wins("9.0", [second], first) and not wins("10.0", [first], second)
    assert not wins("10.0", [first], None)
    assert wins("10.0", [replace(first, state=BatchState.ENDED)], second)


def test_room_follows_what_has_a_place() -> None:
    """A bulk never stands whole in the queue: what has begun and a margin is all that is there."""
    waiting = [job(BatchState.QUEUED, f"{number}.0") for number in range(3)]
    running = [job(BatchState.RUNNING, f"{number}.0") for number in range(5)]
    assert room([], 1000, 10) == 10
    assert room(waiting, 1000, 10) == 10
    assert room([*waiting, *running], 1000, 10) == 15
    assert room([*waiting, *running], 12, 10) == 12

"""The life cycle as data: U-100…U-111."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.domain.errors import Forbidden
from uws_service.domain.job import (
    ACTION_MEANING,
    FINAL,
    PHASE_MEANING,
    TRANSITIONS,
    Action,
    ErrorSummary,
    Job,
    Phase,
    Result,
    allowed_actions,
    apply,
)

RESULT = Result("result", "jobs/x/results/result", "text/plain", 1, "00")


def job(phase: Phase, **fields: Any) -> Job:
    return Job(
        id="j", application="sleep", owner=None, phase=phase, created=1000, duration=0, destruction=None, **fields
    )


def test_ten_phases() -> None:
    """Ten phases (U-100); phases and actions are explained."""
    words = "PENDING QUEUED EXECUTING COMPLETED ERROR ABORTED UNKNOWN HELD SUSPENDED ARCHIVED".split()
    assert sorted(Phase) == sorted(words)
    assert set(PHASE_MEANING) == set(Phase)
    assert set(ACTION_MEANING) == set(Action)


@pytest.mark.parametrize(
    ("source", "action", "target"),
    [
        ("PENDING", "RUN", "QUEUED"),
        ("PENDING", "ABORT", "ABORTED"),
        ("PENDING", "REFUSE", "ERROR"),
        ("QUEUED", "EXECUTE", "EXECUTING"),
        ("QUEUED", "ABORT", "ABORTED"),
        ("QUEUED", "FAIL", "ERROR"),
        ("EXECUTING", "COMPLETE", "COMPLETED"),
        ("EXECUTING", "FAIL", "ERROR"),
        ("EXECUTING", "ABORT", "ABORTED"),
        ("EXECUTING", "HOLD", "HELD"),
        ("EXECUTING", "SUSPEND", "SUSPENDED"),
        ("SUSPENDED", "EXECUTE", "EXECUTING"),
        ("COMPLETED", "ARCHIVE", "ARCHIVED"),
        ("ERROR", "ARCHIVE", "ARCHIVED"),
        ("ABORTED", "ARCHIVE", "ARCHIVED"),
        ("HELD", "ABORT", "ABORTED"),
        ("SUSPENDED", "ABORT", "ABORTED"),
        ("SUSPENDED", "FAIL", "ERROR"),
        ("UNKNOWN", "EXECUTE", "EXECUTING"),
        ("QUEUED", "COMPLETE", "COMPLETED"),
    ],
)
def test_arrows_of_the_standard(source: str, action: str, target: str) -> None:
    """The standard's transitions (U-101, U-102, U-108, U-111)."""
    assert apply(job(Phase(source)), Action(action), 2000).phase == target


def test_held_needs_run() -> None:
    """Clients may RUN or ABORT a held job (U-101)."""
    assert {Action.RUN, Action.ABORT} <= set(allowed_actions(Phase.HELD))


@pytest.mark.parametrize(("phase", "action"), list(itertools.product(sorted(FINAL), Action)))
def test_final_phases_stay(phase: Phase, action: Action) -> None:
    """Ended jobs can be archived alone (U-103, U-002)."""
    if action is Action.ARCHIVE and phase is not Phase.ARCHIVED:
        assert apply(job(phase), action, 2000).phase is Phase.ARCHIVED
        return
    with pytest.raises(Forbidden, match="not possible"):
        apply(job(phase), action, 2000)


@given(st.sampled_from(sorted(Phase)), st.sampled_from(sorted(Action)), st.integers(0, 10_000))
def test_apply_agrees_with_the_table(phase: Phase, action: Action, now: int) -> None:
    """The table decides; times are in order (U-106)."""
    before = job(phase, started=1500 if phase in (Phase.EXECUTING, Phase.SUSPENDED) else None)
    target = TRANSITIONS.get((phase, action))
    if target is None:
        with pytest.raises(Forbidden):
            apply(before, action, now)
        return
    after = apply(before, action, now)
    assert after.phase is target
    if after.started is not None:
        assert after.started >= after.created
    if after.ended is not None:
        assert after.ended >= (after.started or after.created)
    if target in FINAL and target is not Phase.ARCHIVED:
        assert after.ended is not None


def test_times_are_those_observed() -> None:
    """Clocks that differ do not disorder times (U-106)."""
    completed = apply(job(Phase.QUEUED), Action.COMPLETE, 9000, started=3000, ended=4000, results=(RESULT,))
    assert (completed.started, completed.ended, completed.results) == (3000, 4000, (RESULT,))
    early = apply(job(Phase.QUEUED), Action.COMPLETE, 9000, started=10, ended=20)
    assert early.created <= (early.started or 0) <= (early.ended or 0)


def test_archive_drops_results() -> None:
    """An archived job has no results (U-100)."""
    archived = apply(job(Phase.ERROR, results=(RESULT,), error=ErrorSummary("no")), Action.ARCHIVE, 5000)
    assert archived.results == () and archived.error is not None


def test_requeue_keeps_the_place_in_the_queue() -> None:
    """A requeued job has not started."""
    requeued = apply(job(Phase.EXECUTING, queued=1200, started=1500), Action.REQUEUE, 9000)
    assert (requeued.queued, requeued.started, requeued.phase) == (1200, None, Phase.QUEUED)

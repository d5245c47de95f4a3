"""The model of the protocol of attempts holds in every state, and would show it if it did not."""

from __future__ import annotations

import pytest

from tests.model import attempts
from tests.model.explore import explore
from uws_service.domain.attempt import Attempt, Observation, Seen
from uws_service.domain.decisions import Complete, Step, decide
from uws_service.domain.job import Job


def test_every_state_is_sound() -> None:
    """One controller; ``python -m tests.model.explore 2`` visits those of two."""
    explored = explore(1)
    assert not explored.faults, {fault: explored.way_to(world) for fault, world in explored.faults.items()}
    assert not explored.endless, explored.way_to(explored.endless[0])
    assert len(explored.came_from) > 30_000
    assert {world.phase for world in explored.came_from} > {"EXECUTING", "UNKNOWN", "SUSPENDED", "COMPLETED", "ERROR"}


def test_a_decision_that_waits_for_no_report_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a good end alone made a job COMPLETED, it would have results that nobody has handed over."""

    def hasty(
        job: Job | None, attempt: Attempt, observation: Observation | None, now: int, **words: int
    ) -> Step | None:
        step = decide(job, attempt, observation, now, attempts=words["attempts"])
        return Complete() if step is None and observation is not None and observation.seen is Seen.SUCCEEDED else step

    monkeypatch.setattr(attempts, "decide", hasty)
    attempts._steps.cache_clear()
    faults = explore(1, to_fault=True).faults
    attempts._steps.cache_clear()
    assert "the results are not those that the agent with the voice has reported" in faults


def test_a_claim_that_waits_for_no_other_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site that made a second pod beside the first one would run a command twice: the model would show it."""
    monkeypatch.setattr(attempts, "_OVER", ("over", "lost", "running"))
    assert "attempt 1 has two live commands" in explore(1, to_fault=True).faults

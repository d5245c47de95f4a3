"""Agents that run the command themselves.

What they report, and what their signs of life keep from happening.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.store import samples
from uws_service.domain.attempt import Attempt, AttemptState, CommandEnd, Observation, Output, Reason, Report, Seen
from uws_service.domain.decisions import Complete, Fail, Retry, Step, Submit, decide
from uws_service.domain.job import Phase
from uws_service.domain.reports import as_reported

NOW = 1_000_000
RUNS = Observation("a", 1, Seen.RUNNING, started=NOW - 5000, reports=True, handle="7.1")
LOST = replace(RUNS, seen=Seen.FAILED, reason=Reason.NODE_LOST, message="The machine is gone.", gone=True)
AGAIN = Observation("a", 1, Seen.STARTING, waiting="waiting for its turn")
SECOND_START = replace(RUNS, seen=Seen.SUCCEEDED, ended=NOW - 60_000, gone=True)
LOG = Output("stderr", "jobs/a/attempts/1-x/0/~stderr", "text/plain", 10, "0" * 64)


def attempt(**fields: Any) -> Attempt:
    values = {"state": AttemptState.RUNNING, "claimed": "x", "started": RUNS.started, **fields}
    return samples.attempt(**values)


def report(reason: Reason | None = None, exit_code: int | None = 0) -> Report:
    end = CommandEnd(NOW - 1000, NOW - 4000, exit_code, (LOG,), "the last words", "a replica was bad")
    return Report((), (), reason, "why", 5, 2.0, 64, end=end)


def step(row: Attempt, observation: Observation | None) -> Step | None:
    job = samples.job(phase=Phase.EXECUTING, started=RUNS.started)
    return decide(job, row, as_reported(row, observation), NOW, attempts=3)


@pytest.mark.parametrize("shown", [RUNS, LOST, AGAIN, SECOND_START, None])
def test_a_report_decides_whatever_the_site_shows(shown: Observation | None) -> None:
    assert step(attempt(report=report()), shown) == Complete()
    failed = step(attempt(report=report(Reason.EXIT_CODE, 3)), shown)
    assert failed == Fail(Reason.EXIT_CODE, "why")


def test_what_is_known_of_the_end() -> None:
    """Times, exit code and words are the command's; the handle stays the site's."""
    seen = as_reported(attempt(report=report(Reason.EXIT_CODE, 3)), RUNS)
    assert seen is not None and (seen.started, seen.ended, seen.exit_code) == (NOW - 4000, NOW - 1000, 3)
    assert (seen.handle, seen.log_tail, seen.warning) == ("7.1", "the last words", "a replica was bad")
    assert (seen.usage.wall, seen.usage.cpu, seen.usage.bytes_in, seen.usage.bytes_out) == (3.0, 2.0, 5, 10)
    assert not seen.gone and not seen.reports


def test_who_stopped_it() -> None:
    """A command that was stopped although nobody here wanted that: its site says why, once the job has ended there."""
    stopped = attempt(report=report(Reason.ABORTED, None))
    assert as_reported(stopped, RUNS) is RUNS
    gone = step(stopped, LOST)
    assert isinstance(gone, Retry) and (gone.reason, gone.message) == (Reason.NODE_LOST, "The machine is gone.")
    deadline = as_reported(stopped, replace(LOST, reason=Reason.DEADLINE))
    assert deadline is not None and deadline.reason is Reason.DEADLINE
    unwanted = replace(stopped, wanted=False)
    ended = as_reported(unwanted, RUNS)
    assert ended is not None and ended.seen is Seen.FAILED


@pytest.mark.parametrize("shown", [LOST, AGAIN, SECOND_START, None])
def test_nothing_is_begun_beside_a_living_agent(shown: Observation | None) -> None:
    """The site has lost it, or would run it again: as long as its agent is heard nothing follows."""
    assert step(attempt(alive_until=NOW + 1), shown) is None
    following = step(attempt(alive_until=NOW), shown)
    assert shown is AGAIN or isinstance(following, Retry), following


def test_a_job_that_was_forgotten_before_its_agent_began() -> None:
    """It is handed over again, as the same attempt."""
    assert step(attempt(state=AttemptState.SUBMITTED, claimed="", started=None), None) == Submit()

"""Accounts: sums of attempts by each key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.store import samples
from uws_service.domain.accounting import GIB, KEYS, summed
from uws_service.domain.attempt import AttemptState, Reason, Usage

NOVEMBER = 1_795_428_000_000  # 2026-11-23T10:00:00Z
COMPLETED = replace(
    samples.attempt("a"),
    state=AttemptState.CLOSED,
    owner="ada",
    group="ska",
    application="sleep",
    site="x",
    ended=NOVEMBER,
    cpu_requested=2.0,
    memory_requested=4 * GIB,
    usage=Usage(wall=1800, cpu=900, peak_memory=GIB, bytes_in=GIB, bytes_out=2 * GIB),
)
LOST_ATTEMPT = replace(COMPLETED, number=1, job_id="b", site="y", reason=Reason.NODE_LOST, usage=Usage(wall=3600))
RETRIED = replace(COMPLETED, number=2, job_id="b", owner="", group="", ended=NOVEMBER + 14 * 3600_000)


def test_sums() -> None:
    """Usage is added up, but for the peak.

    A job with two attempts counts once.
    """
    (line,) = summed([COMPLETED, LOST_ATTEMPT, RETRIED], ["application"]).values()
    assert (line.key, line.jobs, line.attempts) == (("sleep",), 2, 3)
    assert (line.wall_hours, line.cpu_hours) == (2.0, 0.5)
    assert (line.reserved_cpu_hours, line.reserved_memory_gib_hours) == (4.0, 8.0)
    assert (line.peak_memory_gib, line.gib_in, line.gib_out) == (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("owner", {"ada": 2, "anonymous": 1}),
        ("group", {"ska": 2, "none": 1}),
        ("site", {"x": 2, "y": 1}),
        ("outcome", {"Completed": 2, "NodeLost": 1}),
        ("day", {"2026-11-23": 2, "2026-11-24": 1}),
        ("month", {"2026-11": 3}),
    ],
)
def test_keys(key: str, expected: dict[str, int]) -> None:
    assert {
        line.key[0]: line.attempts for line in summed([COMPLETED, LOST_ATTEMPT, RETRIED], [key]).values()
    } == expected


def test_pages_are_added_up() -> None:
    """Sums grow with each page of attempts."""
    lines = summed([COMPLETED, LOST_ATTEMPT], list(KEYS))
    summed([RETRIED], list(KEYS), lines)
    assert lines == summed([COMPLETED, LOST_ATTEMPT, RETRIED], list(KEYS))

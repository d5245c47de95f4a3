"""Accounts: sums of records by each key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.store import samples
from uws_service.domain.accounting import GIB, KEYS, summed
from uws_service.domain.attempt import AttemptState, Reason, Usage
from uws_service.domain.energy import Footprint, Intensity, Power
from uws_service.domain.meter import Meter, SiteMeter

NOVEMBER = 1_795_428_000_000  # 2026-11-23T10:00:00Z
COMPLETED = replace(
    samples.attempt("a"),
    state=AttemptState.CLOSED,
    owner="ada",
    group="ska",
    application="sleep",
    site="x",
    started=NOVEMBER - 1_800_000,
    ended=NOVEMBER,
    cpu_requested=2.0,
    memory_requested=4 * GIB,
    usage=Usage(wall=1800, cpu=900, peak_memory=GIB, bytes_in=GIB, bytes_out=2 * GIB),
)
LOST_ATTEMPT = replace(COMPLETED, number=1, job_id="b", site="y", reason=Reason.NODE_LOST, usage=Usage(wall=3600))
RETRIED = replace(COMPLETED, number=2, job_id="b", owner="", group="", ended=NOVEMBER + 14 * 3600_000)
METER = Meter(
    {
        name: SiteMeter("local", footprint=Footprint(Power(1.0, memory_gb=0), Intensity("test", (300.0,))))
        for name in "x"
    },
    projects={"ska": "SKA"},
)
RECORDS = [METER.record(attempt, NOVEMBER) for attempt in (COMPLETED, LOST_ATTEMPT, RETRIED)]


def test_sums() -> None:
    """Usage is added up, but for the peak.

    A job with two attempts counts once; what was lost is shown apart, and no energy where none is known (N-005, N-006).
    """
    (line,) = summed(RECORDS, ["application"]).values()
    figures = line.figures()
    assert (line.key, line.jobs, line.attempts) == (("sleep",), 2, 3)
    assert (figures["wall_hours"], figures["cpu_hours"]) == (2.0, 0.5)
    assert (figures["reserved_cpu_hours"], figures["reserved_memory_gib_hours"]) == (4.0, 8.0)
    assert (figures["peak_memory_gib"], figures["gib_in"], figures["gib_out"]) == (1.0, 2.0, 4.0)
    assert (figures["wasted_cpu_hours"], figures["wasted_energy_kwh"]) == (2.0, None)
    assert (figures["energy_kwh"], figures["co2e_kg"], figures["price"]) == (0.02, 0.006, None)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("owner", {"ada": 2, "anonymous": 1}),
        ("group", {"ska": 2, "none": 1}),
        ("project", {"SKA": 2, "none": 1}),
        ("site", {"x": 2, "y": 1}),
        ("outcome", {"Completed": 2, "NodeLost": 1}),
        ("waste", {"none": 2, "infrastructure": 1}),
        ("day", {"2026-11-23": 2, "2026-11-24": 1}),
        ("month", {"2026-11": 3}),
    ],
)
def test_keys(key: str, expected: dict[str, int]) -> None:
    assert {line.key[0]: line.attempts for line in summed(RECORDS, [key]).values()} == expected


def test_pages_are_added_up() -> None:
    """Sums grow with each page of records."""
    lines = summed(RECORDS[:2], list(KEYS))
    summed(RECORDS[2:], list(KEYS), lines)
    assert lines == summed(RECORDS, list(KEYS))

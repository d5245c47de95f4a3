"""Waits of earlier jobs, and quotes from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.placement.history import quote_ms, waits_of
from uws_service.placement.model import SiteView, Waits, Wish

HOUR_MS = 3_600_000


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200))
def test_waits_are_quantiles(samples: list[int]) -> None:
    """Half of the jobs waited no longer than the median, nine of ten no longer than the other one."""
    waits = waits_of(samples)
    assert waits.samples == len(samples)
    assert sum(sample <= waits.p50_ms for sample in samples) >= len(samples) / 2
    assert sum(sample <= waits.p90_ms for sample in samples) >= 0.9 * len(samples)
    assert waits.p50_ms <= waits.p90_ms and {waits.p50_ms, waits.p90_ms} <= set(samples)


def test_no_waits() -> None:
    assert waits_of([]) == Waits(0, 0, 0)


@pytest.mark.parametrize(
    ("samples", "duration_ms", "quote"),
    [(20, HOUR_MS, 1000 + 180 + HOUR_MS), (19, HOUR_MS, None), (20, 0, None)],
    ids=["enough samples", "too few", "no limit"],
)
def test_quotes_come_from_history_alone(samples: int, duration_ms: int, quote: int | None) -> None:
    site = SiteView("a", 1, waits={"c1": waits_of([10 * number for number in range(1, samples + 1)])})
    assert quote_ms(site, Wish("app", size_class="c1", duration_ms=duration_ms), 1000) == quote
    assert quote_ms(site, Wish("app", size_class="c4", duration_ms=duration_ms), 1000) is None

"""Usage records: months, waste, corrections."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.test_accounting import COMPLETED, LOST_ATTEMPT, NOVEMBER
from uws_service.domain.attempt import Reason, Usage
from uws_service.domain.meter import Meter
from uws_service.domain.price import PriceList
from uws_service.domain.usage_record import (
    DIFFERENCES,
    correction,
    month_of,
    month_start,
    month_text,
    next_month,
    parse_month,
    previous_month,
    total,
    waste_of,
)

METER = Meter(prices=(PriceList(1.0),), currency="EUR")


@given(st.integers(0, 4_000_000_000_000))
def test_each_instant_is_in_one_month(instant: int) -> None:
    """ACC-013: months are those of UTC, and follow each other without a gap."""
    month = month_of(instant)
    assert month_start(month) <= instant < month_start(next_month(month))
    assert month_text(month) == datetime.fromtimestamp(instant / 1000, UTC).strftime("%Y-%m")
    assert parse_month(month_text(month)) == month == previous_month(next_month(month))


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "202611", "2026-11-01", "x"])
def test_what_is_no_month(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_month(text)


@pytest.mark.parametrize("reason", Reason)
def test_waste(reason: Reason) -> None:
    """N-006: what ends without success is waste of one class."""
    assert waste_of(None) == ""
    assert waste_of(reason) in ("infrastructure", "failed", "aborted")


def test_lost_attempts_are_not_charged() -> None:
    """ACC-071: unless the settings say so; they are recorded anyway."""
    record = METER.record(LOST_ATTEMPT, NOVEMBER)
    assert (record.price, record.wall_s, record.currency) == (0, 3600, "EUR")
    assert replace(METER, charge_lost=True).record(LOST_ATTEMPT, NOVEMBER).price == 2_000_000
    assert METER.record(COMPLETED, NOVEMBER).price == 1_000_000


figures = st.builds(
    Usage,
    wall=st.floats(0, 1e6),
    cpu=st.floats(0, 1e6),
    peak_memory=st.integers(0, 2**40),
    bytes_in=st.integers(0, 2**50),
    bytes_out=st.integers(0, 2**50),
)


@given(st.lists(figures, min_size=1, max_size=5))
def test_corrections(usages: list[Usage]) -> None:
    """After each correction the sum of all records is what is right, rounded seconds too (ACC-005)."""
    records = [METER.record(replace(COMPLETED, usage=usages[0]), NOVEMBER)]
    for index, usage in enumerate(usages[1:], 1):
        right = METER.record(replace(COMPLETED, usage=usage), NOVEMBER)
        records.append(correction(records, right, NOVEMBER + index))
        assert total(records) == right
        assert [record.serial for record in records] == list(range(index + 1))
        assert {record.month for record in records} == {202611}
        assert sum(record.wall_s for record in records) == right.wall_s
    assert set(DIFFERENCES) <= set(records[0]._fields)

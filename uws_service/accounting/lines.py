"""Lines of accounts as the database sums them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uws_service.domain.accounting import EMPTY_KEYS, SUMMED, WASTED, Line, shown_key
from uws_service.domain.usage_record import month_of
from uws_service.store.usage import Sum, UsageStore

LAST_INSTANT = 253_402_300_799_999
"""The last millisecond of the year 9999."""


async def lines_of(
    usage: UsageStore,
    by: Sequence[str],
    period: tuple[int, int],
    filters: Mapping[str, Sequence[Any]] | None = None,
    limit: int | None = None,
) -> list[Line]:
    """Return a line for each combination of keys, of records that ended in [since, until) milliseconds."""
    since, until = max(0, period[0]), min(period[1], LAST_INSTANT)
    months = month_of(since), month_of(until)
    sums = await usage.sums(by, months=months, instants=(since, until), filters=filters, limit=limit)
    return [line_of(by, part) for part in sums if part.values["attempts"] is not None]


def line_of(by: Sequence[str], part: Sum) -> Line:
    """Return the line of a sum."""
    values = part.values
    return Line(
        tuple(shown_key(name, value) for name, value in zip(by, part.key, strict=True)),
        values["jobs"] or 0,
        values["attempts"] or 0,
        values["peak_memory"] or 0,
        {name: value for name in (*SUMMED, *WASTED) if (value := values[name]) is not None},
    )


def stored_value(name: str, text: str) -> str:
    """Return the value in records of a text as lines show it."""
    return "" if EMPTY_KEYS.get(name) == text else text

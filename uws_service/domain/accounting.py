"""Accounts: what attempts that have ended used, summed up.

CPU time, peak memory and bytes are as measured; *reserved* is what was asked for times how long it was held, which is
what others could not use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from uws_service.domain.attempt import Attempt

GIB = 2**30
KEYS: dict[str, Callable[[Attempt], str]] = {
    "owner": lambda attempt: attempt.owner or "anonymous",
    "group": lambda attempt: attempt.group or "none",
    "application": lambda attempt: attempt.application,
    "site": lambda attempt: attempt.site,
    "outcome": lambda attempt: attempt.reason or "Completed",
    "day": lambda attempt: _utc(attempt)[:10],
    "month": lambda attempt: _utc(attempt)[:7],
}
"""What an account can be split by; days and months are those of an attempt's end, in UTC."""


@dataclass(slots=True)
class Line:
    """A line of an account: hours, GiB, counts."""

    key: tuple[str, ...]
    jobs: int = 0
    attempts: int = 0
    wall_hours: float = 0.0
    cpu_hours: float = 0.0
    reserved_cpu_hours: float = 0.0
    reserved_memory_gib_hours: float = 0.0
    peak_memory_gib: float = 0.0
    gib_in: float = 0.0
    gib_out: float = 0.0

    def add(self, attempt: Attempt) -> None:
        """Add an attempt; jobs count by attempt 1."""
        hours = attempt.usage.wall / 3600
        self.jobs += attempt.number == 1
        self.attempts += 1
        self.wall_hours += hours
        self.cpu_hours += attempt.usage.cpu / 3600
        self.reserved_cpu_hours += hours * attempt.cpu_requested
        self.reserved_memory_gib_hours += hours * attempt.memory_requested / GIB
        self.peak_memory_gib = max(self.peak_memory_gib, attempt.usage.peak_memory / GIB)
        self.gib_in += attempt.usage.bytes_in / GIB
        self.gib_out += attempt.usage.bytes_out / GIB


def summed(
    attempts: Iterable[Attempt], by: Iterable[str], lines: dict[tuple[str, ...], Line] | None = None
) -> dict[tuple[str, ...], Line]:
    """Return a line for each combination of keys.

    Parameters
    ----------
    by
        Names of `KEYS`.
    lines
        Lines of earlier attempts, which are added to.
    """
    lines = {} if lines is None else lines
    keys = [KEYS[name] for name in by]
    for attempt in attempts:
        key = tuple(read(attempt) for read in keys)
        lines.setdefault(key, Line(key)).add(attempt)
    return lines


def _utc(attempt: Attempt) -> str:
    return datetime.fromtimestamp((attempt.ended or 0) / 1000, UTC).isoformat()

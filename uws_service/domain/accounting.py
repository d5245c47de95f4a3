"""What was used, summed up: from attempts that have ended to lines of an account. Pure.

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
    "owner": lambda one: one.owner or "anonymous",
    "group": lambda one: one.group or "none",
    "application": lambda one: one.application,
    "site": lambda one: one.site,
    "outcome": lambda one: one.reason or "Completed",
    "day": lambda one: _utc(one)[:10],
    "month": lambda one: _utc(one)[:7],
}
"""What an account can be split by; days and months are those of an attempt's end, in UTC."""


@dataclass(slots=True)
class Line:
    """One line of an account: hours, GiB, counts."""

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

    def add(self, one: Attempt) -> None:
        """Count an attempt; a job counts with its first one, so that no job counts twice."""
        hours = one.usage.wall / 3600
        self.jobs += one.number == 1
        self.attempts += 1
        self.wall_hours += hours
        self.cpu_hours += one.usage.cpu / 3600
        self.reserved_cpu_hours += hours * one.cpu_requested
        self.reserved_memory_gib_hours += hours * one.memory_requested / GIB
        self.peak_memory_gib = max(self.peak_memory_gib, one.usage.peak_memory / GIB)
        self.gib_in += one.usage.bytes_in / GIB
        self.gib_out += one.usage.bytes_out / GIB


def summed(
    attempts: Iterable[Attempt], by: Iterable[str], lines: dict[tuple[str, ...], Line] | None = None
) -> dict[tuple[str, ...], Line]:
    """Lines for each combination of keys (of `KEYS`); ``lines`` of earlier attempts are added to."""
    lines = {} if lines is None else lines
    keys = [KEYS[name] for name in by]
    for one in attempts:
        key = tuple(read(one) for read in keys)
        lines.setdefault(key, Line(key)).add(one)
    return lines


def _utc(attempt: Attempt) -> str:
    return datetime.fromtimestamp((attempt.ended or 0) / 1000, UTC).isoformat()

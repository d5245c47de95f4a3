"""Accounts: what attempts that have ended used, summed up.

CPU time, peak memory and bytes are as measured; *reserved* is what was asked for times how long it was held, which is
what others could not use. Sums are whole numbers in the small units of records, hours and GiB come from them at the
end: a sum of parts is the same as the sum of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from uws_service.domain.price import MICRO
from uws_service.domain.usage_record import UsageRecord, month_text

GIB = 2**30
HOUR_MS = 3_600_000
SUMMED = (
    "wall_ms", "cpu_ms", "gpu_ms", "core_ms", "memory_mib_s", "wall_s", "cpu_s", "bytes_in", "bytes_out", "bytes_moved",
    "energy_mwh", "co2e_ug", "embodied_ug", "price",
)  # fmt: skip
"""The figures of records that are added up."""
WASTED = {"wasted_core_ms": "core_ms", "wasted_energy_mwh": "energy_mwh", "wasted_co2e_ug": "co2e_ug"}
"""Figures of which the part that was lost is shown apart (N-006)."""
KEYS: Mapping[str, Callable[[UsageRecord], str]] = {
    "owner": lambda record: record.owner or "anonymous",
    "group": lambda record: record.group or "none",
    "project": lambda record: record.project or "none",
    "application": lambda record: record.application,
    "site": lambda record: record.site,
    "kind": lambda record: record.kind,
    "outcome": lambda record: record.reason or "Completed",
    "waste": lambda record: record.waste or "none",
    "day": lambda record: day_text(record.ended),
    "month": lambda record: month_text(record.month),
}
"""What an account can be split by; days and months are those of an attempt's end, in UTC."""
EMPTY_KEYS = {"owner": "anonymous", "group": "none", "project": "none", "waste": "none"}
"""What stands for an empty value."""


def day_text(instant: int) -> str:
    """Return the day in UTC of an instant in milliseconds."""
    return datetime.fromtimestamp(instant / 1000, UTC).date().isoformat()


@dataclass(slots=True)
class Line:
    """A line of an account.

    What it is split by, counts and sums.
    """

    key: tuple[str, ...]
    jobs: int = 0
    attempts: int = 0
    peak_memory: int = 0
    sums: dict[str, int | None] = field(default_factory=dict)
    """Of `SUMMED` and `WASTED`; None: no record has the figure."""

    def add(self, record: UsageRecord) -> None:
        """Add a record.

        Jobs count by attempt 1, corrections as no attempt.
        """
        self.jobs += record.number == 1 and record.serial == 0
        self.attempts += record.serial == 0
        self.peak_memory = max(self.peak_memory, record.peak_memory)
        for name in SUMMED:
            self._add(name, getattr(record, name))
        for name, source in WASTED.items():
            self._add(name, getattr(record, source) if record.waste else (0 if source == "core_ms" else None))

    def _add(self, name: str, value: int | None) -> None:
        if value is not None:
            self.sums[name] = (self.sums.get(name) or 0) + value

    def figures(self) -> dict[str, Any]:
        """Return the figures for readers.

        Hours, GiB, kWh, kg; None where nothing is known (N-005).
        """

        def scaled(name: str, unit: float) -> float | None:
            value = self.sums.get(name)
            return None if value is None else round(value / unit, 9)

        return {
            "jobs": self.jobs,
            "attempts": self.attempts,
            "wall_hours": scaled("wall_ms", HOUR_MS) or 0.0,
            "cpu_hours": scaled("cpu_ms", HOUR_MS) or 0.0,
            "gpu_hours": scaled("gpu_ms", HOUR_MS) or 0.0,
            "reserved_cpu_hours": scaled("core_ms", HOUR_MS) or 0.0,
            "reserved_memory_gib_hours": scaled("memory_mib_s", 1024 * 3600) or 0.0,
            "peak_memory_gib": round(self.peak_memory / GIB, 9),
            "gib_in": scaled("bytes_in", GIB) or 0.0,
            "gib_out": scaled("bytes_out", GIB) or 0.0,
            "gib_moved": scaled("bytes_moved", GIB) or 0.0,
            "wasted_cpu_hours": scaled("wasted_core_ms", HOUR_MS) or 0.0,
            "energy_kwh": scaled("energy_mwh", 1e6),
            "wasted_energy_kwh": scaled("wasted_energy_mwh", 1e6),
            "co2e_kg": scaled("co2e_ug", 1e9),
            "wasted_co2e_kg": scaled("wasted_co2e_ug", 1e9),
            "embodied_co2e_kg": scaled("embodied_ug", 1e9),
            "price": scaled("price", MICRO),
        }


FIGURES = tuple(Line(()).figures())
"""The names of the figures, in order."""


def summed(
    records: Iterable[UsageRecord], by: Iterable[str], lines: dict[tuple[str, ...], Line] | None = None
) -> dict[tuple[str, ...], Line]:
    """Return a line for each combination of keys.

    Parameters
    ----------
    by
        Names of `KEYS`.
    lines
        Lines of earlier records, which are added to.
    """
    lines = {} if lines is None else lines
    keys = [KEYS[name] for name in by]
    for record in records:
        key = tuple(read(record) for read in keys)
        lines.setdefault(key, Line(key)).add(record)
    return lines


def shown_key(name: str, value: Any) -> str:
    """Return a value that sums are split by, as in `KEYS`."""
    if name == "day":
        return day_text(int(value))
    if name == "month":
        return month_text(int(value))
    return str(value) or EMPTY_KEYS.get(name, "")

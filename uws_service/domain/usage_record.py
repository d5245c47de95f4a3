"""The record of what one attempt used, made at its end and never changed. Pure.

Figures are whole numbers in small units, so that sums are the same in any order. A correction is a record of its own
with the next ``serial``: it holds the differences, and so the sum of an attempt's records is what is right now.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from math import ceil
from typing import NamedTuple

from uws_service.domain.attempt import RETRYABLE, Reason

MIB = 2**20


class Waste(StrEnum):
    """The class of failure for which what an attempt used was lost (N-006)."""

    NONE = ""
    INFRASTRUCTURE = "infrastructure"
    FAILED = "failed"
    ABORTED = "aborted"


_OF_SITE = RETRYABLE | {Reason.IMAGE, Reason.REFUSED, Reason.UNSCHEDULABLE, Reason.COMMAND}


def waste_of(reason: str | None) -> Waste:
    """Return the class of an attempt's failure."""
    if reason is None:
        return Waste.NONE
    if reason == Reason.ABORTED:
        return Waste.ABORTED
    return Waste.INFRASTRUCTURE if reason in _OF_SITE else Waste.FAILED


def month_of(instant: int) -> int:
    """Return the month in UTC of an instant in milliseconds, such as 202611 (ACC-013)."""
    moment = datetime.fromtimestamp(instant / 1000, UTC)
    return moment.year * 100 + moment.month


def next_month(month: int) -> int:
    """Return the month that follows."""
    return month + 1 if month % 100 < 12 else month + 89


def previous_month(month: int) -> int:
    """Return the month before."""
    return month - 1 if month % 100 > 1 else month - 89


def month_start(month: int) -> int:
    """Return the first instant of a month, in milliseconds."""
    return int(datetime(month // 100, month % 100, 1, tzinfo=UTC).timestamp() * 1000)


def parse_month(text: str) -> int:
    """Read a month such as 2026-11.

    Raise `ValueError` for anything else.
    """
    moment = datetime.strptime(text, "%Y-%m")
    if len(text) != 7:
        raise ValueError(text)
    return moment.year * 100 + moment.month


def month_text(month: int) -> str:
    """Return a month such as 2026-11."""
    return f"{month // 100:04}-{month % 100:02}"


class UsageRecord(NamedTuple):
    """What one attempt used, or a correction of that (``serial`` from 1).

    Instants and ``…_ms`` are milliseconds, memory and ``bytes_…`` bytes, ``price`` millionths of the currency.
    ``wall_s`` and ``cpu_s`` are seconds, rounded here alone (ACC-005). ``peak_memory`` of a correction is the right
    value, everything else a difference.
    """

    month: int
    job_id: str
    number: int
    serial: int
    recorded: int
    site: str
    kind: str
    application: str
    project: str
    group: str
    owner: str
    created: int
    submitted: int | None
    started: int | None
    ended: int
    reason: str
    waste: str
    exit_code: int | None
    cores: float
    processors: int
    memory: int
    gpus: int
    wall_ms: int = 0
    cpu_ms: int = 0
    gpu_ms: int = 0
    core_ms: int = 0
    memory_mib_s: int = 0
    wall_s: int = 0
    cpu_s: int = 0
    peak_memory: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_moved: int = 0
    energy_mwh: int | None = None
    """Milliwatt-hours."""
    co2e_ug: int | None = None
    """Micrograms."""
    embodied_ug: int | None = None
    method: str = ""
    """The id of the method and its inputs (N-009)."""
    benchmark: str = ""
    benchmark_value: float = 0.0
    """Score of a core (ACC-060)."""
    price: int | None = None
    currency: str = ""

    @property
    def id(self) -> str:
        """Return the id of the attempt, the same for all its records (ACC-057)."""
        return f"{self.job_id}-{self.number}"

    @property
    def is_job(self) -> bool:
        """Return whether accounts of computing count it.

        Its command has started (ACC-070).
        """
        return self.started is not None


RECORD_COLUMNS = UsageRecord._fields
DIFFERENCES = (
    "wall_ms", "cpu_ms", "gpu_ms", "core_ms", "memory_mib_s", "wall_s", "cpu_s", "bytes_in", "bytes_out", "bytes_moved",
    "energy_mwh", "co2e_ug", "embodied_ug", "price",
)  # fmt: skip
"""The fields that corrections hold as differences."""


def rounded_seconds(milliseconds: int) -> int:
    """Return whole seconds of a duration (ACC-005)."""
    return (milliseconds + 500) // 1000


def processors_of(cores: float) -> int:
    """Return the whole number of cores that readers without fractions get."""
    return max(1, ceil(cores))


def total(records: Sequence[UsageRecord]) -> UsageRecord:
    """Return what is right of an attempt.

    Its record with all corrections, in the order of their serials.
    """
    first, *corrections = records
    if not corrections:
        return first
    sums: dict[str, int | None] = {}
    for name in DIFFERENCES:
        values = [value for record in records if (value := getattr(record, name)) is not None]
        sums[name] = sum(values) if values else None
    peak = corrections[-1].peak_memory
    return first._replace(**sums, peak_memory=peak)  # type: ignore[arg-type]


def correction(records: Sequence[UsageRecord], right: UsageRecord, recorded: int) -> UsageRecord:
    """Return the record that makes the sum of an attempt's records the right one.

    It is of the same month and keys, whatever the time of the correction.
    """
    before = total(records)
    differences: dict[str, int | None] = {}
    for name in DIFFERENCES:
        target, present = getattr(right, name), getattr(before, name)
        differences[name] = None if target is None and present is None else (target or 0) - (present or 0)
    first = records[0]
    return first._replace(
        serial=records[-1].serial + 1,
        recorded=recorded,
        peak_memory=right.peak_memory,
        **differences,  # type: ignore[arg-type]
    )

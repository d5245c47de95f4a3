"""A permission to read a job."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """A permission to read one job, until an instant in milliseconds: for a link's secret, or for a group."""

    id: str
    job_id: str
    key: str | None
    group: str | None
    actor: str
    created: int
    expires: int

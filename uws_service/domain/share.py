"""A permission to read a job."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """A permission to read a job for some time.

    It is for whoever has a link's secret, of which ``key`` is the hash, or for a group.
    """

    id: str
    job_id: str
    key: str | None
    group: str | None
    actor: str
    created: int
    expires: int

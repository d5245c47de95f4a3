"""Quotas: what an owner has against what it may have, and requests a second. Pure but for the counters it keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from uws_service.auth.settings import Quota
from uws_service.domain.errors import Forbidden, TooManyRequests
from uws_service.domain.job import Phase

BURST_SECONDS = 10.0
"""So many seconds' worth of requests may come at once."""
KEPT = 50_000
RETRY_SECONDS = 15
"""When a job may have ended, for Retry-After."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What an owner has in the store."""

    phases: Mapping[Phase, int]
    stored: int


def require_room(quota: Quota, holding: Holding, *, run: bool, new: bool, jobs: int = 1, size: int = 0) -> None:
    """Raise if one more job, or one more that is to run, is too many; or so many ``jobs`` of so many bytes.

    How many run at once is no matter here: those that are too many wait.

    Raises
    ------
    TooManyRequests
        It will do once other jobs have gone on: 429 with Retry-After.
    Forbidden
        Something must be deleted first.
    """
    full = quota.stored is not None and (holding.stored >= quota.stored or holding.stored + size > quota.stored)
    if new and full:
        more = f", and {size} more would come" if size else ""
        raise Forbidden(
            f"Your jobs hold {holding.stored} bytes of parameters, uploads and results{more}; {quota.stored} are "
            "allowed. Delete jobs that are no longer needed."
        )
    if not run:
        return
    queued = holding.phases.get(Phase.QUEUED, 0)
    if quota.queued is not None and jobs > max(1, quota.queued):
        raise Forbidden(f"These are {jobs} jobs at once; {quota.queued} of yours may wait to run.")
    if quota.queued is not None and queued + jobs > quota.queued:
        raise TooManyRequests(
            f"You have {queued} jobs that wait to run; {quota.queued} are allowed.", retry_after=RETRY_SECONDS
        )
    if quota.running == 0:
        raise Forbidden("You may store jobs here, but none of yours may run.")


class Rates:
    """A token bucket for each caller, in this process."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, who: str, rate: float, now: float) -> None:
        """Count one request; raise `TooManyRequests` if there were too many."""
        most = max(1.0, rate * BURST_SECONDS)
        left, at = self._buckets.get(who, (most, now))
        left = min(most, left + (now - at) * rate)
        if left < 1:
            raise TooManyRequests(
                f"More than {rate:g} requests a second; slow down, and use WAIT instead of asking again and again.",
                retry_after=max(1, math.ceil((1 - left) / rate)),
            )
        if len(self._buckets) >= KEPT:
            self._buckets.clear()
        self._buckets[who] = (left - 1, now)

"""Limits of an application, applied to a job's request."""

from __future__ import annotations

from uws_service.applications.model import Application
from uws_service.domain.job import MAX_DURATION


def clamp_duration(application: Application, seconds: int) -> int:
    """Return an executionDuration within the limits (U-136).

    0 means no limit.
    """
    highest = application.limits.execution_duration.maximum
    if highest and (seconds == 0 or seconds > highest):
        return highest
    return min(seconds, MAX_DURATION)


def clamp_destruction(application: Application, created: int, instant: int, now: int) -> int:
    """Return a destruction time within the limits (U-134, U-135).

    A time in the past means at once.
    """
    highest = application.limits.retention.maximum
    latest = created + highest * 1000 if highest else instant
    return max(min(instant, latest), now)


def quote(duration: int, start: int) -> int | None:
    """Return when the job will have ended at the latest, if it began at ``start`` (U-140, T-024).

    While it is queued nobody knows when it begins: `uws_service.placement.history` tells what may be expected then.
    """
    return start + duration * 1000 if duration else None

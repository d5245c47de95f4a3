"""Limits of an application applied to what a job asks for."""

from __future__ import annotations

from uws_service.applications.model import Application
from uws_service.domain.job import MAX_DURATION, Job


def clamp_duration(application: Application, seconds: int) -> int:
    """An executionDuration within what the application allows; 0 means no limit (U-136)."""
    highest = application.limits.execution_duration.maximum
    if highest and (seconds == 0 or seconds > highest):
        return highest
    return min(seconds, MAX_DURATION)


def clamp_destruction(application: Application, created: int, instant: int, now: int) -> int:
    """A destruction time within what the application allows; one in the past means at once (U-134, U-135)."""
    highest = application.limits.retention.maximum
    latest = created + highest * 1000 if highest else instant
    return max(min(instant, latest), now)


def quote(job: Job, start: int) -> int | None:
    """When the job will have ended at the latest if it began at ``start`` (U-140, T-024)."""
    return start + job.duration * 1000 if job.duration else None

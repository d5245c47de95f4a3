"""The progress of running jobs that somebody follows.

Progress is in no history, so one look at the store every two seconds, for all streams of the process together, takes it
from the jobs' rows; where nobody follows a running job, nobody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple, Protocol

from uws_service.domain.errors import UwsError
from uws_service.store.overview import PROGRESS_JOBS, Overview, Progress

LOOK_SECONDS = 2.0
NO_PROGRESS = Progress("", None, "")
MAX_JOBS = 1000
"""Running jobs that are looked at; of more, those that were followed first."""


class ProgressEvent(NamedTuple):
    """How far a job is now.

    It has no number, and is not sent again.
    """

    job_id: str
    application: str
    progress: float | None
    message: str


class Follower(Protocol):
    """Whoever is told of progress."""

    executing: set[str]

    def put(self, event: ProgressEvent) -> None: ...


class FollowedProgress:
    """Looks at running jobs for their followers."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._followers: dict[str, set[Follower]] = {}
        self._last: dict[str, Progress] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, follower: Follower, job_id: str) -> None:
        """Tell a follower of a job that runs."""
        if job_id not in self._followers and len(self._followers) >= MAX_JOBS:
            return
        self._followers.setdefault(job_id, set()).add(follower)
        follower.executing.add(job_id)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())

    def end(self, job_id: str) -> None:
        """Forget a job that runs no longer."""
        for follower in self._followers.pop(job_id, ()):
            follower.executing.discard(job_id)
        self._last.pop(job_id, None)

    def drop(self, follower: Follower) -> None:
        """Forget a follower."""
        for job_id in follower.executing:
            followers = self._followers.get(job_id, set())
            followers.discard(follower)
            if not followers:
                self._followers.pop(job_id, None)
                self._last.pop(job_id, None)
        follower.executing.clear()

    async def _look(self) -> None:
        """Look again and again, until nobody follows a running job."""
        while self._followers:
            job_ids = list(self._followers)
            for begin in range(0, len(job_ids), PROGRESS_JOBS):
                with contextlib.suppress(UwsError):  # the database is away: the next round tries again
                    for job_id, progress in (await self._overview.progress(job_ids[begin:][:PROGRESS_JOBS])).items():
                        self._tell(job_id, progress)
            await asyncio.sleep(LOOK_SECONDS)

    def _tell(self, job_id: str, progress: Progress) -> None:
        if progress == self._last.get(job_id, NO_PROGRESS):
            return
        self._last[job_id] = progress
        for follower in list(self._followers.get(job_id, ())):
            follower.put(ProgressEvent(job_id, *progress))

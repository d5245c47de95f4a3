"""What a batch system has of one service, as the last look has shown it.

The system is asked by one question every few seconds. Between two looks the last answer counts, with what was created
since. What a crash has left, and what has ended and was forgotten, is removed in the background.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from uws_service.domain.attempt import Observation, Reason
from uws_service.domain.errors import UwsError
from uws_service.sites.batch import verdict
from uws_service.sites.batch.driver import BatchJob, BatchState, BatchSystem, Key
from uws_service.sites.batch.settings import BatchSite

log = structlog.get_logger(__name__)

CANCEL_PAUSE_SECONDS = 10.0
"""After this time a cancellation that shows no effect is repeated."""
LEAVE_SECONDS = 30.0
"""An agent that has reported ends by itself; after this time it is shown again, and removed by force."""
FORGET_PAUSE_SECONDS = 120.0
"""A system may take so long to lose a job that it was told to forget."""
RELEASE_SECONDS = 60.0
"""A job may be shown as held for so long after its release."""
GONE = "Somebody removed the job at its site."


class Watch:
    """The batch jobs of one service.

    Parameters
    ----------
    site
        The site's settings.
    system
        The batch system.
    clock
        The present instant in milliseconds.
    """

    def __init__(self, site: BatchSite, system: BatchSystem, clock: Callable[[], int]) -> None:
        self.settings = site
        self.system = system
        self.clock = clock
        self.jobs: Mapping[Key, tuple[BatchJob, ...]] = {}
        """What the last look has shown, by attempt; the job that counts first."""
        self.vanished: dict[Key, BatchJob] = {}
        """What is in the queue no more although nobody here has removed it."""
        self.submitting: set[Key] = set()
        """Attempts that are being handed over."""
        self.observations: list[Observation] = []
        self.change = asyncio.Event()
        self._created: dict[Key, tuple[BatchJob, float]] = {}
        """What was released since, and when (monotonic)."""
        self._cancelled: dict[str, float] = {}
        self._leaving: dict[str, float] = {}
        self._forgotten: dict[str, float] = {}
        """When (monotonic) each handle was cancelled, left to end by itself, and forgotten at the system."""
        self._stuck_since: dict[str, int] = {}
        self._cleaning: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Remove no more."""
        if self._cleaning is not None:
            self._cleaning.cancel()
            await asyncio.gather(self._cleaning, return_exceptions=True)
            self._cleaning = None

    @property
    def room(self) -> int:
        """Return how many attempts may be at the site now."""
        jobs = [group[0] for group in self.jobs.values()]
        return verdict.room(jobs, self.settings.slots, self.settings.margin)

    async def look(self) -> None:
        """Ask the system for its jobs.

        Raises
        ------
        NotNow
            It does not answer.
        """
        began = time.monotonic()
        await self._take(await self.system.query(), began)

    async def _take(self, jobs: Sequence[BatchJob], began: float) -> None:
        """Take in what a question that was asked at ``began`` (monotonic) has shown."""
        groups = verdict.by_attempt(jobs)
        await self._find_vanished(groups, began)
        self.jobs = groups
        for key, (_, created) in list(self._created.items()):
            is_shown = key in groups and groups[key][0].state is not BatchState.HELD
            patience = 0.0 if self.system.forgets else RELEASE_SECONDS  # held again: slurmctld is back from before
            if created < began and (is_shown or key not in groups or began - created > patience):
                del self._created[key]
        handles = {job.handle for job in jobs}
        for memory in (self._cancelled, self._leaving, self._forgotten):
            for handle in memory.keys() - handles:
                del memory[handle]
        self._note_stuck(jobs)
        self._observe()
        self._clean(groups)

    async def _find_vanished(self, groups: Mapping[Key, Sequence[BatchJob]], began: float) -> None:
        """Ask the system's history for what it does not show any more.

        What that does not know either was removed by somebody else.
        """
        expected = {key: group[0] for key, group in self.jobs.items() if group[0].state is not BatchState.HELD}
        expected |= {key: job for key, (job, created) in self._created.items() if created < began}
        missing = {key: job for key, job in expected.items() if key not in groups and job.handle not in self._leaving}
        if not missing:
            return
        unasked = [job.handle for job in missing.values() if job.handle not in self._cancelled]
        history = {job.key: job for job in await self.system.ended(unasked)} if unasked else {}
        for key, job in missing.items():
            if self.system.forgets and key not in history and job.handle not in self._cancelled:
                continue  # nothing is shown of it: it is submitted again, or its agent reports
            ended = history.get(key) or replace(job, state=BatchState.ENDED, reason=Reason.DELETED, message=GONE)
            self.vanished[key] = replace(
                ended, state=BatchState.ENDED, ended=ended.ended or self.clock(), started=ended.started or job.started
            )

    def _note_stuck(self, jobs: Iterable[BatchJob]) -> None:
        stuck = {job.handle for job in jobs if job.state is BatchState.STUCK}
        now = self.clock()
        self._stuck_since = {handle: self._stuck_since.get(handle, now) for handle in stuck}

    def _observe(self) -> None:
        """Make the observations, and tell who waits if they have changed."""
        now, instant = self.clock(), time.monotonic()
        counting = {key: job for key, job in self.vanished.items() if key not in self.jobs}
        for key, group in self.jobs.items():
            job = group[0]
            is_left_over = job.state is BatchState.HELD and key not in self.submitting
            if not is_left_over and not self._is_leaving(job, instant):
                counting[key] = job
        for key, (job, _) in self._created.items():
            if key not in counting or counting[key].state is BatchState.HELD:
                counting[key] = job
        observations = [
            verdict.observe(job, now, self.settings.stuck_patience, self._stuck_since.get(job.handle))
            for job in counting.values()
        ]
        if observations != self.observations:
            self.observations = observations
            self.change.set()

    def _is_leaving(self, job: BatchJob, instant: float) -> bool:
        """Return whether a job is closed, and ends by itself or has ended."""
        since = self._leaving.get(job.handle)
        return since is not None and (job.state is BatchState.ENDED or instant - since < LEAVE_SECONDS)

    # -- what is done with them ------------------------------------------------------------------------------------

    def current(self, key: Key) -> BatchJob | None:
        """Return the job that stands for an attempt, as far as is known."""
        if key in self._created:
            return self._created[key][0]
        return next((job for job in self.jobs.get(key, ()) if verdict.has_begun(job)), None)

    def note_created(self, job: BatchJob) -> None:
        """Show a job that was released just now."""
        self._created[job.key] = job, time.monotonic()
        self._observe()

    async def all_of(self, key: Key) -> list[BatchJob]:
        """Return the jobs of an attempt.

        The system is asked if none is known.
        """
        known_jobs = list(self.jobs.get(key, ()))
        if not known_jobs and key in self._created:
            known_jobs = [self._created[key][0]]
        return known_jobs or await self.system.find(key)

    async def cancel(self, job: BatchJob) -> None:
        """Cancel a job, at most every few seconds."""
        now = time.monotonic()
        if now - self._cancelled.get(job.handle, -CANCEL_PAUSE_SECONDS) >= CANCEL_PAUSE_SECONDS:
            await self.system.cancel(job.handle)
            self._cancelled[job.handle] = now

    async def leave(self, key: Key) -> None:
        """Show an attempt no more, and remove its jobs; one that runs ends by itself within a moment."""
        self.vanished.pop(key, None)
        for job in await self.all_of(key):
            self._leaving.setdefault(job.handle, time.monotonic())
            if job.state not in verdict.LIVE:
                await self._forget(job.handle)
        self._created.pop(key, None)
        self._observe()

    # -- what should not be there ----------------------------------------------------------------------------------

    def _clean(self, groups: Mapping[Key, Sequence[BatchJob]]) -> None:
        """Remove in the background what a crash has left, and what has ended and was forgotten."""
        if self._cleaning is not None and not self._cleaning.done():
            return
        instant, created = time.monotonic(), {job.handle for job, _ in self._created.values()}
        rubbish = [
            job
            for key, group in groups.items()
            for place, job in enumerate(group)
            if key not in self.submitting
            and job.handle not in created
            and instant - self._forgotten.get(job.handle, -FORGET_PAUSE_SECONDS) >= FORGET_PAUSE_SECONDS
            and (job.state is BatchState.HELD or place > 0 or self._has_left(job))
        ]
        if rubbish:
            self._cleaning = asyncio.create_task(self._remove(rubbish))

    def _has_left(self, job: BatchJob) -> bool:
        return job.state is BatchState.ENDED and job.handle in self._leaving

    async def _remove(self, jobs: Sequence[BatchJob]) -> None:
        for job in jobs:
            try:
                if job.state is BatchState.HELD:
                    await self.system.discard(job.handle)
                    self._forgotten[job.handle] = time.monotonic()
                else:
                    await self._forget(job.handle)
            except UwsError as error:
                log.info(
                    "a batch job is not removed yet", site=self.settings.name, handle=job.handle, error=error.message
                )
                return

    async def _forget(self, handle: str) -> None:
        await self.system.forget(handle)
        self._forgotten[handle] = time.monotonic()

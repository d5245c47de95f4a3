"""The end of jobs whose time is over, and of what deleted jobs leave behind.

At its destruction time a job is deleted, or archived if its application says so (U-133); the files of deleted jobs
are removed once nothing of them runs; objects in the depot that belong to no job are found and removed; old history
is dropped. Every replica may run this: each step is compare-and-set or can be repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from uws_service.applications import Application
from uws_service.depot import Depot
from uws_service.domain.attempt import AttemptState
from uws_service.domain.errors import UwsError
from uws_service.domain.events import EventKind
from uws_service.domain.ids import id_instant, now_ms
from uws_service.domain.job import FINAL, Action, ErrorSummary, Job, apply
from uws_service.domain.record import ResultRecord
from uws_service.store import StaleJob, Store
from uws_service.store.reserve import Reserve

log = structlog.get_logger(__name__)

ACTOR = "reaper"
BATCH_SIZE = 200
OLD_USES = 30
"""Half-lives after which what an owner has used counts for nothing."""


class Reaper:
    """Ends jobs that are due and removes files, every few seconds.

    Parameters
    ----------
    interval, orphan_interval
        Seconds between two rounds, and between two searches of the whole depot.
    orphan_age
        Seconds that an object of no job must be old before it is removed.
    event_retention
        Seconds for which events are kept.
    reserve
        Room on the disk, taken again once there is some.
    """

    def __init__(
        self,
        store: Store,
        depot: Depot,
        applications: Mapping[str, Application],
        *,
        interval: float,
        orphan_interval: float,
        orphan_age: float,
        event_retention: int,
        reserve: Reserve | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.store = store
        self.depot = depot
        self.applications = applications
        self.interval = interval
        self.orphan_interval = orphan_interval
        self.orphan_age = orphan_age
        self.event_retention = event_retention
        self.clock = clock
        self.reserve = reserve
        self._suspects: dict[str, float] = {}

    async def run(self) -> None:
        """Loop until cancelled.

        Retry in the next round what fails.
        """
        next_search = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self.reap()
                await self.sweep()
                if self.reserve is not None:
                    self.reserve.hold()
                if loop.time() >= next_search:
                    await self.search_orphans()
                    await self.store.history.trim(self.clock() - self.event_retention * 1000)
                    await self.store.queue.trim_uses(self.clock() - int(OLD_USES * self.store.attempts.half_life_ms))
                    next_search = loop.time() + self.orphan_interval
            except UwsError as error:
                log.warning("reaper round failed", error=error.message)
            except Exception:
                log.exception("reaper round failed")
            await asyncio.sleep(self.interval)

    async def reap(self) -> None:
        """Delete or archive every job that is due."""
        while due := await self.store.due(self.clock(), BATCH_SIZE):
            ended = 0
            for job in due:
                try:
                    ended += await self._end(job)
                except StaleJob:
                    continue
            if not ended:
                return

    async def _end(self, job: Job) -> bool:
        """End a job; return whether it is no longer due."""
        application = self.applications.get(job.application)
        if application is None or not application.archive or not job.listed:
            await self.store.delete(job, actor=ACTOR, origin="")
            log.info("job destroyed", job=job.id)
            return True
        attempts = await self.store.attempts.of(job.id)
        if job.phase not in FINAL:
            error = ErrorSummary("The job's destruction time came before it had ended.")
            after = apply(job, Action.ABORT, self.clock(), error=error)
            unwanted = [replace(attempt, wanted=False) for attempt in attempts]
            await self.store.save(job, after, kind=EventKind.PHASE, actor=ACTOR, attempts=unwanted)
            return False
        if any(attempt.state is not AttemptState.CLOSED for attempt in attempts):
            return False
        archived = replace(apply(job, Action.ARCHIVE, self.clock()), destruction=None)
        # The sweep removes the files, also when the depot can't be reached just now.
        results = tuple(ResultRecord(item.id, item.media_type, item.size, item.sha256) for item in job.results)
        archived = replace(archived, info=replace(job.info.provenance(), results=results, archived=self.clock()))
        await self.store.save(job, archived, kind=EventKind.PHASE, actor=ACTOR, discard=True)
        log.info("job archived", job=job.id)
        return True

    async def sweep(self) -> None:
        """Remove the files of deleted and archived jobs."""
        while job_ids := await self.store.garbage.removable(BATCH_SIZE):
            for job_id in job_ids:
                await self.depot.delete_prefix(f"jobs/{job_id}/")
                await self.store.garbage.remove(job_id)

    async def search_orphans(self) -> None:
        """Remove objects that belong to no job.

        A service that was killed during an upload leaves them.

        Their age is measured by the depot's own clock. An object goes only if it was too old at an earlier search
        too: whatever a clock does, uploads in progress are renewed in between, in whichever process.
        """
        batch: list[str] = []
        suspects: dict[str, float] = {}
        oldest = self.clock() - int(self.orphan_age * 1000)
        now = await self.depot.now()
        async for prefix in self.depot.list_prefixes("jobs/"):
            job_id = prefix.rstrip("/").rpartition("/")[2]
            created = id_instant(job_id)
            if created is not None and created < oldest:
                batch.append(job_id)
            if len(batch) >= BATCH_SIZE:
                suspects |= await self._remove_orphans(batch, now)
                batch = []
        if batch:
            suspects |= await self._remove_orphans(batch, now)
        self._suspects = suspects

    async def _remove_orphans(self, ids: list[str], now: float) -> dict[str, float]:
        """Remove orphans that are confirmed.

        Return the other suspects.

        The value is the (monotonic) time from which an id is suspect.
        """
        existing = await self.store.garbage.referenced(ids)
        confirmed = 4 * self.depot.renewal
        suspects = {}
        for job_id in ids:
            if job_id in existing or not await self._is_old(job_id, now):
                continue
            since = self._suspects.get(job_id, time.monotonic())
            if time.monotonic() - since < confirmed:
                suspects[job_id] = since
            elif not await self.store.garbage.referenced([job_id]):
                log.info("removing objects of no job", job=job_id)
                await self.depot.delete_prefix(f"jobs/{job_id}/")
        return suspects

    async def _is_old(self, job_id: str, now: float) -> bool:
        changed = await self.depot.newest(f"jobs/{job_id}/")
        return changed is None or now - changed > max(self.orphan_age, 4 * self.depot.renewal)

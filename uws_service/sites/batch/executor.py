"""One batch system as a site: batch jobs are created, looked at and removed there.

`watch` knows what is there; here attempts are handed over and ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from uws_service import telemetry
from uws_service.depot import Depot
from uws_service.domain.attempt import Attempt, Launch, Observation, Seen
from uws_service.domain.errors import NotFound, UwsError
from uws_service.sites.batch import verdict
from uws_service.sites.batch.collection import collect_reported
from uws_service.sites.batch.driver import BatchJob, BatchState, BatchSystem, Key
from uws_service.sites.batch.settings import BatchSite
from uws_service.sites.batch.spec import batch_spec
from uws_service.sites.batch.watch import Watch
from uws_service.sites.executor import Collected, Executor, Health, NotNow, live_key
from uws_service.sites.kind import IssueToken

log = structlog.get_logger(__name__)

RIVAL_ROUNDS = 3
"""How often rivals are looked for before an attempt waits."""


class BatchExecutor(Executor):
    """Runs attempts as batch jobs.

    Parameters
    ----------
    site
        The site's settings.
    system
        The batch system.
    depot
        Where results and logs go, by way of the service.
    issue_ticket
        Makes what an agent proves by who it is.
    clock
        The present instant in milliseconds.
    """

    streams: tuple[str, ...] = ("stdout", "stderr")

    def __init__(
        self,
        site: BatchSite,
        system: BatchSystem,
        depot: Depot,
        issue_ticket: IssueToken,
        clock: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self.site = site.name
        self.settings = site
        self.system = system
        self.depot = depot
        self.issue_ticket = issue_ticket
        self.clock = clock
        self.watch = Watch(site, system, clock)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._down_since: float | None = time.time()
        self._problem = "The site was not looked at yet."

    @property
    def capacity(self) -> int:  # type: ignore[override]  # it changes with what the system has begun
        """Return how many attempts may be at the site now: a bulk never stands whole in its queue."""
        return self.watch.room

    # -- the site --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to look at the system."""
        await self.system.open()
        self._task = asyncio.create_task(self._look_on())

    async def stop(self) -> None:
        """Look no more; the batch jobs go on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.watch.stop()
        self._down_since = self._down_since or time.time()

    async def close(self) -> None:
        """End the connections."""
        await self.system.close()

    def health(self) -> Health:
        """Return whether the system can be used."""
        return Health(self._down_since is None, int((self._down_since or 0) * 1000), self._problem)

    async def _look_on(self) -> None:
        """Look at the system every few seconds, or when something was changed there."""
        while True:
            began = time.monotonic()
            self._wake.clear()
            try:
                await self.watch.look()
                self._up()
            except UwsError as error:
                self._down(error.message)
            except Exception as error:
                log.exception("looking at a batch system failed", site=self.site)
                self._down(repr(error))
            duration = time.monotonic() - began
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.poll):
                    await self._wake.wait()
            await asyncio.sleep(min(0.2 + 2 * duration, self.settings.poll))  # many changes make one look

    def _up(self) -> None:
        if self._down_since is not None:
            log.info("site is reachable", site=self.site)
            self._down_since, self._problem = None, ""
            self.watch.change.set()

    def _down(self, problem: str) -> None:
        if self._down_since is None:
            log.warning("site can't be reached", site=self.site, error=problem)
            self._down_since = time.time()
            self.watch.change.set()
        self._problem = problem

    async def observe(self) -> list[Observation]:
        """Return everything of ours at the site, as the last look has shown it."""
        self.watch.change.clear()
        return self.watch.observations

    async def wait_change(self, timeout: float) -> None:
        """Wait for a change at the site.

        Return after so many seconds in any case.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.watch.change.wait()

    # -- attempts --------------------------------------------------------------------------------------------------

    async def submit(self, launch: Launch) -> None:
        """Create the batch job so that it can't run, look for rivals, and release it.

        Raises
        ------
        Refused
            The system will never take it.
        NotNow
            Not now.
        """
        key = launch.job_id, launch.number
        if self.watch.current(key) is not None:
            return
        began = time.perf_counter()
        self.watch.submitting.add(key)
        try:
            spec = batch_spec(launch, self.settings, self.issue_ticket(self.site, *key))
            handle = await self.system.submit_held(spec)
            if not await self._yield_to_rivals(key, handle):
                await self.system.release(handle, spec)
                self.watch.note_created(BatchJob(key, handle, BatchState.QUEUED, submitted=self.clock()))
        finally:
            self.watch.submitting.discard(key)
            self._wake.set()
        telemetry.SITE_CREATE.labels(self.site).observe(time.perf_counter() - began)

    async def _yield_to_rivals(self, key: Key, handle: str) -> bool:
        """Return whether another job of the attempt was released: this one is removed then.

        Other jobs that wait for their release are of a service that has died, and then removed after the next look, or
        of one that is about to find this one: both agree on the oldest, and a removed job can't be released.

        Raises
        ------
        NotNow
            An older one is about to be released.
        """
        for _ in range(RIVAL_ROUNDS):
            jobs = await self.system.find(key)
            rivals = [job for job in jobs if job.handle != handle and (job.state in verdict.OPEN or job.starts)]
            if not rivals:
                return False
            own = next((job for job in jobs if job.handle == handle), None)
            if any(verdict.has_begun(rival) for rival in rivals):
                await self.system.discard(handle)
                return True
            if not verdict.wins(handle, rivals, own):
                await self.system.discard(handle)
                break
            for rival in rivals:  # some may be released just now: they are looked at again
                await self.system.discard(rival.handle)
        raise NotNow(f"site {self.site}: another job of this attempt is being handed over", retry_after=1)

    async def kill(self, job_id: str, number: int) -> None:
        """Cancel the batch job.

        Its agent ends the command, and hands over what is complete.
        """
        for job in await self.watch.all_of((job_id, number)):
            await self.watch.cancel(job)
        self._wake.set()

    async def forget(self, job_id: str, number: int) -> None:
        """Remove the batch job.

        One whose agent has reported ends by itself within a moment, and is removed then.
        """
        await self.watch.leave((job_id, number))
        self._wake.set()

    async def collect(self, observation: Observation, attempt: Attempt) -> Collected:
        """Return what the agent has reported.

        Its own words, if it could not.
        """
        for name in self.streams:
            await self.depot.delete(live_key(attempt.job_id, attempt.number, name))
        collected = await collect_reported(self.depot, observation, attempt)
        if attempt.report is None and observation.seen is Seen.FAILED and observation.handle:
            with contextlib.suppress(UwsError):
                words = (await self.system.log(observation.handle)).decode("utf-8", "replace").strip()
                if words:
                    log.warning("agent of a lost attempt", job=attempt.job_id, attempt=attempt.number, words=words)
        return collected

    async def read_log(self, job_id: str, number: int, name: str) -> bytes | None:
        """Return the end of a log, as its agent has last handed it over."""
        if name not in self.streams:
            return None
        try:
            return b"".join([chunk async for chunk in self.depot.read(live_key(job_id, number, name))])
        except NotFound:
            return None

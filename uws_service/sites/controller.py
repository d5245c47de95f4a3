"""The loop of one site.

It makes the site agree with the attempt rows, and the job rows with what the site shows.

What to do is decided in `decisions` and written by `recorder`; here rows and observations are read. Only what has
changed is looked at in a round, so that thousands of attempts at a site cost little while nothing happens to them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from uws_service import telemetry
from uws_service.applications import Application
from uws_service.auth.data_tokens import DataAccess
from uws_service.domain.attempt import Attempt, AttemptState, Observation, Seen
from uws_service.domain.decisions import Close, Kill, Submit, decide, decide_unreachable
from uws_service.domain.errors import UwsError
from uws_service.domain.ids import now_ms
from uws_service.domain.reports import as_reported
from uws_service.sites.executor import Executor, Health
from uws_service.sites.lake import Lake
from uws_service.sites.live import Key, LiveAttempts
from uws_service.sites.moves import move_attempt
from uws_service.sites.network import Margin, Network, SiteQueue
from uws_service.sites.recorder import Postponed, Recorder
from uws_service.sites.removals import Removals
from uws_service.sites.settings import Absence
from uws_service.sites.site_status import SiteStatus
from uws_service.sites.submission import Submitter
from uws_service.store import Store

log = structlog.get_logger(__name__)

RECHECK_MS = 30_000
"""An attempt of which there is no news is looked at again after this time."""
SOON_MS = 1_000
"""The same for one that is about to end."""
MOVE_PAGE = 200
BURST_SECONDS = 0.2
"""So much of the pauses between rounds may be owed to other work: a job alone waits for none of them."""
SUBMISSIONS_AT_ONCE = 64
"""So many are handed to the site at a time, so that news of the others is not kept waiting."""


class Controller:
    """Runs one site until it is stopped.

    Parameters
    ----------
    store, executor
        The rows, and the site.
    applications
        What the jobs run, by name.
    network
        What it shares with the other sites: what waits for any of them, and the choice among them.
    clock
        The present instant in milliseconds.
    interval
        Seconds after which a round follows although nothing has happened.
    absence
        How long the site may be silent.
    data
        The jobs' access to data, which must be good when a job is handed over.
    notice
        Called when files can't be stored: why that is, or nothing.
    lake
        Takes results that applications want in the data lake.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        applications: Mapping[str, Application],
        network: Network,
        *,
        clock: Callable[[], int] = now_ms,
        interval: float = 1.0,
        absence: Absence | None = None,
        data: DataAccess | None = None,
        notice: Callable[[], str] = str,
        lake: Lake | None = None,
    ) -> None:
        self.store = store
        self.executor = executor
        self.applications = applications
        self.placer = network.placer
        self.queue = SiteQueue(network, executor.site)
        self.clock = clock
        self.interval = interval
        self.absence = absence or Absence()
        self.status = SiteStatus(store, executor.site)
        self.live = LiveAttempts(store, executor.site)
        self.removals = Removals(executor)
        self.recorder = Recorder(store, executor, applications, self.placer, clock, self._closed, notice, lake)
        self.submitter = Submitter(store, executor, applications, self.recorder, self.live, clock, data, network)
        self.may_drive: Callable[[], bool] = lambda: True
        """Whether the lease is certainly held now."""
        self._has_observed = False
        """Whether the last round has asked the site, which takes its news."""
        self.last_round: float | None = None
        """Monotonic time of the last complete round, for the readiness probe."""

    async def run(self) -> None:
        """Loop until cancelled.

        What the database or the site refuses is tried again.
        """
        self.live.follow()
        removing = asyncio.create_task(self.removals.run())
        debt = 0.0
        try:
            while True:
                self.live.step_ended.clear()
                began = time.monotonic()
                try:
                    await self._round()
                    self.last_round = time.monotonic()
                    telemetry.CONTROLLER_ROUND.labels(self.executor.site).observe(self.last_round - began)
                except UwsError as error:
                    log.warning("controller round failed", site=self.executor.site, error=error.message)
                except Exception:  # such as a fault in a kind of another package: other rounds may succeed
                    log.exception("controller round failed", site=self.executor.site)
                duration = time.monotonic() - began
                await self._pause()
                # However much happens, other work in this process gets most of the time; now and then a few rounds
                # may follow each other at once.
                debt = max(0.0, debt + 4 * duration - (time.monotonic() - began))
                await asyncio.sleep(max(0.0, debt - BURST_SECONDS))
                debt = min(debt, BURST_SECONDS)
        finally:
            removing.cancel()
            await self.live.stop()
            await asyncio.gather(removing, return_exceptions=True)

    async def _pause(self) -> None:
        """Wait for news, or until the interval is over.

        News comes from the store, the site, or a step that has ended.
        """
        waits = [
            asyncio.ensure_future(self.store.feed.wait_any(self.interval)),
            asyncio.ensure_future(self.live.step_ended.wait()),
        ]
        if self._has_observed:  # else its news are still there, and would end each pause at once
            waits.append(asyncio.ensure_future(self.executor.wait_change(self.interval)))
        try:
            await asyncio.wait(waits, timeout=self.interval, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    # -- one round -------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        """Compare the site with the rows once."""
        self._has_observed = False
        health = self.executor.health()
        await self.status.record(health, self.clock())
        await self.live.read()
        if not self.may_drive():  # the attempts that were read may be those of another driver
            return
        now = self.clock()
        if not health.reachable:
            await self._unreachable(health, now)
            return
        self._has_observed = True
        observations = {
            (observation.job_id, observation.number): observation for observation in await self.executor.observe()
        }
        for attempt, observation in self.live.due(observations, now):
            self.live.start_step((attempt.job_id, attempt.number), self._advance(attempt, observation))
        for key in [key for key in observations if key not in self.live]:
            await self._remove_orphan(key, observations[key])
        self.removals.trim(observations.keys())
        await self._begin_waiting(now)

    async def _begin_waiting(self, now: int) -> None:
        """Hand over as many waiting attempts as the site has room for."""
        at_site, leaving = self.live.occupied()
        free = min(self.executor.capacity - at_site - leaving, SUBMISSIONS_AT_ONCE - self.submitter.current)
        if free > 0:
            margin = self.executor.margin
            held = Margin(margin, self.live.not_begun()) if margin is not None else None
            for taken in await self.queue.next(free, now, held):
                key = taken.attempt.job_id, taken.attempt.number
                self.live.start_step(key, self.submitter.begin(taken))
        telemetry.SITE_RUNNING.labels(self.executor.site).set(at_site)

    async def _remove_orphan(self, key: Key, observation: Observation) -> None:
        """Remove what has no live attempt.

        Its row is read again first.
        """
        if self.removals.has(key):
            return
        rows = [attempt for attempt in await self.store.attempts.of(key[0]) if attempt.number == key[1]]
        if rows and rows[0].state is not AttemptState.CLOSED and rows[0].site == self.executor.site:
            return
        log.info("removing what is left of an attempt", job=key[0], attempt=key[1], site=self.executor.site)
        self.removals.add(key, running=observation.seen in (Seen.STARTING, Seen.RUNNING, Seen.SUSPENDED))

    def _closed(self, key: Key) -> None:
        """Remove an attempt whose end is recorded."""
        self.live.drop(key)
        self.removals.add(key, running=False)

    # -- a site that does not answer -------------------------------------------------------------------------------

    async def _unreachable(self, health: Health, now: int) -> None:
        """Look after the jobs of a site that is away.

        Those that never came there go to other sites.
        """
        for attempt in self.live.due_blind(now):
            self.live.start_step((attempt.job_id, attempt.number), self._advance_blind(attempt))
        if now - self.status.since >= self.absence.unknown:
            for attempt in await self.store.attempts.waiting_at(self.executor.site, MOVE_PAGE):
                self.live.start_step((attempt.job_id, attempt.number), self._move(attempt, health))

    async def _advance_blind(self, attempt: Attempt) -> None:
        """Carry out the next step of an attempt that can't be observed."""
        job = await self.store.get(attempt.job_id)
        now = self.clock()
        step = decide_unreachable(
            job,
            attempt,
            self.status.since,
            now,
            attempts=self._max_attempts(attempt),
            unknown_ms=self.absence.unknown,
            lost_ms=self.absence.lost,
        )
        if step is None or job is None:
            self.live.rest(attempt, None, now + SOON_MS)
            return
        answer = await self.recorder.record(job, attempt, None, step)
        if isinstance(answer, Postponed):
            self.live.rest(attempt, None, answer.until)

    async def _move(self, attempt: Attempt, health: Health) -> None:
        """Find another site for a waiting job.

        If there is none it waits here.
        """
        if await move_attempt(self.store, self.placer, self.applications, attempt, "can't be reached"):
            log.info("a job left a site that does not answer", site=self.executor.site, why=health.message)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _max_attempts(self, attempt: Attempt) -> int:
        application = self.applications.get(attempt.application)
        return application.limits.attempts if application is not None else 1

    async def _advance(self, attempt: Attempt, shown: Observation | None) -> None:
        """Carry out the next step of one live attempt, of which the site shows this."""
        job = await self.store.get(attempt.job_id)
        now = self.clock()
        observation = as_reported(attempt, shown)
        step = decide(job, attempt, observation, now, attempts=self._max_attempts(attempt))
        match step:
            case None:
                until = now + (SOON_MS if observation is not None and observation.gone else RECHECK_MS)
                if job is not None and job.duration and job.started is not None:
                    until = min(until, job.started + job.duration * 1000)
                self.live.rest(attempt, shown, until)
                return
            case Submit():
                await self.submitter.submit(attempt)
            case Kill():
                await self.executor.kill(attempt.job_id, attempt.number)
                self.live.rest(attempt, shown, now + SOON_MS)
                return
            case Close():
                await self.recorder.close(attempt, observation)
            case _ if job is not None:
                answer = await self.recorder.record(job, attempt, observation, step)
                if isinstance(answer, Postponed):
                    self.live.rest(attempt, shown, answer.until)
                    return
        self.live.touch(attempt.job_id)

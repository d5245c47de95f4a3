"""The loop of one site: it makes the site agree with the attempt rows, and the job rows with what the site shows.

What to do is decided in ``deciding`` and recorded in ``outcomes``; here rows and observations are read. Only what has
changed is looked at in a round, so that thousands of attempts at a site cost little while nothing happens to them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import structlog

from uws_service import telemetry
from uws_service.applications import Application, check, launch
from uws_service.applications.provenance import versions
from uws_service.auth.data_tokens import DataAccess, tell_waiting
from uws_service.domain.attempt import Attempt, AttemptState, Observation, Reason, Seen
from uws_service.domain.decisions import Close, Kill, Submit, decide, decide_unreachable
from uws_service.domain.errors import Forbidden, ServiceUnavailable, StorageFull, UsageError, UwsError
from uws_service.domain.events import EventKind
from uws_service.domain.ids import now_ms
from uws_service.domain.job import FINAL
from uws_service.placement.placer import Placer
from uws_service.sites.executor import Executor, Health, NotNow, Refused
from uws_service.sites.recorder import ACTOR, Outcomes
from uws_service.sites.settings import Absence
from uws_service.store import SiteState, StaleJob, Store

log = structlog.get_logger(__name__)

RECHECK_MS = 30_000
"""An attempt of which there is no news is looked at again after this time."""
FULL_SECONDS = 10.0
"""All live attempts are read from the store at least this often; with few of them in every round."""
FEW = 200
SAY_SECONDS = 10.0
"""How often the site's state is recorded while it does not change."""
MOVE_PAGE = 200
BEGIN_AT_ONCE = 64
"""So many are handed to the site at a time, so that news of the others is not kept waiting."""
SWEEPERS = 4
"""So many at a time are removed at the site: nobody waits for it, and those that are to start go first."""
REMOVE_SECONDS = 10.0
"""What should not be at a site is removed again if it is still there after this time."""


class _Quiet(NamedTuple):
    """What a look at an attempt found when there was nothing to do, and when to look again."""

    attempt: Attempt
    seen: Observation | None
    until: int


Key = tuple[str, int]


class Controller:
    """Runs `decide` for one site until it is stopped.

    Parameters
    ----------
    store, executor
        The rows, and the site.
    applications
        What the jobs run, by name.
    placer
        Finds another site for what can't stay at this one.
    clock
        The present instant in milliseconds.
    absence
        How long the site may be silent.
    data
        The jobs' access to data, which must be good when a job is handed over.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        applications: Mapping[str, Application],
        placer: Placer,
        *,
        clock: Callable[[], int] = now_ms,
        interval: float = 1.0,
        absence: Absence | None = None,
        data: DataAccess | None = None,
    ) -> None:
        self.store = store
        self.executor = executor
        self.applications = applications
        self.placer = placer
        self.clock = clock
        self.interval = interval
        self.absence = absence or Absence()
        self.data = data
        self._busy: dict[Key, asyncio.Task[None]] = {}
        self._beginning = 0
        self._wake = asyncio.Event()
        self.outcomes = Outcomes(store, executor, applications, placer, clock, self._over)
        self._live: dict[Key, Attempt] = {}
        self._full = -FULL_SECONDS
        self._touched: set[str] = set()
        self._quiet: dict[Key, _Quiet] = {}
        self._removed: dict[Key, float] = {}
        self._leaving: dict[Key, bool] = {}
        """What is to be removed at the site, and whether it may still run."""
        self._sweeping: set[Key] = set()
        self._leaves = asyncio.Event()
        self._said: tuple[float, bool] = (-SAY_SECONDS, False)
        self._since = 0
        self.driver = ""
        """The holder of the site's lease, if there is one: it must be held when an attempt begins."""
        self.may_drive: Callable[[], bool] = lambda: True
        """Whether the lease is certainly held now."""
        self.last_round: float | None = None
        """Monotonic time of the last complete round, for the readiness probe."""

    async def run(self) -> None:
        """Loop until cancelled; what the database or the site refuses is tried again."""
        self._touched = self.store.feed.follow()
        self._full = -FULL_SECONDS
        sweepers = [asyncio.create_task(self._sweep()) for _ in range(SWEEPERS)]
        try:
            while True:
                self._wake.clear()
                began = time.monotonic()
                try:
                    await self._round()
                    self.last_round = time.monotonic()
                    telemetry.CONTROLLER_ROUND.labels(self.executor.site).observe(self.last_round - began)
                except UwsError as error:
                    log.warning("controller round failed", site=self.executor.site, error=error.message)
                spent = time.monotonic() - began
                await self._pause()
                # However much happens, other work in this process gets most of the time.
                await asyncio.sleep(max(0.0, 4 * spent - (time.monotonic() - began)))
        finally:
            self.store.feed.unfollow(self._touched)
            ending = [*self._busy.values(), *sweepers]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _pause(self) -> None:
        """Until the store, the site or a finished step has news, or the interval is over."""
        waits = [
            asyncio.ensure_future(self.store.feed.wait_any(self.interval)),
            asyncio.ensure_future(self.executor.wait_change(self.interval)),
            asyncio.ensure_future(self._wake.wait()),
        ]
        try:
            await asyncio.wait(waits, timeout=self.interval, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    # -- one round -------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        """One look at everything that is at the site or should be."""
        site = self.executor.site
        health = self.executor.health()
        await self._say(health)
        await self._read_live()
        if not self.may_drive():  # the attempts that were read may be those of another driver
            return
        now = self.clock()
        if not health.reachable:
            await self._unreachable(health, now)
            return
        observed = {(seen.job_id, seen.number): seen for seen in await self.executor.observe()}
        for key, attempt in self._live.items():
            if not self._is_quiet(key, attempt, observed.get(key), now):
                self._dispatch(key, self._advance(attempt, observed.get(key)))
        for key in observed.keys() - self._live.keys() - self._busy.keys():
            await self._orphan(key, observed[key])
        self._removed = {key: at for key, at in self._removed.items() if key in observed or key in self._leaving}
        taken = sum(1 for attempt in self._live.values() if attempt.state is not AttemptState.WAITING)
        free = self.executor.capacity - taken - sum(1 for key in self._busy if key not in self._live)
        free = min(free, BEGIN_AT_ONCE - self._beginning)
        if free > 0:
            for attempt in await self.store.attempts.next_waiting(site, free, now):
                self._dispatch((attempt.job_id, attempt.number), self._begin(attempt))
        telemetry.SITE_RUNNING.labels(site).set(taken)

    def _is_quiet(self, key: Key, attempt: Attempt, seen: Observation | None, now: int) -> bool:
        """Whether nothing has changed since a look found nothing to do; mostly they are the very same objects."""
        quiet = self._quiet.get(key)
        if quiet is None or quiet.until <= now:
            return False
        same = quiet.attempt is attempt or quiet.attempt == attempt
        return same and (quiet.seen is seen or quiet.seen == seen)

    async def _read_live(self) -> None:
        """The attempts at the site: all of them, or only those of jobs of which there is news."""
        touched = set(self._touched)
        self._touched.difference_update(touched)
        for key in [key for key in self._quiet if key[0] in touched]:
            del self._quiet[key]
        if len(self._live) <= FEW or time.monotonic() - self._full >= FULL_SECONDS:
            rows = await self.store.attempts.live(self.executor.site)
            self._live = {(row.job_id, row.number): row for row in rows}
            self._quiet = {key: quiet for key, quiet in self._quiet.items() if key in self._live}
            self._full = time.monotonic()
            return
        for job_id in touched:
            await self._read_one(job_id)

    async def _read_one(self, job_id: str) -> None:
        for row in await self.store.attempts.of(job_id):
            key = row.job_id, row.number
            here = row.site == self.executor.site and row.state is not AttemptState.CLOSED
            if here and (row.state is not AttemptState.WAITING or not row.wanted):
                self._live[key] = row
            else:
                self._live.pop(key, None)

    async def _say(self, health: Health) -> None:
        """Record how the site is, for whoever places jobs."""
        site = self.executor.site
        at, said = self._said
        changed = said != health.reachable or self._since == 0
        if not changed and time.monotonic() - at < SAY_SECONDS:
            return
        now = self.clock()
        if changed:
            known = (await self.store.site_states.all()).get(site)
            same = known is not None and known.reachable == health.reachable
            self._since = known.since if known is not None and same else now
            if not health.reachable and not same and health.since:
                self._since = health.since
        await self.store.site_states.put(SiteState(site, health.reachable, self._since, health.message[:500], now))
        self._said = (time.monotonic(), health.reachable)
        waiting, _ = (await self.store.attempts.loads()).get(site, (0, 0))
        telemetry.SITE_WAITING.labels(site).set(waiting)
        telemetry.SITE_REACHABLE.labels(site).set(1 if health.reachable else 0)

    async def _orphan(self, key: Key, seen: Observation) -> None:
        """Something at the site for which there is no live attempt: read its row again, then remove it."""
        now = time.monotonic()
        if key in self._leaving or now - self._removed.get(key, -REMOVE_SECONDS) < REMOVE_SECONDS:
            return
        rows = [attempt for attempt in await self.store.attempts.of(key[0]) if attempt.number == key[1]]
        if rows and rows[0].state is not AttemptState.CLOSED and rows[0].site == self.executor.site:
            return
        log.info("removing what is left of an attempt", job=key[0], attempt=key[1], site=self.executor.site)
        self._remove(key, running=seen.seen in (Seen.STARTING, Seen.RUNNING, Seen.SUSPENDED))

    # -- removing --------------------------------------------------------------------------------------------------

    def _over(self, key: Key) -> None:
        """The end of an attempt is recorded: nothing of it shall be left at the site."""
        self._quiet.pop(key, None)
        self._live.pop(key, None)
        self._remove(key, running=False)

    def _remove(self, key: Key, *, running: bool) -> None:
        self._removed[key] = time.monotonic()  # it may be seen for a while
        self._leaving[key] = running
        self._leaves.set()

    async def _sweep(self) -> None:
        """Remove one after the other; what can't be removed now, the search for orphans finds later."""
        while True:
            key = next((one for one in self._leaving if one not in self._sweeping), None)
            if key is None:
                self._leaves.clear()
                await self._leaves.wait()
                continue
            self._sweeping.add(key)
            try:
                if self._leaving[key]:
                    await self.executor.kill(*key)
                else:
                    await self.executor.forget(*key)
            except UwsError as error:
                log.info("not removed yet", job=key[0], attempt=key[1], error=error.message)
            except Exception:
                log.exception("removal failed", job=key[0], attempt=key[1])
            finally:
                self._removed[key] = time.monotonic()
                self._leaving.pop(key, None)
                self._sweeping.discard(key)

    def _dispatch(self, key: Key, work: Any) -> None:
        """One step of one attempt at a time; attempts do not wait for each other."""
        if key in self._busy:
            work.close()
            return

        async def guarded() -> None:
            try:
                await work
            except (StaleJob, Forbidden):
                self._touched.add(key[0])  # the job moved on; the next round sees how
            except UwsError as error:
                log.warning("step failed", job=key[0], attempt=key[1], error=error.message)
                await asyncio.sleep(1)
            except Exception:
                log.exception("step failed", job=key[0], attempt=key[1])
                await asyncio.sleep(1)
            finally:
                del self._busy[key]
                self._wake.set()

        self._busy[key] = asyncio.create_task(guarded())

    # -- a site that does not answer -------------------------------------------------------------------------------

    async def _unreachable(self, health: Health, now: int) -> None:
        """Say of the jobs there what can be said, and take away what never came there."""
        for key, attempt in self._live.items():
            quiet = self._quiet.get(key)
            if quiet is None or not self._is_quiet(key, attempt, quiet.seen, now):
                self._dispatch(key, self._advance_blind(attempt))
        if now - self._since >= self.absence.unknown:
            for attempt in await self.store.attempts.waiting_at(self.executor.site, MOVE_PAGE):
                self._dispatch((attempt.job_id, attempt.number), self._move(attempt, health))

    async def _advance_blind(self, attempt: Attempt) -> None:
        job = await self.store.get(attempt.job_id)
        now = self.clock()
        step = decide_unreachable(
            job,
            attempt,
            self._since,
            now,
            attempts=self._attempts(attempt),
            unknown_ms=self.absence.unknown,
            lost_ms=self.absence.lost,
        )
        if step is None or job is None:
            self._quiet[attempt.job_id, attempt.number] = _Quiet(attempt, None, now + 1000)
            return
        again = await self.outcomes.record(job, attempt, None, step)
        if again is not None:
            self._quiet[attempt.job_id, attempt.number] = _Quiet(attempt, None, again)

    async def _move(self, attempt: Attempt, health: Health) -> None:
        """Another site for a job that was never handed to this one; none: it waits here."""
        job = await self.store.get(attempt.job_id)
        application = self.applications.get(attempt.application)
        if job is None or application is None or job.phase in FINAL:
            return
        try:
            site, _ = await self.placer.choose(job, application, group=attempt.group, without=attempt.site)
        except UsageError:
            return
        if not (await self.placer.reachable()).get(site):
            return
        reason = f"moved here because {attempt.site} can't be reached"
        info = replace(
            job.info,
            site=site,
            site_reason=reason,
            waiting=f"waiting for a free slot at {site}",
            versions=versions(application, image=self.placer.runs_containers(site)),
        )
        await self.store.save(job, replace(job, info=info), kind=EventKind.SITE, actor=ACTOR, move=(attempt, site))
        log.info("job moved", job=job.id, attempt=attempt.number, to=site, why=health.message)

    # -- handing over ----------------------------------------------------------------------------------------------

    async def _begin(self, attempt: Attempt) -> None:
        """Record that the attempt goes to the site, then hand it over: in this order, so that nothing is lost."""
        now = self.clock()
        self._beginning += 1
        try:
            if not await self.store.attempts.begin(attempt, now, driver=self.driver):
                return
            submitted = replace(attempt, state=AttemptState.SUBMITTED, submitted=now)
            self._live[attempt.job_id, attempt.number] = submitted
            if await self._has_data(submitted):
                await self._submit(submitted)
        finally:
            self._beginning -= 1

    async def _has_data(self, attempt: Attempt) -> bool:
        """Whether the job's access to data is good; if its issuer is down the job waits on, and says so."""
        if self.data is None:
            return True
        try:
            await self.data.held(attempt.job_id)
        except ServiceUnavailable as error:
            await tell_waiting(self.store, attempt.job_id, error.message)
            await self.store.attempts.give_back(attempt, self.clock() + (error.retry_after or 1) * 1000)
            self._live.pop((attempt.job_id, attempt.number), None)
            return False
        except UwsError as error:
            job = await self.store.get(attempt.job_id)
            if job is not None and job.phase not in FINAL:
                await self.outcomes.fail(job, attempt, None, Reason.STAGE_IN, error.message)
            return False
        return True

    async def _submit(self, attempt: Attempt) -> None:
        job = await self.store.get(attempt.job_id)
        if job is None or job.phase in FINAL:
            self._touched.add(attempt.job_id)
            return
        application = self.applications.get(job.application)
        if application is None:
            message = f"There is no application {job.application!r} now."
            await self.outcomes.fail(job, attempt, None, Reason.COMMAND, message)
            return
        try:
            plan = launch(application, job, check(application, job.parameters), attempt.number)
        except UsageError as error:  # the descriptor changed after RUN
            await self.outcomes.fail(job, attempt, None, Reason.USAGE, error.message)
            return
        try:
            await self.executor.submit(replace(plan, group=attempt.group))
        except NotNow as error:
            if error.sent:
                raise
            # It certainly is not there: another site may take it, if this one stays away.
            await self.store.attempts.give_back(attempt, self.clock() + (error.retry_after or 1) * 1000)
            self._live.pop((attempt.job_id, attempt.number), None)
            raise
        except (ServiceUnavailable, StorageFull):
            raise
        except Refused as error:
            await self.outcomes.fail(job, attempt, None, Reason.REFUSED, error.message)
            return
        except UwsError as error:
            await self.outcomes.fail(job, attempt, None, Reason.STAGE_IN, error.message)
            return
        telemetry.QUEUE_WAIT.labels(job.application).observe((self.clock() - (job.queued or job.created)) / 1000)

    # -- carrying out ----------------------------------------------------------------------------------------------

    def _attempts(self, attempt: Attempt) -> int:
        application = self.applications.get(attempt.application)
        return application.limits.attempts if application is not None else 1

    async def _advance(self, attempt: Attempt, seen: Observation | None) -> None:
        """Carry out the next step of one live attempt."""
        job = await self.store.get(attempt.job_id)
        now = self.clock()
        step = decide(job, attempt, seen, now, attempts=self._attempts(attempt))
        match step:
            case None:
                until = now + (1000 if seen is not None and seen.gone else RECHECK_MS)
                if job is not None and job.duration and job.started is not None:
                    until = min(until, job.started + job.duration * 1000)
                self._quiet[attempt.job_id, attempt.number] = _Quiet(attempt, seen, until)
                return
            case Submit():
                await self._submit(attempt)
            case Kill():
                await self.executor.kill(attempt.job_id, attempt.number)
                self._quiet[attempt.job_id, attempt.number] = _Quiet(attempt, seen, now + 1000)
                return
            case Close():
                await self.outcomes.close(attempt, seen)
            case _ if job is not None:
                again = await self.outcomes.record(job, attempt, seen, step)
                if again is not None:
                    self._quiet[attempt.job_id, attempt.number] = _Quiet(attempt, seen, again)
                    return
        self._touched.add(attempt.job_id)

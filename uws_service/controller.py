"""The loop of one site: it makes the site agree with the attempt rows, and the job rows with what the site shows.

`decide` is the pure core: an attempt, its job, what the site shows of it, the time → what to do next. The loop
around it reads rows and observations, and carries the steps out. Every step can be repeated, so a service that is
killed between any two lines goes on where it stood.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from uws_service import telemetry
from uws_service.applications import Application, check, launch
from uws_service.attempt import RETRYABLE, Attempt, AttemptState, Observation, Reason, Seen, Usage
from uws_service.errors import Forbidden, ServiceUnavailable, StorageFull, UsageError, UwsError
from uws_service.executors.base import Executor
from uws_service.job import FINAL, Action, ErrorSummary, Job, Phase, Result, apply
from uws_service.service import now_ms, quote
from uws_service.store import StaleJob, Store

log = structlog.get_logger(__name__)

ACTOR = "controller"
BACKOFF_MS = 2_000
"""Wait before the second attempt; doubled for each further one."""
PROGRESS_MS = 1_000
"""At most one write of progress for a job in this time."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand the attempt to the site (again, if that may have been lost)."""


@dataclass(frozen=True, slots=True)
class Execute:
    """The command runs since ``started``."""

    started: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What the command says of itself has changed."""

    fraction: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """executionDuration is exceeded: the job is ABORTED, the attempt no longer wanted (U-137)."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Nothing of this attempt shall run any more."""


@dataclass(frozen=True, slots=True)
class Complete:
    """It ended well: collect, record, COMPLETED."""


@dataclass(frozen=True, slots=True)
class Fail:
    """It failed for good: keep its logs, record why, ERROR."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Retry:
    """It was lost by no fault of the job: another attempt, not before ``not_before``."""

    reason: Reason
    message: str
    not_before: int


@dataclass(frozen=True, slots=True)
class Salvage:
    """It was stopped and has ended: keep results and logs that were complete, then forget it (U-107)."""


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing of it is at the site, and nobody waits for its outcome."""


Step = Submit | Execute | Progress | Stop | Kill | Complete | Fail | Retry | Salvage | Close


def decide(job: Job | None, attempt: Attempt, seen: Observation | None, now: int, *, attempts: int) -> Step | None:
    """What to do next about one attempt; None: nothing, look again later.

    ``attempts`` is how many attempts the application allows. The job is None when it was deleted.
    """
    if job is None or not attempt.wanted or job.phase in FINAL:
        return _unwanted(job, seen)
    if seen is None:
        if attempt.state is AttemptState.RUNNING:
            return _failed(attempt, Reason.AGENT_LOST, "Nothing is left of the attempt at its site.", now, attempts)
        return Submit()
    if seen.seen is Seen.STARTING:
        return None
    if seen.seen is Seen.SUCCEEDED:
        return Complete()
    if seen.seen is Seen.FAILED:
        reason = seen.reason or Reason.AGENT_LOST
        if reason is Reason.DEADLINE:
            return Stop()
        if reason is Reason.ABORTED:  # nobody asked for it here: somebody stopped it at the site
            reason = Reason.AGENT_LOST
        return _failed(attempt, reason, seen.message, now, attempts)
    started = seen.started or now
    if job.phase is not Phase.EXECUTING or attempt.state is not AttemptState.RUNNING:
        return Execute(started)
    if job.duration and now >= (job.started or started) + job.duration * 1000:
        return Stop()
    known = job.info.get("progress"), job.info.get("message", "")
    if (seen.progress, seen.progress_text) != known and (seen.progress is not None or seen.progress_text):
        return Progress(seen.progress, seen.progress_text)
    return None


def _unwanted(job: Job | None, seen: Observation | None) -> Step:
    """An attempt that was aborted, or whose job is gone or has its outcome already."""
    if seen is None:
        return Close()
    if seen.seen in (Seen.STARTING, Seen.RUNNING):
        return Kill()
    return Salvage() if job is not None and job.phase is Phase.ABORTED else Close()


def _failed(attempt: Attempt, reason: Reason, message: str, now: int, attempts: int) -> Step:
    """Try again what the infrastructure broke, up to the limit; never what the user's command did itself."""
    if reason in RETRYABLE and attempt.number < attempts:
        return Retry(reason, message, now + BACKOFF_MS * 2 ** (attempt.number - 1))
    return Fail(reason, message)


Key = tuple[str, int]


class Controller:
    """Runs `decide` for one site until it is stopped.

    Parameters
    ----------
    store, executor
        The rows, and the site.
    applications
        What the jobs run, by name.
    clock
        The present instant in milliseconds.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        applications: Mapping[str, Application],
        *,
        clock: Callable[[], int] = now_ms,
        interval: float = 1.0,
    ) -> None:
        self.store = store
        self.executor = executor
        self.applications = applications
        self.clock = clock
        self.interval = interval
        self._busy: dict[Key, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._progress: dict[Key, int] = {}
        self.last_round: float | None = None
        """Monotonic time of the last complete round, for the readiness probe."""

    async def run(self) -> None:
        """Loop until cancelled; what the database or the site refuses is tried again."""
        try:
            while True:
                self._wake.clear()
                try:
                    began = time.monotonic()
                    await self._round()
                    self.last_round = time.monotonic()
                    telemetry.CONTROLLER_ROUND.labels(self.executor.site).observe(self.last_round - began)
                except UwsError as error:
                    log.warning("controller round failed", site=self.executor.site, error=error.message)
                await self._pause()
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

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

    async def _round(self) -> None:
        """One look at everything that is at the site or should be."""
        site = self.executor.site
        observed = {(seen.job_id, seen.number): seen for seen in await self.executor.observe()}
        live = {(attempt.job_id, attempt.number): attempt for attempt in await self.store.live_attempts(site)}
        now = self.clock()
        for key, attempt in live.items():
            self._dispatch(key, self._advance(attempt, observed.get(key)))
        for key in observed.keys() - live.keys() - self._busy.keys():
            await self._orphan(key, observed[key])
        taken = sum(1 for attempt in live.values() if attempt.state is not AttemptState.WAITING)
        free = self.executor.capacity - taken - sum(1 for key in self._busy if key not in live)
        if free > 0:
            for attempt in await self.store.next_waiting(site, free, now):
                self._dispatch((attempt.job_id, attempt.number), self._begin(attempt))
        telemetry.SITE_RUNNING.labels(site).set(taken)

    async def _orphan(self, key: Key, seen: Observation) -> None:
        """Something at the site for which there is no live attempt: read its row again, then remove it."""
        rows = [attempt for attempt in await self.store.attempts(key[0]) if attempt.number == key[1]]
        if rows and rows[0].state is not AttemptState.CLOSED:
            return
        log.info("removing what is left of an attempt", job=key[0], attempt=key[1], site=self.executor.site)
        if seen.seen in (Seen.STARTING, Seen.RUNNING):
            await self.executor.kill(*key)
        else:
            await self.executor.forget(*key)

    def _dispatch(self, key: Key, work: Any) -> None:
        """One step of one attempt at a time; attempts do not wait for each other."""
        if key in self._busy:
            work.close()
            return

        async def guarded() -> None:
            try:
                await work
            except (StaleJob, Forbidden):
                pass  # the job moved on; the next round sees how
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

    async def _begin(self, attempt: Attempt) -> None:
        """Record that the attempt goes to the site, then hand it over: in this order, so that nothing is lost."""
        submitted = replace(attempt, state=AttemptState.SUBMITTED, submitted=self.clock())
        await self.store.save_attempt(submitted)
        await self._submit(submitted)

    async def _submit(self, attempt: Attempt) -> None:
        job = await self.store.get(attempt.job_id)
        if job is None or job.phase in FINAL:
            return
        application = self.applications.get(job.application)
        if application is None:
            await self._fail(job, attempt, None, Reason.COMMAND, f"There is no application {job.application!r} now.")
            return
        try:
            plan = launch(application, job, check(application, job.parameters), attempt.number)
        except UsageError as error:  # the descriptor changed after RUN
            await self._fail(job, attempt, None, Reason.USAGE, error.message)
            return
        try:
            await self.executor.submit(plan)
        except (ServiceUnavailable, StorageFull):
            raise
        except UwsError as error:
            await self._fail(job, attempt, None, Reason.STAGE_IN, error.message)
            return
        telemetry.QUEUE_WAIT.labels(job.application).observe((self.clock() - (job.queued or job.created)) / 1000)

    async def _advance(self, attempt: Attempt, seen: Observation | None) -> None:
        """Carry out the next step of one live attempt."""
        job = await self.store.get(attempt.job_id)
        application = self.applications.get(attempt.application)
        limit = application.limits.attempts if application is not None else 1
        step = decide(job, attempt, seen, self.clock(), attempts=limit)
        match step:
            case None:
                return
            case Submit():
                await self._submit(attempt)
            case Kill():
                await self.executor.kill(attempt.job_id, attempt.number)
            case Close():
                await self._close(attempt, seen)
            case _ if job is not None:
                await self._outcome(job, attempt, seen, step)

    async def _outcome(self, job: Job, attempt: Attempt, seen: Observation | None, step: Step) -> None:
        """The steps that change the job's row."""
        match step:
            case Execute(started):
                after = job if job.phase is Phase.EXECUTING else apply(job, Action.EXECUTE, started, started=started)
                info = {key: value for key, value in job.info.items() if key != "waiting"}
                running = replace(attempt, state=AttemptState.RUNNING, started=started)
                after = replace(after, info=info, quote=quote(job, started))
                await self.store.save(job, after, kind="PHASE", actor=ACTOR, attempts=[running])
                telemetry.PHASES.labels(job.application, after.phase).inc()
            case Progress(fraction, text):
                await self._save_progress(job, attempt, fraction, text)
            case Stop():
                message = f"The execution duration of {job.duration} s was exceeded."
                error = ErrorSummary(message, reason=Reason.DEADLINE)
                after = apply(job, Action.STOP, self.clock(), error=error)
                unwanted = replace(attempt, wanted=False, reason=Reason.DEADLINE)
                await self.store.save(job, after, kind="PHASE", actor=ACTOR, attempts=[unwanted])
                telemetry.PHASES.labels(job.application, after.phase).inc()
            case Complete() if seen is not None:
                await self._complete(job, attempt, seen)
            case Fail(reason, message):
                await self._fail(job, attempt, seen, reason, message)
            case Retry(reason, message, not_before):
                await self._retry(job, attempt, seen, reason, message, not_before)
            case Salvage() if seen is not None:
                await self._salvage(job, attempt, seen)

    async def _save_progress(self, job: Job, attempt: Attempt, fraction: float | None, text: str) -> None:
        key = attempt.job_id, attempt.number
        now = self.clock()
        if now - self._progress.get(key, 0) < PROGRESS_MS:
            return
        self._progress[key] = now
        info = {**job.info, "progress": fraction, "message": text}
        await self.store.save(job, replace(job, info=info), kind="INFO", actor=ACTOR)

    async def _complete(self, job: Job, attempt: Attempt, seen: Observation) -> None:
        results, logs = await self.executor.collect(seen)
        after = apply(
            job, Action.COMPLETE, self.clock(), started=seen.started, ended=seen.ended, results=tuple(results)
        )
        info = {**_info(job, logs), "progress": 1.0, "message": seen.progress_text or job.info.get("message", "")}
        await self._finish(job, replace(after, info=info), _closed(attempt, seen, None, "", self.clock()))

    async def _fail(self, job: Job, attempt: Attempt, seen: Observation | None, reason: Reason, message: str) -> None:
        logs: tuple[Result, ...] = ()
        if seen is not None:
            _, logs = await self.executor.collect(seen)
        detail = seen.log_tail if seen is not None else ""
        transient = reason in RETRYABLE
        error = ErrorSummary(message or reason.value, transient=transient, reason=reason, detail=detail)
        started = seen.started if seen is not None else None
        ended = seen.ended if seen is not None else None
        after = apply(job, Action.FAIL, self.clock(), started=started, ended=ended, error=error)
        await self._finish(
            job, replace(after, info=_info(job, logs)), _closed(attempt, seen, reason, message, self.clock())
        )

    async def _finish(self, job: Job, after: Job, closed: Attempt) -> None:
        """The outcome and the end of the attempt in one transaction; only then is it forgotten at the site."""
        await self.store.save(job, after, kind="PHASE", actor=ACTOR, attempts=[closed])
        telemetry.PHASES.labels(job.application, after.phase).inc()
        log.info("job ended", job=job.id, application=job.application, phase=after.phase, attempt=closed.number)
        self._progress.pop((closed.job_id, closed.number), None)
        await self.executor.forget(closed.job_id, closed.number)

    async def _retry(
        self, job: Job, attempt: Attempt, seen: Observation | None, reason: Reason, message: str, not_before: int
    ) -> None:
        following = Attempt(
            job_id=job.id,
            number=attempt.number + 1,
            site=attempt.site,
            application=attempt.application,
            owner=attempt.owner,
            group=attempt.group,
            created=self.clock(),
            not_before=not_before,
            cpu_requested=attempt.cpu_requested,
            memory_requested=attempt.memory_requested,
        )
        after = job if job.phase is Phase.QUEUED else apply(job, Action.REQUEUE, self.clock())
        waiting = f"attempt {attempt.number} was lost ({message or reason.value}); another one follows"
        info = {**job.info, "attempt": following.number, "waiting": waiting}
        closed = _closed(attempt, seen, reason, message, self.clock())
        await self.store.save(job, replace(after, info=info), kind="PHASE", actor=ACTOR, attempts=[closed, following])
        log.warning("attempt lost", job=job.id, attempt=attempt.number, reason=reason, error=message)
        await self.executor.forget(attempt.job_id, attempt.number)

    async def _salvage(self, job: Job, attempt: Attempt, seen: Observation) -> None:
        results, logs = await self.executor.collect(seen)
        after = replace(job, results=tuple(results), info=_info(job, logs))
        if job.started is None and seen.started is not None:
            after = replace(after, started=min(max(seen.started, job.created), job.ended or seen.started))
        reason = Reason(attempt.reason) if attempt.reason else Reason.ABORTED
        closed = _closed(attempt, seen, reason, job.error.message if job.error else "", self.clock())
        await self.store.save(job, after, kind="RESULTS", actor=ACTOR, attempts=[closed])
        await self.executor.forget(attempt.job_id, attempt.number)

    async def _close(self, attempt: Attempt, seen: Observation | None) -> None:
        reason = Reason.ABORTED if attempt.reason is None else Reason(attempt.reason)
        await self.store.save_attempt(_closed(attempt, seen, reason, attempt.message, self.clock()))
        with contextlib.suppress(UwsError):
            await self.executor.forget(attempt.job_id, attempt.number)


def _info(job: Job, logs: tuple[Result, ...]) -> dict[str, Any]:
    """jobInfo of a job that has ended: nothing is waited for, the logs can be read."""
    kept = {key: value for key, value in job.info.items() if key != "waiting"}
    kept["logs"] = [{"id": one.id, "size": one.size, "media_type": one.media_type} for one in logs]
    return kept


def _closed(attempt: Attempt, seen: Observation | None, reason: Reason | None, message: str, now: int) -> Attempt:
    """The attempt with its outcome and what it used."""
    return replace(
        attempt,
        wanted=False,
        state=AttemptState.CLOSED,
        started=(seen.started if seen is not None else None) or attempt.started,
        ended=(seen.ended if seen is not None else None) or now,
        exit_code=seen.exit_code if seen is not None else None,
        reason=reason,
        message=message,
        usage=seen.usage if seen is not None else Usage(),
    )

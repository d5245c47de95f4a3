"""What the steps of `decisions` write.

The job's row, its attempts and its history, each in one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from uws_service import telemetry
from uws_service.applications import Application
from uws_service.applications.bounds import quote
from uws_service.auth.data_tokens import tell_waiting
from uws_service.domain.attempt import RETRYABLE, Attempt, AttemptState, Launch, Observation, Reason, Seen, Usage
from uws_service.domain.decisions import (
    Complete,
    Execute,
    Fail,
    Lose,
    Progress,
    Requeue,
    Retry,
    Salvage,
    Step,
    Stop,
    Suspend,
    Wait,
)
from uws_service.domain.errors import ServiceUnavailable, StorageFull, UsageError
from uws_service.domain.events import EventKind
from uws_service.domain.job import Action, ErrorSummary, Job, Phase, Result, apply
from uws_service.domain.jobinfo import JobInfo, LogFile, LostAttempt
from uws_service.domain.record import with_digests
from uws_service.placement.choice import shortened
from uws_service.placement.failures import FAULTS, Fault
from uws_service.placement.placer import Placer
from uws_service.sites.executor import Collected, Executor
from uws_service.sites.lake import Lake
from uws_service.sites.other_tries import Failure, other_try
from uws_service.store import Store

log = structlog.get_logger(__name__)

ACTOR = "controller"
NOTICE_SECONDS = 4.0
"""After this time without an end jobInfo says what an attempt's files wait for."""
PROGRESS_MS = 1_000
"""At most one write of progress for a job in this time."""
NO_SITE_MS = 10_000
"""Pause before another site is looked for again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The step is in the store."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """The step can't be carried out now.

    Before ``until`` (milliseconds) there is no use in trying.
    """

    until: int


class Recorder:
    """Writes down what becomes of the attempts of one site.

    Parameters
    ----------
    store, executor, applications, placer, clock
        Those of the site's controller.
    on_closed
        Called with an attempt's job id and number once its end is recorded.
    notice
        Called when files can't be stored for a while: why the depot can't be used, or nothing.
    lake
        Takes the results that applications want there; None: there is none.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        applications: Mapping[str, Application],
        placer: Placer,
        clock: Callable[[], int],
        on_closed: Callable[[tuple[str, int]], None],
        notice: Callable[[], str] = str,
        lake: Lake | None = None,
    ) -> None:
        self.lake = lake
        self.store = store
        self.executor = executor
        self.applications = applications
        self.placer = placer
        self.clock = clock
        self.on_closed = on_closed
        self.notice = notice
        self._progress_saved: dict[tuple[str, int], int] = {}

    async def record(
        self, job: Job, attempt: Attempt, observation: Observation | None, step: Step
    ) -> Recorded | Postponed:
        """Carry out a step that changes the job's row."""
        match step:
            case Execute(started):
                await self._execute(_with_image(job, observation), _with_handle(attempt, observation), started)
            case Progress(fraction, text):
                await self._save_progress(job, attempt, fraction, text)
            case Wait(cause, place):
                info = replace(job.info, waiting=cause, place=place)
                changed = _with_handle(attempt, observation)
                attempts = [changed] if changed is not attempt else []
                await self.store.save(job, replace(job, info=info), kind=EventKind.INFO, actor=ACTOR, attempts=attempts)
            case Suspend(cause):
                await self._change(job, Action.SUSPEND, waiting=cause)
            case Requeue():
                await self._change(job, Action.REQUEUE)
            case Lose(cause):
                await self._change(job, Action.LOSE, waiting=cause)
            case Stop():
                message = f"The execution duration of {job.duration} s was exceeded."
                error = ErrorSummary(message, reason=Reason.DEADLINE)
                after = apply(job, Action.STOP, self.clock(), error=error)
                unwanted = replace(attempt, wanted=False, reason=Reason.DEADLINE)
                await self.store.save(job, after, kind=EventKind.PHASE, actor=ACTOR, attempts=[unwanted])
                telemetry.PHASES.labels(job.application, after.phase).inc()
            case Complete() if observation is not None:
                await self._complete(job, attempt, observation)
            case Fail(reason, message):
                await self.fail(job, attempt, observation, reason, message)
            case Retry(reason, message, not_before):
                return await self._retry(job, attempt, observation, reason, message, not_before)
            case Salvage():
                await self._salvage(job, attempt, observation)
        return Recorded()

    async def _execute(self, job: Job, attempt: Attempt, started: int) -> None:
        after = job if job.phase is Phase.EXECUTING else apply(job, Action.EXECUTE, started, started=started)
        info = replace(job.info.without_waiting(), streams=tuple(self.executor.streams))
        running = replace(attempt, state=AttemptState.RUNNING, started=started)
        after = replace(after, info=info, quote=quote(job.duration, started))
        await self.store.save(job, after, kind=EventKind.PHASE, actor=ACTOR, attempts=[running])
        telemetry.PHASES.labels(job.application, after.phase).inc()

    async def _change(self, job: Job, action: Action, *, waiting: str = "") -> None:
        """Change the phase; the attempt goes on."""
        after = replace(apply(job, action, self.clock()), info=replace(job.info, waiting=waiting, place=None))
        await self.store.save(job, after, kind=EventKind.PHASE, actor=ACTOR)
        telemetry.PHASES.labels(job.application, after.phase).inc()

    async def _save_progress(self, job: Job, attempt: Attempt, fraction: float | None, text: str) -> None:
        key = attempt.job_id, attempt.number
        now = self.clock()
        if now - self._progress_saved.get(key, 0) < PROGRESS_MS:
            return
        self._progress_saved[key] = now
        info = replace(job.info, progress=fraction, message=text)
        await self.store.save(job, replace(job, info=info), kind=EventKind.INFO, actor=ACTOR)

    async def _complete(self, job: Job, attempt: Attempt, observation: Observation) -> None:
        job, collected = await _collect(self, job, observation, attempt)
        if collected.problem:  # it can't be had at a later try either
            await self.fail(job, attempt, observation, Reason.STAGE_OUT, collected.problem)
            return
        job, results, problems = await self._deposit(job, attempt, observation, collected.results)
        job = _with_record(job, attempt, observation)
        after = apply(
            job,
            Action.COMPLETE,
            self.clock(),
            started=observation.started,
            ended=observation.ended,
            results=results,
        )
        message = " ".join(problems) or observation.warning or observation.progress_text or job.info.message
        info = replace(_info(job, collected.logs), progress=1.0, message=message)
        await self._finish(job, replace(after, info=info), _closed(attempt, observation, None, "", self.clock()))
        if self.lake is not None:
            await self.lake.discard(results)

    async def _deposit(
        self, job: Job, attempt: Attempt, observation: Observation, results: tuple[Result, ...]
    ) -> tuple[Job, tuple[Result, ...], tuple[str, ...]]:
        """Put results into the data lake that the application wants there; what is refused stays in the depot."""
        application = self.applications.get(job.application)
        if application is None or not any(spec.lake for spec in application.results):
            return job, results, ()
        if self.lake is None:
            return job, results, ("The results are kept here: this service knows no data lake (datasets.results).",)
        await tell_waiting(self.store, job.id, "its results are put into the data lake", begun=True)
        started, ended = observation.started, observation.ended
        job = _with_record(job, attempt, observation)
        recorded = apply(job, Action.COMPLETE, self.clock(), started=started, ended=ended, results=results)
        places, problems = await self.lake.deposit(recorded, application, attempt.site, results)
        return await self.store.get(job.id) or job, places, problems

    async def fail(
        self, job: Job, attempt: Attempt, observation: Observation | None, reason: Reason, message: str
    ) -> None:
        """End the job in ERROR, with the last lines of its log as the detail.

        If the fault is the site's alone, it is tried at another one instead.
        """
        if await self._may_run_elsewhere(job, attempt, reason):
            await self._retry(job, attempt, observation, reason, message, self.clock())
            return
        application = self.applications.get(attempt.application)
        launch = await self.store.attempts.launch(job.id, attempt.number)
        following_try = await other_try(self.placer, application, job, attempt, launch, Failure(reason, message))
        if following_try is not None:
            following = following_try.destination.applied(_next_attempt(attempt, following_try.launch, self.clock()))
            info = replace(
                following_try.destination.described(job.info),
                waiting=following_try.words,
                data=following_try.data or job.info.data,
            )
            await self._follow(job, attempt, observation, reason, message, following, info)
            return
        logs: tuple[Result, ...] = ()
        detail = ""
        if observation is not None:
            job, collected = await _collect(self, job, observation, attempt)
            job = _with_record(job, attempt, observation)
            logs, detail = collected.logs, collected.tail
        if reason is Reason.EXIT_CODE and observation is not None and observation.error is not None:
            reason, message, detail = (
                observation.error.reason,
                observation.error.message,
                observation.error.detail or detail,
            )
        elif reason is Reason.EXIT_CODE and observation is not None and observation.reports:
            last = detail.strip().rpartition("\n")[2]
            message = f"{message}: {last[:300]}" if last else f"{message}."
        transient = reason in RETRYABLE or reason is Reason.UNAVAILABLE
        error = ErrorSummary(message or reason.value, transient=transient, reason=reason, detail=detail)
        started = observation.started if observation is not None else None
        ended = observation.ended if observation is not None else None
        after = apply(job, Action.FAIL, self.clock(), started=started, ended=ended, error=error)
        await self._finish(
            job, replace(after, info=_info(job, logs)), _closed(attempt, observation, reason, message, self.clock())
        )

    async def _finish(self, job: Job, after: Job, closed: Attempt) -> None:
        """Save the outcome and the end of the attempt in one transaction; only then is it forgotten at the site."""
        await self.store.save(job, after, kind=EventKind.PHASE, actor=ACTOR, attempts=[closed])
        telemetry.PHASES.labels(job.application, after.phase).inc()
        telemetry.ATTEMPTS.labels(closed.site, closed.reason or "Done").inc()
        log.info("job ended", job=job.id, application=job.application, phase=after.phase, attempt=closed.number)
        self._leave(closed)

    def _leave(self, closed: Attempt) -> None:
        key = closed.job_id, closed.number
        self._progress_saved.pop(key, None)
        self.on_closed(key)

    async def _may_run_elsewhere(self, job: Job, attempt: Attempt, reason: Reason) -> bool:
        """Return whether another site may do what this one could not, and takes the job."""
        application = self.applications.get(attempt.application)
        if FAULTS[reason] is not Fault.SITE or application is None or attempt.number >= application.limits.attempts:
            return False
        launch = await self.store.attempts.launch(job.id, attempt.number)
        try:
            choice = await self.placer.choose(
                job, application, group=attempt.group, without=attempt.site, launch=launch, counts=False
            )
        except UsageError:
            return False
        return (await self.placer.reachable()).get(choice.site, False)

    async def _retry(
        self, job: Job, attempt: Attempt, observation: Observation | None, reason: Reason, message: str, not_before: int
    ) -> Recorded | Postponed:
        """Make the next attempt, at the best site of the moment; postpone it if there is none."""
        site = attempt.site
        site_reason, placement = job.info.site_reason, job.info.placement
        application = self.applications.get(attempt.application)
        launch = await self.store.attempts.launch(job.id, attempt.number)
        avoided = attempt.site if FAULTS[reason] is Fault.SITE else None
        network = attempt.network and avoided is None
        if network:
            site, site_reason = "", ""
        elif application is not None:
            try:
                choice = await self.placer.choose(job, application, group=attempt.group, without=avoided, launch=launch)
                site, site_reason, placement = choice.site, choice.sentence, shortened(choice.table)
            except UsageError:
                if avoided is not None:  # no other site takes it: it is UNKNOWN until this one is back
                    if job.phase is not Phase.UNKNOWN:
                        await self._change(job, Action.LOSE, waiting=message)
                    return Postponed(self.clock() + NO_SITE_MS)
        following = replace(
            _next_attempt(attempt, launch, self.clock()),
            site=site,
            not_before=not_before,
            network=network,
            lot=attempt.lot,
            wish=await self.store.attempts.wish(job.id, attempt.number),
        )
        described = replace(job.info, site=site, site_reason=site_reason, placement=placement)
        words = f"attempt {attempt.number} was lost ({message or reason.value}); another one follows"
        await self._follow(job, attempt, observation, reason, message, following, replace(described, waiting=words))
        return Recorded()

    async def _follow(
        self,
        job: Job,
        attempt: Attempt,
        observation: Observation | None,
        reason: Reason,
        message: str,
        following: Attempt,
        info: JobInfo,
    ) -> None:
        """Record that an attempt has failed, and that another one follows."""
        after = job if job.phase is Phase.QUEUED else apply(job, Action.REQUEUE, self.clock())
        lost = LostAttempt(attempt.number, attempt.site, reason.value, message)
        info = replace(info, attempt=following.number, lost_attempts=(*job.info.lost_attempts, lost))
        closed = _closed(attempt, observation, reason, message, self.clock())
        await self.store.save(
            job, replace(after, info=info), kind=EventKind.PHASE, actor=ACTOR, attempts=[closed, following]
        )
        telemetry.ATTEMPTS.labels(closed.site, reason.value).inc()
        log.warning("attempt lost", job=job.id, attempt=attempt.number, reason=reason, error=message)
        self._leave(closed)

    async def _salvage(self, job: Job, attempt: Attempt, observation: Observation | None) -> None:
        """Keep what was complete of an aborted attempt."""
        last = observation or Observation(
            attempt.job_id, attempt.number, Seen.FAILED, started=attempt.started, reports=True, gone=True
        )
        job, collected = await _collect(self, job, last, attempt)
        job = _with_record(job, attempt, observation)
        after = replace(job, results=tuple(collected.results), info=_info(job, collected.logs))
        if job.started is None and last.started is not None:
            after = replace(after, started=min(max(last.started, job.created), job.ended or last.started))
        reason = Reason(attempt.reason) if attempt.reason else Reason.ABORTED
        closed = _closed(attempt, observation, reason, job.error.message if job.error else "", self.clock())
        await self.store.save(job, after, kind=EventKind.RESULTS, actor=ACTOR, attempts=[closed])
        telemetry.ATTEMPTS.labels(closed.site, reason.value).inc()
        self._leave(closed)

    async def close(self, attempt: Attempt, observation: Observation | None) -> None:
        """Close an attempt whose outcome nobody waits for."""
        reason = Reason.ABORTED if attempt.reason is None else Reason(attempt.reason)
        await self.store.attempts.save(_closed(attempt, observation, reason, attempt.message, self.clock()))
        self._leave(attempt)


async def _collect(recorder: Recorder, job: Job, observation: Observation, attempt: Attempt) -> tuple[Job, Collected]:
    """Put the files into the depot; what keeps them from there is in jobInfo and log within seconds."""
    work = asyncio.ensure_future(recorder.executor.collect(observation, attempt))
    is_late = False
    try:
        while not (await asyncio.wait((work,), timeout=NOTICE_SECONDS))[0]:
            if not is_late:
                log.warning("storing a job's files takes long", job=job.id, attempt=attempt.number)
            is_late = True
            await tell_waiting(recorder.store, job.id, recorder.notice() or "its files are being stored", begun=True)
        collected = await work
    except (ServiceUnavailable, StorageFull) as error:
        await tell_waiting(recorder.store, job.id, f"its files can't be stored now: {error.message}", begun=True)
        raise
    finally:
        work.cancel()
    fresh = await recorder.store.get(job.id) if is_late else None
    return fresh or job, collected


def _next_attempt(attempt: Attempt, launch: Launch | None, now: int) -> Attempt:
    """Return the attempt after one that has failed, of the same kind and owner; it has no place yet."""
    number = attempt.number + 1
    return Attempt(
        job_id=attempt.job_id,
        number=number,
        site="",
        application=attempt.application,
        owner=attempt.owner,
        group=attempt.group,
        created=now,
        cpu_requested=attempt.cpu_requested,
        memory_requested=launch.memory if launch is not None else attempt.memory_requested,
        gpus=attempt.gpus,
        owner_slots=attempt.owner_slots,
        size_class=attempt.size_class,
        launch=replace(launch, number=number) if launch is not None else None,
    )


def _with_handle(attempt: Attempt, observation: Observation | None) -> Attempt:
    """Return the attempt with the id that its site has for it, if that is new."""
    if observation is None or not observation.handle or observation.handle == attempt.handle:
        return attempt
    return replace(attempt, handle=observation.handle)


def _with_image(job: Job, observation: Observation | None) -> Job:
    """Return the job with the digest of the image that it really runs in, if its site says so."""
    if observation is None or not observation.image:
        return job
    versions = {**job.info.versions, "digest": observation.image}
    return replace(job, info=replace(job.info, versions=versions, image=observation.pulled or job.info.image))


def _with_record(job: Job, attempt: Attempt, observation: Observation | None) -> Job:
    """Return the job with the digests of its image and of the files that its agent fetched."""
    job = _with_image(job, observation)
    staged = observation.inputs if observation is not None else ()
    if attempt.report is not None:
        staged = (*staged, *attempt.report.inputs)
    if not staged or not job.info.inputs:
        return job
    return replace(job, info=replace(job.info, inputs=with_digests(job.info.inputs, staged)))


def _info(job: Job, logs: tuple[Result, ...]) -> JobInfo:
    """Return jobInfo of a job that has ended.

    Nothing is waited for, the logs can be read.
    """
    files = tuple(LogFile(log.id, log.size, log.media_type) for log in logs)
    return replace(job.info.without_waiting(), logs=files)


def _closed(
    attempt: Attempt, observation: Observation | None, reason: Reason | None, message: str, now: int
) -> Attempt:
    """Return the attempt with its outcome and what it used."""
    started = (observation.started if observation is not None else None) or attempt.started
    ended = (observation.ended if observation is not None else None) or now
    usage = observation.usage if observation is not None else Usage()
    if observation is not None and observation.reports:  # its agent reports what the site can't see itself
        report = attempt.report
        usage = Usage(
            wall=max(0, ended - started) / 1000 if started is not None else 0.0,
            cpu=attempt.usage.cpu,
            peak_memory=attempt.usage.peak_memory,
            bytes_in=report.bytes_in if report is not None else 0,
            bytes_out=sum(output.size for output in report.outputs) if report is not None else 0,
            bytes_moved=report.bytes_moved if report is not None else 0,
        )
    return replace(
        _with_handle(attempt, observation),
        wanted=False,
        state=AttemptState.CLOSED,
        started=started,
        ended=ended,
        exit_code=observation.exit_code if observation is not None else None,
        reason=reason,
        message=message,
        usage=usage,
        bytes_moved=attempt.bytes_moved + usage.bytes_moved,
    )

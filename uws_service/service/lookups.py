"""The loop that looks up the data sets of waiting jobs.

A look-up that fails for a reason that may pass is tried again while the job waits, and jobInfo says why. What is
unknown, forbidden or without a replica is the job's end, with a reason.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import structlog

from uws_service import telemetry
from uws_service.applications import Application
from uws_service.applications.provenance import data_records
from uws_service.auth.data_tokens import DataAccess, tell_waiting
from uws_service.data.answers import CatalogueFault
from uws_service.data.catalogue import Absent, Outcome
from uws_service.data.catalogues import Catalogues
from uws_service.data.identifiers import parse_identifier
from uws_service.data.replicas import Unusable, check_parameter
from uws_service.domain.attempt import Attempt, AttemptState, Launch, Reason
from uws_service.domain.dataset import DataParameter, DataSet
from uws_service.domain.errors import Forbidden, ServiceUnavailable, UsageError, UwsError
from uws_service.domain.events import EventKind
from uws_service.domain.ids import now_ms
from uws_service.domain.job import Action, ErrorSummary, Job, Phase, apply
from uws_service.domain.record import changed_inputs
from uws_service.placement.placer import Placer
from uws_service.service.brings import Bringer, OnTheWay, Settled, pause_ms, without_lake
from uws_service.store import Lookup, StaleJob, Store

log = structlog.get_logger(__name__)

ACTOR = "look-up"
PAGE = 200
"""Jobs that are looked up together."""
PAGES_AT_ONCE = 4
LEASE_MS, RENEW_SECONDS = 15_000, 4.0
"""A process that has not held a look-up anew for so long counts as dead. If it only was slow, the same is looked up
twice, and recorded once."""
IDLE_SECONDS = 30.0
FIRST_PAUSE_MS, PAUSE_MAX_MS = 2_000, 120_000
"""Before a look-up is tried again; doubled each time."""


class Waiting(NamedTuple):
    """A look-up with what it is for."""

    lookup: Lookup
    job: Job
    attempt: Attempt
    launch: Launch


class DataLookups:
    """Looks up data sets, for all jobs of a store.

    Parameters
    ----------
    data
        Has the callers' tokens for catalogues that are asked in their names; None: there are none.
    interval
        Seconds after which the table is looked at although nothing has happened.
    is_idle
        No application takes data sets now: what an earlier start has left is looked at now and then.
    """

    def __init__(
        self,
        store: Store,
        catalogues: Catalogues,
        applications: Mapping[str, Application],
        placer: Placer,
        data: DataAccess | None = None,
        *,
        clock: Callable[[], int] = now_ms,
        interval: float = 1.0,
        is_idle: bool = False,
    ) -> None:
        self.is_idle = is_idle
        self.store = store
        self.catalogues = catalogues
        self.applications = applications
        self.placer = placer
        self.data = data
        self.clock = clock
        self.interval = interval
        self.bringer = Bringer(catalogues, placer, clock)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Loop until cancelled."""
        try:
            while True:
                try:
                    busy = await self._take()
                except UwsError as error:
                    log.warning("look-ups can't be read", error=error.message)
                    busy = False
                if self._tasks and len(self._tasks) >= PAGES_AT_ONCE:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                elif self.is_idle:
                    await asyncio.sleep(IDLE_SECONDS)
                elif not busy:
                    await self.store.feed.wait_any(self.interval)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self) -> bool:
        """Begin with a page of look-ups that are due; return whether there were any."""
        now = self.clock()
        lookups = await self.store.lookups.take(now, now + LEASE_MS, PAGE)
        if lookups:
            task = asyncio.create_task(self._look_up_page(lookups))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return bool(lookups)

    async def _look_up_page(self, lookups: Sequence[Lookup]) -> None:
        """Look up the data of some jobs, those of one owner together.

        What is not looked up when the service ends is there for the next one at once.
        """
        by_owner: dict[str, list[Lookup]] = {}
        for lookup in lookups:
            by_owner.setdefault(lookup.owner, []).append(lookup)
        work = asyncio.gather(
            *(self._look_up_owner(owner, group) for owner, group in by_owner.items()), return_exceptions=True
        )
        held = list(lookups)
        renewal = asyncio.create_task(self._renew(held))
        try:
            answers = await work
        except asyncio.CancelledError:
            await _cancelled(renewal)
            with contextlib.suppress(UwsError):
                await self.store.lookups.release(held, self.clock())
            raise
        await _cancelled(renewal)
        for answer in answers:
            if isinstance(answer, Exception):
                log.error("a look-up failed", error=repr(answer))

    async def _renew(self, lookups: list[Lookup]) -> None:
        """Keep others from look-ups that go on; those that have ended leave the list."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                lookups[:] = await self.store.lookups.renew(lookups, self.clock() + LEASE_MS)
            except UwsError as error:
                log.warning("look-ups can't be held", error=error.message)

    async def _look_up_owner(self, owner: str, lookups: list[Lookup]) -> None:
        groups: dict[tuple[str, ...], tuple[dict[str, str], list[Waiting]]] = {}
        for lookup in lookups:
            row = await self._read(lookup)
            if row is None:
                await self.store.lookups.end(lookup)
                continue
            try:
                tokens = await self.data.catalogue_tokens(lookup.job_id) if self.data is not None else {}
            except (ServiceUnavailable, Forbidden) as error:
                await self._postpone(lookup, error.message)
                continue
            # A job without a token of its own does not get what its owner's other jobs may see.
            groups.setdefault(tuple(sorted(tokens)), (tokens, []))[1].append(Waiting(lookup, *row))
        for tokens, waiting in groups.values():
            await self._look_up_jobs(owner, tokens, waiting)

    async def _look_up_jobs(self, owner: str, tokens: Mapping[str, str], waiting: list[Waiting]) -> None:
        brought = await asyncio.gather(*(self._bring(entry, tokens) for entry in waiting if entry.lookup.site))
        ready = [entry for entry in waiting if not entry.lookup.site] + [
            entry for entry in brought if entry is not None
        ]
        found = await self.catalogues.find(
            map(parse_identifier, sorted(_names(ready))),
            owner=owner,
            tokens=tokens,
            fresh=_names(entry for entry in ready if entry.lookup.site),
        )
        for lookup, job, attempt, launch in ready:
            try:
                is_settled = bool(lookup.site and job.info.data)
                outcomes = {name: without_lake(outcome) for name, outcome in found.items()} if is_settled else found
                await self._conclude(lookup, job, attempt, launch, outcomes)
            except StaleJob:  # it is looked at once more, with the newer row
                await self.store.lookups.postpone(lookup, self.clock())
            except UwsError as error:
                log.warning("a look-up can't be recorded", job=job.id, error=error.message)
                await self._postpone(lookup, error.message)

    async def _bring(self, entry: Waiting, tokens: Mapping[str, str]) -> Waiting | None:
        """Look how far the data of a job are on their way; None if it waits on, else how the job goes on."""
        lookup, job, attempt, launch = entry
        try:
            wish = await self.store.attempts.wish(job.id, attempt.number)
            progress = await self.bringer.progress(lookup, replace(attempt, wish=wish), launch, tokens)
            if isinstance(progress, OnTheWay):
                await self.store.lookups.postpone(lookup, self.clock() + pause_ms(lookup.tries))
                await tell_waiting(self.store, job.id, progress.words)
                return None
        except CatalogueFault as error:
            await self._postpone(lookup, str(error))
            return None
        except UwsError as error:
            log.warning("a job's data can't be brought", job=job.id, error=error.message)
            return None
        words = progress.words if isinstance(progress, Settled) else ""
        return entry._replace(job=replace(job, info=replace(job.info, data=words)))

    async def _read(self, lookup: Lookup) -> tuple[Job, Attempt, Launch] | None:
        """Return what is to be looked up.

        None if nobody waits for it any more.
        """
        job = await self.store.get(lookup.job_id)
        if job is None or job.phase is not Phase.QUEUED:
            return None
        for attempt in await self.store.attempts.of(lookup.job_id):
            if attempt.number == lookup.number and attempt.wanted and attempt.state is AttemptState.WAITING:
                launch = await self.store.attempts.launch(attempt.job_id, attempt.number)
                return (job, attempt, launch) if launch is not None else None
        return None

    async def _conclude(
        self, lookup: Lookup, job: Job, attempt: Attempt, launch: Launch, outcomes: Mapping[str, Outcome]
    ) -> None:
        """Record what became of a job's look-up."""
        try:
            parameters = tuple(_resolved(parameter, outcomes) for parameter in launch.data)
            for parameter in parameters:
                check_parameter(parameter, self.catalogues.settings.files)
        except Pending as error:
            await self._postpone(lookup, str(error))
            return
        except Unusable as error:
            await self._fail(lookup, job, attempt, str(error))
            return
        application = self.applications.get(job.application)
        if application is None:
            message = f"The application {job.application} is not declared here any more."
            await self._fail(lookup, job, attempt, message, Reason.COMMAND)
            return
        records = data_records(parameters)
        if job.info.original is not None:
            before = [record for record in job.info.original.inputs if record.is_data]
            if changes := changed_inputs(before, records):
                await self._fail(lookup, job, attempt, "The data are not what they were. " + " ".join(changes[:10]))
                return
        inputs = (*(record for record in job.info.inputs if not record.is_data), *records)
        moved = self.bringer.moved_bytes(lookup.site, launch, parameters)
        resolved = replace(attempt, launch=replace(launch, data=parameters), bytes_moved=moved)
        try:
            placement = await self.placer.place(job, application, resolved.launch, group=attempt.group)
        except UsageError as error:
            await self._fail(lookup, job, attempt, error.message)
            return
        after = replace(job, info=placement.described(replace(job.info, inputs=inputs)))
        await self.store.save(job, after, kind=EventKind.DATA, actor=ACTOR, resolved=placement.applied(resolved))

    async def _postpone(self, lookup: Lookup, reason: str) -> None:
        pause = min(FIRST_PAUSE_MS * 2 ** min(lookup.tries, 10), PAUSE_MAX_MS)
        await self.store.lookups.postpone(lookup, self.clock() + pause)
        await tell_waiting(
            self.store, lookup.job_id, f"its data can't be looked up now, which is tried again: {reason}"
        )

    async def _fail(
        self, lookup: Lookup, job: Job, attempt: Attempt, message: str, reason: Reason = Reason.DATA
    ) -> None:
        now = self.clock()
        error = ErrorSummary(message, reason=reason)
        after = apply(job, Action.FAIL, now, error=error)
        after = replace(after, info=job.info.without_waiting())
        closed = replace(attempt, wanted=False, state=AttemptState.CLOSED, ended=now, reason=reason, message=message)
        await self.store.save(job, after, kind=EventKind.PHASE, actor=ACTOR, attempts=[closed])
        await self.store.lookups.end(lookup)
        telemetry.PHASES.labels(job.application, after.phase).inc()
        telemetry.ATTEMPTS.labels(attempt.site, reason.value).inc()
        log.info("job ended", job=job.id, application=job.application, phase=after.phase, reason=message)


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _names(waiting: Iterable[Waiting]) -> set[str]:
    return {name for entry in waiting for parameter in entry.launch.data for name in parameter.identifiers}


class Pending(Exception):
    """A catalogue can't be asked now.

    The message says why.
    """


def _resolved(parameter: DataParameter, outcomes: Mapping[str, Outcome]) -> DataParameter:
    """Return a parameter with its data sets.

    Raise `Unusable` or `Pending`.
    """
    sets: list[DataSet] = []
    pending = ""
    for name in parameter.identifiers:
        outcome = outcomes[name]
        if isinstance(outcome, DataSet):
            sets.append(outcome)
        elif isinstance(outcome, Absent) and outcome.transient:
            pending = outcome.reason
        else:
            raise Unusable(f"{parameter.name}: {outcome.reason}.")
    if pending:
        raise Pending(pending)
    return replace(parameter, sets=tuple(sets))

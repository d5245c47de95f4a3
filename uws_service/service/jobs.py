"""Jobs as callers create, read and change them.

Each function checks the caller against the job's owner, decides with the pure rules of ``domain.job`` and
``applications``, and writes one transaction. A change that meets another one is decided again on the job's newer
version (compare-and-set).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from uws_service.applications import Application
from uws_service.applications.bounds import clamp_destruction, clamp_duration, quote
from uws_service.applications.provenance import unknown_parameters
from uws_service.auth.data_tokens import DataAccess
from uws_service.auth.policy import Rules
from uws_service.auth.settings import Auth
from uws_service.containers import Containers
from uws_service.domain.attempt import Reason
from uws_service.domain.errors import AuthenticationRequired, Forbidden, NotFound, UsageError
from uws_service.domain.events import EventKind
from uws_service.domain.ids import new_id, now_ms
from uws_service.domain.job import FINAL, Action, ErrorSummary, Job, Parameter, Phase, apply
from uws_service.domain.meter import Meter
from uws_service.offload import offload
from uws_service.placement.placer import Placer
from uws_service.service.access import JobAccess, compare_and_set
from uws_service.service.blocked import Blocked
from uws_service.service.budgets import Budgets
from uws_service.service.caller import Caller
from uws_service.service.creation import Starter, pending_job
from uws_service.service.limits import Limits
from uws_service.service.quotas import Quotas
from uws_service.service.requests import Request, merge, require_fitting
from uws_service.service.shares import Shares
from uws_service.service.site_control import SiteControl
from uws_service.service.streams import Streams
from uws_service.service.upkeep import Upkeep
from uws_service.service.views import Views
from uws_service.service.waiters import Waiters
from uws_service.store import NewJob, Store, stored_bytes
from uws_service.store.reserve import Reserve

MIN_SECRET_KEY_LENGTH = 22
"""Characters of an Idempotency-Key that is as hard to guess as a job's id: 128 bits in base64."""
JOBS_PER_TURN = 100
"""Jobs of a bulk request that are prepared before other requests have their turn."""


class Service:
    """The jobs of a store, as callers create, read and change them.

    Parameters
    ----------
    store
        The only truth about jobs.
    applications
        What may be run, by name.
    placer
        Chooses the site that a job goes to.
    rules
        Who may use which application, and how much of it.
    data
        Gets tokens for what jobs fetch; None: no job has any.
    clock
        The present instant in milliseconds.
    limits
        What one request, job or client may ask for.
    reserve
        Room that an abort or a deletion may use on a full disk.
    containers
        Which images jobs may name themselves.
    meter
        What jobs cost, and from which budgets they are paid.
    """

    def __init__(
        self,
        store: Store,
        applications: Mapping[str, Application],
        placer: Placer,
        *,
        rules: Rules | None = None,
        data: DataAccess | None = None,
        clock: Callable[[], int] = now_ms,
        limits: Limits | None = None,
        reserve: Reserve | None = None,
        containers: Containers | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.store = store
        self.applications = applications
        self.rules = rules or Rules(Auth())
        self.clock = clock
        self.limits = limits or Limits()
        self.reserve = reserve
        self.access = JobAccess(store, clock)
        self.shares = Shares(self.access, self.rules.groups)
        self.views = Views(store, self.rules, placer)
        self.sites = SiteControl(store, placer, clock)
        blocked = Blocked(self.limits)
        self.waiters = Waiters(self.access, blocked)
        self._budgets = Budgets(store, meter or Meter())
        self.streams = Streams(self.access, self.limits, blocked)
        self.upkeep = Upkeep(self.access, self.applications)
        self._quotas = Quotas(store.access, self.rules)
        self._starter = Starter(placer, self.rules, data, containers, meter)

    def application(self, name: str) -> Application:
        """Return an application, or raise `NotFound`."""
        application = self.applications.get(name)
        if application is None:
            raise NotFound(f"There is no application {name[:64]!r} here. There are: {', '.join(self.applications)}.")
        return application

    async def get(self, application: str, job_id: str, caller: Caller, *, write: bool = False) -> Job:
        """Return a job; see `JobAccess.get`."""
        return await self.access.get(application, job_id, caller, write=write)

    async def glance(self, application: str, job_id: str, caller: Caller, *, write: bool = False) -> tuple[int, Phase]:
        """Return version and phase; see `JobAccess.glance`."""
        return await self.access.glance(application, job_id, caller, write=write)

    async def require_possible(self, application: Application, parameters: Sequence[Parameter], caller: Caller) -> None:
        """Raise for parameters with which a job would end in ERROR at RUN, before there is a job."""
        weight = sum(len(parameter.value) for parameter in parameters)
        await offload(weight, self._starter.require_possible, application, parameters, caller)

    async def find(self, application: str, caller: Caller, key: str) -> str | None:
        """Return the id of the job that the caller made with an idempotency key."""
        keyed = await self.store.repeats.find(application, caller.owner, key)
        return keyed.job_id if keyed is not None else None

    async def _repeated(self, application: Application, caller: Caller, idempotency: tuple[str, str]) -> Job | None:
        """Return the job that the same request has made before."""
        keyed = await self.store.repeats.find(application.name, caller.owner, idempotency[0])
        if keyed is None:
            return None
        keyed.require_same(idempotency[1])
        return await self.store.get(keyed.job_id)

    # --- new jobs -------------------------------------------------------------------------------------------------

    async def create(
        self,
        application: Application,
        caller: Caller,
        request: Request,
        *,
        job_id: str | None = None,
        idempotency: tuple[str, str] | None = None,
        listed: bool = True,
    ) -> tuple[Job, bool]:
        """Create a job and run it (U-120, U-123).

        It is run only if the request says so.

        Returns the job and whether it is new: the same request may have created it before. Parameters that are not
        valid do not prevent it: they become an ERROR when the job is run (T-013).
        """
        self.rules.require_use(application, caller.identity)
        hidden = caller.owner is None and not self.rules.lists_anonymous()
        if idempotency is not None and hidden and len(idempotency[0]) < MIN_SECRET_KEY_LENGTH:
            raise UsageError(
                f"The Idempotency-Key of an unknown caller must have at least {MIN_SECRET_KEY_LENGTH} random "
                "characters: whoever repeats the request with it is led to the job."
            )
        if idempotency is not None:  # a repeat makes nothing, so no quota is in its way
            earlier = await self._repeated(application, caller, idempotency)
            if earlier is not None:
                return earlier, False
        now = self.clock()
        job = pending_job(application, caller, request, job_id or new_id(now), now, listed=listed)
        job = self._starter.estimated(job, application, caller.identity.group)
        new: NewJob = (job, None, ())
        size = await self._size(job.parameters)
        async with self._quotas.room(caller, run=request.run, new=True, size=size):
            if request.run:
                new = await self._starter.start(job, application, caller, 1, now)
            return await self.store.create_many(
                [new], actor=caller.actor, origin=caller.origin, idempotency=idempotency
            )

    async def create_many(
        self,
        application: Application,
        caller: Caller,
        request: Request,
        rows: Sequence[tuple[Parameter, ...]],
        *,
        idempotency: tuple[str, str] | None = None,
    ) -> str:
        """Create a job for each row, all or none; return their RUNID.

        Parameters
        ----------
        request
            What they have in common.
        rows
            All parameters of each, checked.
        """
        self.rules.require_use(application, caller.identity)
        if caller.owner is None and not self.rules.lists_anonymous():
            raise AuthenticationRequired("Log in, or send a token: jobs of unknown callers are in no list.")
        now = self.clock()
        run_id = request.run_id or f"bulk-{secrets.token_hex(8)}"
        ids = sorted(new_id(now) for _ in rows)
        jobs: list[NewJob] = []
        size = await self._size(*rows)
        async with self._quotas.room(caller, run=request.run, new=True, jobs=len(rows), size=size):
            for number, (job_id, parameters) in enumerate(zip(ids, rows, strict=True), 1):
                row_request = replace(request, parameters=parameters, run_id=run_id)
                job = pending_job(application, caller, row_request, job_id, now)
                job = replace(job, info=replace(job.info, row=number))
                if request.run:
                    jobs.append(await self._starter.start(job, application, caller, 1, now))
                else:
                    jobs.append((job, None, ()))
                if number % JOBS_PER_TURN == 0:
                    await asyncio.sleep(0)
            first, _ = await self.store.create_many(
                jobs, actor=caller.actor, origin=caller.origin, idempotency=idempotency
            )
        return first.run_id or run_id

    async def _size(self, *jobs: Sequence[Parameter]) -> int:
        """Return the bytes that parameters of jobs take in the store, if quotas need to know."""
        if not self.rules.has_quotas:
            return 0
        weight = sum(len(parameter.value) for parameters in jobs for parameter in parameters)
        return await offload(weight, lambda: sum(map(stored_bytes, jobs)))

    # --- changes --------------------------------------------------------------------------------------------------

    async def run(self, application: str, job_id: str, caller: Caller) -> Job:
        """Run a job: PHASE=RUN (U-026).

        When this returns, the job is not PENDING for anybody (U-105).
        """

        async def save() -> Job:
            job = await self.get(application, job_id, caller, write=True)
            apply(job, Action.RUN, job.created)  # refused in other phases, also if the parameters are not valid
            self.rules.require_use(self.application(application), caller.identity)
            number = 1 + max((attempt.number for attempt in await self.store.attempts.of(job_id)), default=0)
            async with self._quotas.room(caller, run=True, new=False):
                after, attempt, grants = await self._starter.start(
                    job, self.application(application), caller, number, self.clock()
                )
                return await self.store.save(
                    job,
                    after,
                    kind=EventKind.PHASE,
                    actor=caller.actor,
                    origin=caller.origin,
                    attempts=() if attempt is None else (attempt,),
                    grants=grants,
                )

        return await compare_and_set(save)

    async def abort(self, application: str, job_id: str, caller: Caller) -> Job:
        """Abort a job: PHASE=ABORT (U-027, U-107, U-108).

        On an aborted job nothing changes, on another ended one it is 403 (U-109).
        """

        async def save() -> Job:
            job = await self.get(application, job_id, caller, write=True)
            if job.phase is Phase.ABORTED:
                return job
            error = ErrorSummary("Aborted at the owner's request.", reason=Reason.ABORTED)
            after = apply(job, Action.ABORT, self.clock(), error=error)
            attempts = [replace(attempt, wanted=False) for attempt in await self.store.attempts.of(job_id)]
            return await self.store.save(
                job, after, kind=EventKind.PHASE, actor=caller.actor, origin=caller.origin, attempts=attempts
            )

        return await compare_and_set(save, self.reserve)

    async def delete(self, application: str, job_id: str, caller: Caller) -> None:
        """Delete a job (U-130…U-132).

        It is forgotten at once; what runs of it is stopped, its files are removed a little later.
        """

        async def save() -> None:
            job = await self.get(application, job_id, caller, write=True)
            await self.store.delete(job, actor=caller.actor, origin=caller.origin)

        await compare_and_set(save, self.reserve)

    async def set_duration(self, application: str, job_id: str, caller: Caller, seconds: int) -> Job:
        """Set EXECUTIONDURATION, within the application's limits (U-029, U-136)."""

        def decide(job: Job) -> Job:
            if job.phase in FINAL:
                raise Forbidden(f"The job has ended ({job.phase.value}); its executionDuration can't be changed.")
            after = replace(job, duration=clamp_duration(self.application(application), seconds))
            if job.phase is Phase.QUEUED:  # when it will start is known from history alone
                return after
            return replace(after, quote=quote(after.duration, job.started or job.created))

        return await self.access.change(
            application, job_id, caller, EventKind.DURATION, decide, holds=self._budgets.further_holds
        )

    async def set_destruction(self, application: str, job_id: str, caller: Caller, instant: int) -> Job:
        """Set DESTRUCTION, within the application's limits (U-031, U-134)."""

        def decide(job: Job) -> Job:
            if job.phase is Phase.ARCHIVED:
                raise Forbidden("The job is archived; its destruction time can't be changed.")
            limited = clamp_destruction(self.application(application), job.created, instant, self.clock())
            return replace(job, destruction=limited)

        return await self.access.change(application, job_id, caller, EventKind.DESTRUCTION, decide)

    async def set_parameters(self, application: str, job_id: str, caller: Caller, request: Request) -> Job:
        """Add or replace parameters of a PENDING job (U-037, D-011, D-013)."""

        def decide(job: Job) -> Job:
            if job.phase is not Phase.PENDING:
                phase = job.phase.value
                raise Forbidden(f"Parameters can be changed only while the job is PENDING; it is {phase}.")
            parameters = merge(self.application(application), job.parameters, request.parameters)
            require_fitting(parameters, self.limits)
            run_id = request.run_id if request.run_id is not None else job.run_id
            info = replace(
                job.info,
                notices=unknown_parameters(self.application(application), parameters),
                digests={**job.info.digests, **request.digests},
                original=None,  # with other parameters it is a job of its own
            )
            return replace(job, parameters=parameters, run_id=run_id, info=info)

        size = await self._size(request.parameters)
        async with self._quotas.room(caller, run=False, new=True, size=size):
            return await self.access.change(application, job_id, caller, EventKind.PARAMETERS, decide)

"""What a user may ask of jobs: create, read, list, run, abort, delete, set, wait.

Each function takes the caller's identity, checks it against the job's owner, decides with the pure rules of
``domain.job`` and ``applications``, and writes one transaction. A change that meets another one is decided again on the
job's newer version (compare-and-set).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from uws_service.applications import Application, Checked, check, launch
from uws_service.applications.bounds import clamp_destruction, clamp_duration, quote
from uws_service.applications.provenance import chosen_values, unknown_parameters, versions
from uws_service.auth import Identity, normal_group, require_access
from uws_service.auth.data_tokens import DataAccess
from uws_service.auth.policy import Rules
from uws_service.auth.quotas import Holding, require_room
from uws_service.auth.settings import Auth
from uws_service.domain.attempt import Attempt, AttemptState, Reason
from uws_service.domain.errors import (
    AuthenticationRequired,
    Conflict,
    Forbidden,
    NotFound,
    StorageFull,
    TooLarge,
    UsageError,
    UwsError,
)
from uws_service.domain.ids import new_id, now_ms
from uws_service.domain.job import BLOCKING, FINAL, Action, ErrorSummary, Job, JobRef, Parameter, Phase, apply
from uws_service.domain.share import Share
from uws_service.offload import offload
from uws_service.placement.placer import Placer
from uws_service.service.limits import Limits
from uws_service.store import Made, StaleJob, Store, stored_bytes
from uws_service.store.access import hashed
from uws_service.store.grants import Grant
from uws_service.store.reserve import Reserve
from uws_service.telemetry import WAKE_UPS

RETRIES = 8
"""How often a change is decided anew when the job changed at the same moment."""

SECRET_KEY = 22
"""Characters of an Idempotency-Key that is as hard to guess as a job's id: 128 bits in base64."""
AHEAD_CAP = 1000
"""Jobs ahead of a queued one are counted up to here."""
LONGEST_SHARE = 365 * 86400
"""Seconds for which a job can be shared at once."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent to make or change a job, taken apart (U-123): control words apart from parameters."""

    parameters: tuple[Parameter, ...] = ()
    run: bool = False
    run_id: str | None = None
    duration: int | None = None
    destruction: int | None = None


def fingerprint(request: Request, digests: Sequence[str]) -> str:
    """What identifies a creating request beside its Idempotency-Key: all it said, and its files' checksums."""
    whole = hashlib.sha256()
    for parameter in request.parameters:
        whole.update(repr((parameter.name, parameter.value, parameter.upload is not None)).encode())
    whole.update(repr((request.run, request.run_id, request.duration, request.destruction, tuple(digests))).encode())
    return whole.hexdigest()


def merge(application: Application, old: Sequence[Parameter], new: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Parameters after a POST to ``{job}/parameters`` (D-011, D-014).

    A name that may be repeated gains values; for any other name the new values take the place of the old ones.
    """
    repeated = {spec.name.upper() for spec in application.parameters if spec.repeated} | {"UPLOAD"}
    replaced = {parameter.name.upper() for parameter in new} - repeated
    kept = [parameter for parameter in old if parameter.name.upper() not in replaced]
    return (*kept, *new)


def require_fitting(parameters: Sequence[Parameter], limits: Limits) -> None:
    """Refuse parameters that came by many requests and are too much for one job."""
    if len(parameters) > limits.parameters + limits.files:
        raise UsageError(f"A job has at most {limits.parameters} parameters.")
    if sum(len(one.value.encode(errors="replace")) for one in parameters) > limits.text:
        raise TooLarge(f"The values of a job's parameters have at most {limits.text} bytes together; send files.")


class Service:
    """All that a caller can ask, over one store.

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
    ) -> None:
        self.store = store
        self.applications = applications
        self.placer = placer
        self.rules = rules or Rules(Auth())
        self.data = data
        self.clock = clock
        self.limits = limits or Limits()
        self.reserve: Reserve | None = None
        """Room that an abort or a deletion may use on a full disk."""
        self.waiters = 0
        self._draining = asyncio.Event()
        self._counting: dict[str | None, asyncio.Lock] = {}

    def drain(self) -> None:
        """Let every WAIT return now."""
        self._draining.set()
        self.store.feed.wake_all()

    def application(self, name: str) -> Application:
        """The application of this name, or `NotFound`."""
        found = self.applications.get(name)
        if found is None:
            raise NotFound(f"There is no application {name[:64]!r} here. There are: {', '.join(self.applications)}.")
        return found

    async def get(self, application: str, job_id: str, identity: Identity, *, write: bool = False) -> Job:
        """A job that the caller may read, or change; else `NotFound`, `Forbidden`, `AuthenticationRequired`."""
        job = await self.store.get(job_id)
        if job is None or job.application != application:
            raise NotFound(f"There is no job {job_id[:64]!r} of the application {application[:64]!r}.")
        await self._require(job_id, job.owner, identity, write)
        return job

    async def glance(
        self, application: str, job_id: str, identity: Identity, *, write: bool = False
    ) -> tuple[int, Phase]:
        """Version and phase of a job, by the shortest way."""
        seen = await self.store.glance(job_id)
        if seen is None or seen.application != application:
            raise NotFound(f"There is no job {job_id[:64]!r} of the application {application[:64]!r}.")
        if seen.owner is not None and seen.owner != identity.owner:
            await self._require(job_id, seen.owner, identity, write)
        return seen.version, seen.phase

    async def _require(self, job_id: str, owner: str | None, identity: Identity, write: bool) -> None:
        """Raise unless the job is the caller's (U-161), or is only to be read and is shared with the caller."""
        try:
            require_access(owner, identity)
        except UwsError:
            if write or not (identity.share or identity.groups) or not await self._is_shared(job_id, identity):
                raise

    async def _is_shared(self, job_id: str, identity: Identity) -> bool:
        shares = await self.store.access.shares(job_id, self.clock())
        key = hashed(identity.share) if identity.share else None
        return any((one.key is not None and one.key == key) or one.group in identity.groups for one in shares)

    @asynccontextmanager
    async def _room(
        self, identity: Identity, *, run: bool, new: bool, jobs: int = 1, size: int = 0
    ) -> AsyncIterator[None]:
        """What is done inside, which stores so many bytes, fits the caller's quota.

        Two requests of one caller do not count at once.
        """
        if not self.rules.has_quotas:
            yield
            return
        if len(self._counting) > 10_000:
            self._counting = {owner: lock for owner, lock in self._counting.items() if lock.locked()}
        async with self._counting.setdefault(identity.owner, asyncio.Lock()):
            found = await self.store.access.holding(identity.owner)
            phases = {Phase(phase): count for phase, (count, _) in found.items()}
            holding = Holding(phases, sum(stored for _, stored in found.values()))
            require_room(self.rules.quota(identity), holding, run=run, new=new, jobs=jobs, size=size)
            yield

    def list_jobs(
        self,
        application: str,
        identity: Identity,
        *,
        phases: frozenset[Phase] | None = None,
        after: int | None = None,
        last: int | None = None,
        run_id: str | None = None,
    ) -> AsyncIterator[list[JobRef]]:
        """Pages of the caller's jobs, newest first (U-051…U-057); with ``run_id`` only those of one RUNID."""
        self.application(application)
        if identity.owner is None and not self.rules.lists_anonymous():
            return _nothing()
        return self.store.list_jobs(
            application, owner=identity.owner, phases=phases, after=after, last=last, run_id=run_id
        )

    async def create(
        self,
        application: Application,
        identity: Identity,
        request: Request,
        *,
        job_id: str | None = None,
        origin: str = "",
        idempotency: tuple[str, str] | None = None,
        listed: bool = True,
        token: str | None = None,
    ) -> tuple[Job, bool]:
        """A new job, run at once if asked (U-120, U-123); False: the same request had made it before.

        Bad parameters do not prevent it: they become an ERROR when the job is run (T-013). ``token`` is what the
        caller is known by, to be exchanged for access to the job's data.
        """
        self.rules.require_use(application, identity)
        hidden = identity.owner is None and not self.rules.lists_anonymous()
        if idempotency is not None and hidden and len(idempotency[0]) < SECRET_KEY:
            raise UsageError(
                f"The Idempotency-Key of an unknown caller must have at least {SECRET_KEY} random characters: whoever "
                "repeats the request with it is led to the job."
            )
        now = self.clock()
        job = self._new(application, identity, request, job_id or new_id(now), now, listed=listed)
        made: Made = (job, None, ())
        async with self._room(identity, run=request.run, new=True, size=stored_bytes(job)):
            if request.run:
                made = await self._started(job, identity, 1, now, token)
            return await self.store.create_many([made], actor=identity.actor, origin=origin, idempotency=idempotency)

    async def create_many(
        self,
        application: Application,
        identity: Identity,
        request: Request,
        rows: Sequence[tuple[Parameter, ...]],
        *,
        origin: str = "",
        idempotency: tuple[str, str] | None = None,
        token: str | None = None,
    ) -> str:
        """A job for each row of parameters, all or none; returns the RUNID that finds them.

        Parameters
        ----------
        request
            What they have in common.
        rows
            All parameters of each, checked.
        """
        self.rules.require_use(application, identity)
        if identity.owner is None and not self.rules.lists_anonymous():
            raise AuthenticationRequired("Log in, or send a token: jobs of unknown callers are in no list.")
        now = self.clock()
        run_id = request.run_id or f"bulk-{secrets.token_hex(8)}"
        ids = sorted(new_id(now) for _ in rows)
        made: list[Made] = []
        size = sum(len(one.value) + (one.size or 0) for row in rows for one in row)
        async with self._room(identity, run=request.run, new=True, jobs=len(rows), size=size):
            for number, (job_id, parameters) in enumerate(zip(ids, rows, strict=True), 1):
                wanted = replace(request, parameters=parameters, run_id=run_id)
                job = self._new(application, identity, wanted, job_id, now)
                job = replace(job, info={**job.info, "row": number})
                made.append(await self._started(job, identity, 1, now, token) if request.run else (job, None, ()))
                if number % 100 == 0:
                    await asyncio.sleep(0)  # others have their turn
            first, _ = await self.store.create_many(made, actor=identity.actor, origin=origin, idempotency=idempotency)
        return first.run_id or run_id

    def _new(
        self,
        application: Application,
        identity: Identity,
        request: Request,
        job_id: str,
        now: int,
        *,
        listed: bool = True,
    ) -> Job:
        """A PENDING job, its times within what the application allows."""
        limits = application.limits
        destruction: int | None = now + limits.retention.default * 1000 if limits.retention.default else None
        if request.destruction is not None:
            destruction = clamp_destruction(application, now, request.destruction, now)
        duration = request.duration if request.duration is not None else limits.execution_duration.default
        notices = unknown_parameters(application, request.parameters)
        job = Job(
            id=job_id,
            application=application.name,
            owner=identity.owner,
            phase=Phase.PENDING,
            created=now,
            duration=clamp_duration(application, duration),
            destruction=destruction,
            run_id=request.run_id,
            parameters=request.parameters,
            info={"notices": list(notices)} if notices else {},
            listed=listed,
        )
        return replace(job, quote=quote(job, now))

    def checked(self, job: Job) -> Checked:
        """The job's parameters, checked against its application; raises `UsageError`."""
        return check(self.application(job.application), job.parameters)

    async def _started(self, job: Job, identity: Identity, number: int, now: int, token: str | None) -> Made:
        """The job after RUN, its attempt and its access to data; or in ERROR if its parameters are wrong."""
        application = self.application(job.application)
        try:
            weight = sum(len(one.value) for one in job.parameters)
            checked = await offload(weight, check, application, job.parameters)
            site, why = await self.placer.choose(job, application, group=identity.group)
        except UsageError as error:
            summary = ErrorSummary(error.message, transient=False, reason=Reason.USAGE, detail=error.detail)
            return apply(job, Action.REFUSE, now, error=summary), None, ()
        grants = await self._grants(job, application, checked, identity, token)
        queued = apply(job, Action.RUN, now)
        plan = await offload(weight, launch, application, queued, checked, number)
        waiting = f"waiting for a free slot at {site}"
        info = {**job.info, "site": site, "site_reason": why, "attempt": number, "waiting": waiting}
        info["defaults"] = chosen_values(application, job.parameters, checked.format, checked.maxrec)
        info["versions"] = versions(application, image=self.placer.runs_containers(site))
        attempt = Attempt(
            job_id=job.id,
            number=number,
            site=site,
            application=job.application,
            owner=job.owner or "",
            group=identity.group,
            created=now,
            cpu_requested=application.resources.cpu,
            memory_requested=application.resources.memory,
            owner_slots=self.rules.quota(identity).running if self.rules.has_quotas else None,
            launch=replace(plan, group=identity.group),
        )
        return replace(queued, quote=quote(queued, now), info=info), attempt, grants

    async def _grants(
        self, job: Job, application: Application, checked: Checked, identity: Identity, token: str | None
    ) -> tuple[Grant, ...]:
        if self.data is not None:
            return await self.data.obtain(job, application, checked.inputs, identity, token)
        if application.data_token is not None:
            raise Forbidden(f"The application {application.name!r} needs access to data, and no issuer gives it here.")
        return ()

    async def _change(
        self,
        application: str,
        job_id: str,
        identity: Identity,
        kind: str,
        origin: str,
        decide: Callable[[Job], Job],
        detail: Mapping[str, Any] | None = None,
    ) -> Job:
        """Read, decide, compare-and-set; decide again if somebody was faster."""
        for _ in range(RETRIES):
            job = await self.get(application, job_id, identity, write=True)
            after = decide(job)
            if after is job:
                return job
            try:
                return await self.store.save(job, after, kind=kind, actor=identity.actor, origin=origin, detail=detail)
            except StaleJob:
                continue
        raise Conflict("The job is being changed by others all the time. Try again.", retry_after=1)

    async def run(
        self, application: str, job_id: str, identity: Identity, *, origin: str = "", token: str | None = None
    ) -> Job:
        """PHASE=RUN (U-026); when this returns, nobody sees the job PENDING any more (U-105)."""
        for _ in range(RETRIES):
            job = apply_check(await self.get(application, job_id, identity, write=True))
            self.rules.require_use(self.application(application), identity)
            number = 1 + max((attempt.number for attempt in await self.store.attempts(job_id)), default=0)
            async with self._room(identity, run=True, new=False):
                after, attempt, grants = await self._started(job, identity, number, self.clock(), token)
                attempts = (attempt,) if attempt is not None else ()
                try:
                    return await self.store.save(
                        job,
                        after,
                        kind="PHASE",
                        actor=identity.actor,
                        origin=origin,
                        attempts=attempts,
                        grants=grants,
                    )
                except StaleJob:
                    continue
        raise Conflict("The job is being changed by others all the time. Try again.", retry_after=1)

    async def abort(self, application: str, job_id: str, identity: Identity, *, origin: str = "") -> Job:
        """PHASE=ABORT (U-027, U-107, U-108); on an aborted job nothing changes, on another ended one 403 (U-109)."""
        for _ in range(RETRIES):
            job = await self.get(application, job_id, identity, write=True)
            if job.phase is Phase.ABORTED:
                return job
            error = ErrorSummary("Aborted at the owner's request.", reason=Reason.ABORTED)
            after = apply(job, Action.ABORT, self.clock(), error=error)
            attempts = [replace(attempt, wanted=False) for attempt in await self.store.attempts(job_id)]
            try:
                return await self.store.save(
                    job, after, kind="PHASE", actor=identity.actor, origin=origin, attempts=attempts
                )
            except StaleJob:
                continue
            except StorageFull:
                if self.reserve is None or not self.reserve.release():
                    raise
        raise Conflict("The job is being changed by others all the time. Try again.", retry_after=1)

    async def delete(self, application: str, job_id: str, identity: Identity, *, origin: str = "") -> None:
        """Destroy a job: it is forgotten at once, what runs of it is stopped, its files are removed (U-130…U-132)."""
        for _ in range(RETRIES):
            job = await self.get(application, job_id, identity, write=True)
            try:
                return await self.store.delete(job, actor=identity.actor, origin=origin)
            except StaleJob:
                continue
            except StorageFull:  # the files go a little later, and with them the need
                if self.reserve is None or not self.reserve.release():
                    raise
        raise Conflict("The job is being changed by others all the time. Try again.", retry_after=1)

    async def set_duration(
        self, application: str, job_id: str, identity: Identity, seconds: int, *, origin: str = ""
    ) -> Job:
        """EXECUTIONDURATION, clamped to what the application allows (U-029, U-136)."""

        def decide(job: Job) -> Job:
            if job.phase in FINAL:
                raise Forbidden(f"The job has ended ({job.phase.value}); its executionDuration can't be changed.")
            after = replace(job, duration=clamp_duration(self.application(application), seconds))
            return replace(after, quote=quote(after, job.started or job.queued or job.created))

        return await self._change(application, job_id, identity, "DURATION", origin, decide)

    async def set_destruction(
        self, application: str, job_id: str, identity: Identity, instant: int, *, origin: str = ""
    ) -> Job:
        """DESTRUCTION, clamped to what the application allows (U-031, U-134)."""

        def decide(job: Job) -> Job:
            if job.phase is Phase.ARCHIVED:
                raise Forbidden("The job is archived; its destruction time can't be changed.")
            limited = clamp_destruction(self.application(application), job.created, instant, self.clock())
            return replace(job, destruction=limited)

        return await self._change(application, job_id, identity, "DESTRUCTION", origin, decide)

    async def set_parameters(
        self, application: str, job_id: str, identity: Identity, request: Request, *, origin: str = ""
    ) -> Job:
        """Add or replace parameters of a PENDING job (U-037, D-011, D-013)."""

        def decide(job: Job) -> Job:
            require_pending(job)
            parameters = merge(self.application(application), job.parameters, request.parameters)
            require_fitting(parameters, self.limits)
            run_id = request.run_id if request.run_id is not None else job.run_id
            info = {**job.info, "notices": list(unknown_parameters(self.application(application), parameters))}
            return replace(job, parameters=parameters, run_id=run_id, info=info)

        size = sum(len(one.value) + (one.size or 0) for one in request.parameters)
        async with self._room(identity, run=False, new=True, size=size):
            return await self._change(application, job_id, identity, "PARAMETERS", origin, decide)

    # --- what pages show beside the job --------------------------------------------------------------------------

    async def attempts(self, job_id: str) -> list[Attempt]:
        """Return the attempts of a job that the caller may read, the first one first."""
        return list(await self.store.attempts(job_id))

    async def queue_info(self, job: Job) -> Mapping[str, Any]:
        """Return what jobInfo says of a job's place in the queue as it is now; nothing if it does not wait."""
        if job.phase is not Phase.QUEUED:
            return {}
        attempts = await self.store.attempts(job.id)
        if not attempts:
            return {"ahead": 0}
        attempt = attempts[-1]
        if attempt.state is not AttemptState.WAITING:
            return {}
        info: dict[str, Any] = {"ahead": await self.store.waiting_ahead(attempt, cap=AHEAD_CAP)}
        if attempt.owner_slots is not None and await self.store.at_work(attempt.owner) >= attempt.owner_slots:
            info["waiting"] = f"{attempt.owner_slots} of your jobs run; more of them wait"
        return info

    async def phase_counts(self) -> Mapping[tuple[str, str], int]:
        """Return the number of jobs by application and phase."""
        return await self.store.phase_counts()

    async def holding(self, owner: str | None) -> Mapping[str, tuple[int, int]]:
        """Return an owner's jobs: phase to how many, and how many bytes."""
        return await self.store.access.holding(owner)

    # --- sharing ------------------------------------------------------------------------------------------------

    async def share(
        self,
        application: str,
        job_id: str,
        identity: Identity,
        *,
        expires: int,
        group: str | None = None,
        origin: str = "",
    ) -> tuple[Share, str | None]:
        """Let a group, or whoever has a link, read a job until an instant; the share, and the link's secret.

        The secret is told this once: the store keeps its hash.
        """
        now = self.clock()
        if not now < expires <= now + LONGEST_SHARE * 1000:
            raise UsageError(f"A share ends in the future, and in at most {LONGEST_SHARE // 86400} days.")
        secret = secrets.token_urlsafe(32) if group is None else None
        share = Share(
            id=secrets.token_hex(8),
            job_id=job_id,
            key=hashed(secret) if secret is not None else None,
            group=normal_group(group) if group is not None else None,
            actor=identity.actor,
            created=now,
            expires=expires,
        )
        told = {"share": share.id, "group": share.group, "expires": expires}
        await self._change(
            application, job_id, identity, "SHARED", origin, lambda job: replace(require_owned(job)), detail=told
        )
        await self.store.access.add_share(share, now)
        return share, secret

    async def shares(self, application: str, job_id: str, identity: Identity) -> list[Share]:
        """The shares of a job that have not ended."""
        await self.glance(application, job_id, identity, write=True)
        return await self.store.access.shares(job_id, self.clock())

    async def end_share(
        self, application: str, job_id: str, identity: Identity, share_id: str, *, origin: str = ""
    ) -> None:
        """Take a share back; it ends at once."""
        await self.glance(application, job_id, identity, write=True)
        if not await self.store.access.end_share(job_id, share_id):
            raise NotFound(f"The job has no share {share_id[:64]!r}.")
        told = {"share": share_id}
        await self._change(application, job_id, identity, "UNSHARED", origin, replace, detail=told)

    # --- waiting ------------------------------------------------------------------------------------------------

    async def wait(
        self, application: str, job_id: str, identity: Identity, *, seconds: float, phase: Phase | None = None
    ) -> None:
        """Return when the phase changes, the job is deleted, or the time is over (U-150…U-154).

        ``phase`` is the phase that the client believes the job to be in: if it is not, nothing is waited for.
        """
        version, current = await self.glance(application, job_id, identity)
        if seconds <= 0 or current not in BLOCKING or (phase is not None and phase is not current):
            return
        if self.waiters >= self.limits.waiters:  # early return under load is allowed (U-156)
            WAKE_UPS.labels("full").inc()
            return
        deadline = asyncio.get_running_loop().time() + seconds
        self.waiters += 1
        try:
            while (left := deadline - asyncio.get_running_loop().time()) > 0 and not self._draining.is_set():
                await self.store.feed.wait_change(job_id, version, left)
                seen = await self.store.glance(job_id)
                if seen is None or seen.phase is not current:
                    WAKE_UPS.labels("deleted" if seen is None else "phase").inc()
                    return
                version = seen.version
            WAKE_UPS.labels("shutdown" if self._draining.is_set() else "timeout").inc()
        finally:
            self.waiters -= 1

    async def wait_final(self, job: Job, seconds: float) -> Job | None:
        """The job once it has ended, or None if it has not after so many seconds."""
        deadline = asyncio.get_running_loop().time() + seconds
        current: Job | None = job
        while current is not None and current.phase not in FINAL:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or self._draining.is_set():
                return None
            await self.store.feed.wait_change(current.id, current.version, left)
            current = await self.store.get(current.id)
        return current


async def _nothing() -> AsyncIterator[list[JobRef]]:
    """A list that shows nothing: who is not known could see others' jobs in it."""
    nothing: tuple[list[JobRef], ...] = ()
    for page in nothing:
        yield page


def require_owned(job: Job) -> Job:
    """The job itself, or `Forbidden` if it belongs to nobody."""
    if job.owner is None:
        raise Forbidden("The job is anonymous: whoever knows its URL may use it. There is nothing to share.")
    return job


def require_pending(job: Job) -> None:
    """Raise `Forbidden` unless parameters may still be changed (D-013)."""
    if job.phase is not Phase.PENDING:
        raise Forbidden(f"Parameters can be changed only while the job is PENDING; it is {job.phase.value}.")


def apply_check(job: Job) -> Job:
    """The job itself if RUN is legal in its phase, else `Forbidden`: also when its parameters are wrong."""
    apply(job, Action.RUN, job.created)
    return job

"""Jobs, checked against their caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from uws_service.auth import require_access
from uws_service.domain.errors import Conflict, NotFound, StorageFull, UwsError
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job, Phase
from uws_service.domain.price import Hold
from uws_service.service.caller import Caller
from uws_service.store import StaleJob, Store
from uws_service.store.access import hashed
from uws_service.store.reserve import Reserve

T = TypeVar("T")
MAX_TRIES = 8
"""How often a change is decided when the job changes at the same moment."""


async def compare_and_set(change: Callable[[], Awaitable[T]], reserve: Reserve | None = None) -> T:
    """Repeat a change until it meets no other.

    Parameters
    ----------
    change
        Reads, decides and saves; raises `StaleJob` if the job has changed since it was read.
    reserve
        Room that this change may use on a full disk.

    Raises
    ------
    Conflict
        Others change the job all the time.
    """
    for _ in range(MAX_TRIES):
        try:
            return await change()
        except StaleJob:
            continue
        except StorageFull:
            if reserve is None or not reserve.release():
                raise
    raise Conflict("The job is being changed by others all the time. Try again.", retry_after=1)


class JobAccess:
    """The jobs of a store, for their callers.

    Parameters
    ----------
    store
        The only truth about jobs.
    clock
        The present instant in milliseconds.
    """

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self.store = store
        self.clock = clock

    async def get(self, application: str, job_id: str, caller: Caller, *, write: bool = False) -> Job:
        """Return a job of the caller.

        Raises
        ------
        NotFound, Forbidden, AuthenticationRequired
            There is no such job, or it is not the caller's (U-001, U-161).
        """
        job = await self.store.get(job_id)
        if job is None or job.application != application:
            raise _no_job(application, job_id)
        await self._require(job_id, job.owner, caller, write)
        return job

    async def glance(self, application: str, job_id: str, caller: Caller, *, write: bool = False) -> tuple[int, Phase]:
        """Return version and phase, faster than `get`."""
        row = await self.store.glance(job_id)
        if row is None or row.application != application:
            raise _no_job(application, job_id)
        if row.owner is not None and row.owner != caller.identity.owner:
            await self._require(job_id, row.owner, caller, write)
        return row.version, row.phase

    async def change(
        self,
        application: str,
        job_id: str,
        caller: Caller,
        kind: EventKind,
        decide: Callable[[Job], Job],
        detail: Mapping[str, Any] | None = None,
        holds: Callable[[Job, Job], Awaitable[Sequence[Hold]]] | None = None,
    ) -> Job:
        """Save the job that ``decide`` returns, unless it is the same object.

        ``holds`` returns what is to be held in budgets for the change.
        """

        async def save() -> Job:
            job = await self.get(application, job_id, caller, write=True)
            after = decide(job)
            if after is job:
                return job
            return await self.store.save(
                job,
                after,
                kind=kind,
                actor=caller.actor,
                origin=caller.origin,
                detail=detail,
                holds=await holds(job, after) if holds is not None else (),
            )

        return await compare_and_set(save)

    async def _require(self, job_id: str, owner: str | None, caller: Caller, write: bool) -> None:
        """Raise unless the caller may use the job (U-161).

        Others may read a job that is shared with them.
        """
        identity = caller.identity
        try:
            require_access(owner, identity)
        except UwsError:
            if write or not (identity.share or identity.groups) or not await self._is_shared(job_id, caller):
                raise

    async def _is_shared(self, job_id: str, caller: Caller) -> bool:
        identity = caller.identity
        shares = await self.store.access.shares(job_id, self.clock())
        key = hashed(identity.share) if identity.share else None
        return any((share.key is not None and share.key == key) or share.group in identity.groups for share in shares)


def _no_job(application: str, job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id[:64]!r} of the application {application[:64]!r}.")

"""Lists, attempts, counts: what callers read beside a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from uws_service.auth.policy import Rules
from uws_service.domain.attempt import AWAITS_DATA, Attempt, AttemptState
from uws_service.domain.job import Job, JobRef, Phase
from uws_service.domain.jobinfo import JobInfo
from uws_service.placement.placer import Placer
from uws_service.protocol.atom import Finished
from uws_service.service.caller import Caller
from uws_service.store import Store

MAX_AHEAD = 1000
"""Jobs ahead of a queued one are counted up to here."""
MAX_COUNTED = 1000
"""Jobs are counted up to here where a page only gives an idea."""


class Views:
    """Reads for pages and documents; changes nothing."""

    def __init__(self, store: Store, rules: Rules, placer: Placer) -> None:
        self._store = store
        self._placer = placer
        self._rules = rules

    def jobs(
        self,
        application: str,
        caller: Caller,
        *,
        phases: frozenset[Phase] | None = None,
        after: int | None = None,
        last: int | None = None,
        run_id: str | None = None,
    ) -> AsyncIterator[list[JobRef]]:
        """Yield pages of the caller's jobs, newest first (U-051…U-057)."""
        if caller.owner is None and not self._rules.lists_anonymous():
            return _no_pages()
        return self._store.list_jobs(
            application, owner=caller.owner, phases=phases, after=after, last=last, run_id=run_id
        )

    async def finished(self, owner: str, limit: int) -> list[Finished]:
        """Return an owner's jobs that ended last, the latest first."""
        return [Finished(*row) for row in await self._store.overview.finished(owner, limit)]

    def owner_key(self, caller: Caller) -> str:
        """Return the key of the caller's own jobs.

        Raise if they can't have a list of any.
        """
        self._rules.require_owner(caller.identity)
        return caller.owner or ""

    async def attempts(self, job_id: str) -> list[Attempt]:
        """Return the attempts of a job, first to last."""
        return await self._store.attempts.of(job_id)

    async def queue_info(self, job: Job) -> JobInfo:
        """Return jobInfo with the present place in the queue."""
        if job.phase is not Phase.QUEUED:
            return job.info
        attempts = await self._store.attempts.of(job.id)
        if not attempts:
            return replace(job.info, ahead=0)
        attempt = attempts[-1]
        if attempt.state is not AttemptState.WAITING:
            return job.info
        ahead = await self._store.attempts.waiting_ahead(attempt, cap=MAX_AHEAD)
        info = replace(job.info, ahead=ahead, share=await self._placer.standing_words(attempt.group))
        if attempt.owner_slots is not None and await self._store.attempts.at_work(attempt.owner) >= attempt.owner_slots:
            return replace(info, waiting=f"{attempt.owner_slots} of your jobs run; more of them wait")
        if attempt.not_before >= AWAITS_DATA:
            return info
        wish = await self._store.attempts.wish(job.id, attempt.number)
        return replace(info, waiting=await self._placer.waiting_words(attempt, wish) or info.waiting)

    async def application_of(self, job_id: str) -> str | None:
        """Return the application of a job.

        None if there is no such job.
        """
        row = await self._store.glance(job_id)
        return row.application if row is not None else None

    async def events(self, job_id: str) -> list[tuple[int, str, str]]:
        """Return instant, kind and phase of a job's history, first to last."""
        return [(event.at, event.kind, event.phase) for event in await self._store.history.of(job_id)]

    async def phase_counts(self) -> Mapping[tuple[str, str], int]:
        """Return numbers of jobs by application and phase."""
        return await self._store.phase_counts()

    async def newest_counts(self, caller: Caller) -> Mapping[Phase, int]:
        """Return numbers of the caller's newest jobs by phase; of `MAX_COUNTED` at most."""
        standings = await self._store.overview.standings(self.owner_key(caller), None, MAX_COUNTED)
        return Counter(standing.phase for standing in standings)

    async def at_work(self, application: str) -> Mapping[Phase, int]:
        """Return how many jobs of an application wait and run, of all owners; `MAX_COUNTED` at most."""
        phases = (Phase.QUEUED, Phase.EXECUTING)
        return {phase: await self._store.overview.count(application, phase, MAX_COUNTED) for phase in phases}

    async def holding(self, owner: str | None) -> Mapping[str, tuple[int, int]]:
        """Return number and bytes of an owner's jobs by phase."""
        return await self._store.access.holding(owner)


async def _no_pages() -> AsyncIterator[list[JobRef]]:
    """Yield nothing: an unknown caller would see others' jobs."""
    pages: tuple[list[JobRef], ...] = ()
    for page in pages:
        yield page

"""Many jobs of one owner: found by a search, or named; and what is done with all of them (no part of UWS).

Each job is changed as if it alone was asked for, by the same rules; what is refused is told, and the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from uws_service.domain.errors import NotFound, UwsError
from uws_service.domain.job import FINAL, Phase
from uws_service.domain.search import Cursor, Page, Search
from uws_service.service.caller import Caller
from uws_service.service.jobs import Service

MAX_JOBS = 1000
"""Jobs that one request changes; it says where the next one goes on."""
MAX_COUNT = 10_000
"""Jobs that are counted before a change."""
PAGE = 200
AT_ONCE = 16
MAX_REFUSALS = 100


class Action(StrEnum):
    """What can be done with many jobs."""

    ABORT = "ABORT"
    DELETE = "DELETE"
    EXTEND = "EXTEND"


class Chosen(NamedTuple):
    """A job that was chosen."""

    id: str
    application: str
    phase: Phase
    stored: int


@dataclass(slots=True)
class Outcome:
    """What became of a request for many jobs."""

    matched: int = 0
    changed: int = 0
    size: int = 0
    """Bytes of the matching jobs' files."""
    refused: list[tuple[Chosen, str]] = field(default_factory=list)
    """The first ones, and why."""
    refusals: int = 0
    next: Cursor | None = None
    """Where the next request goes on; None: that was all."""


class Selection:
    """Searches, and changes what was found."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.store = service.store

    async def page(self, caller: Caller, search: Search, cursor: Cursor | None, limit: int) -> Page:
        """Return a page of the caller's own jobs."""
        return await self.store.search.page(self.service.views.owner_key(caller), search, cursor, limit)

    async def named(self, caller: Caller, job_ids: Sequence[str]) -> list[Chosen]:
        """Return jobs by their ids.

        Those that are not the caller's are not there.

        Raises
        ------
        NotFound
            One of them is not there.
        """
        owner_key = self.service.views.owner_key(caller)
        jobs = []
        for job_id in dict.fromkeys(job_ids):
            row = await self.store.glance(job_id)
            if row is None or (row.owner or "") != owner_key:
                raise NotFound(f"You have no job {job_id[:64]!r}; nothing was changed.")
            jobs.append(Chosen(job_id, row.application, row.phase, 0))
        return jobs

    async def count(self, caller: Caller, search: Search, action: Action) -> Outcome:
        """Return how many jobs an action would change, up to a bound; nothing is changed."""
        outcome = Outcome()
        async for jobs, cursor in self._matching(caller, search, None, action):
            outcome.matched += len(jobs)
            outcome.size += sum(job.stored for job in jobs)
            outcome.next = cursor
            if outcome.matched >= MAX_COUNT:
                break
        return outcome

    async def change(
        self, caller: Caller, search: Search, cursor: Cursor | None, action: Action, milliseconds: int
    ) -> Outcome:
        """Do something with the jobs that match, with some of them if they are very many."""
        outcome = Outcome()
        async for jobs, following in self._matching(caller, search, cursor, action):
            await self._apply(caller, jobs, action, milliseconds, outcome)
            outcome.next = following
            if outcome.matched >= MAX_JOBS:
                break
        return outcome

    async def change_named(self, caller: Caller, jobs: Sequence[Chosen], action: Action, milliseconds: int) -> Outcome:
        """Do something with these jobs."""
        outcome = Outcome()
        await self._apply(caller, jobs, action, milliseconds, outcome)
        return outcome

    async def _matching(
        self, caller: Caller, search: Search, cursor: Cursor | None, action: Action
    ) -> AsyncIterator[tuple[list[Chosen], Cursor | None]]:
        """Yield jobs that match and that the action is for, with where the next ones begin."""
        while True:
            page = await self.page(caller, search, cursor, PAGE)
            rows = [row for row in page.rows if action is not Action.ABORT or row.phase not in FINAL]
            yield [Chosen(row.id, row.application, row.phase, row.stored) for row in rows], page.next
            cursor = page.next
            if cursor is None:
                return

    async def _apply(
        self, caller: Caller, jobs: Sequence[Chosen], action: Action, milliseconds: int, outcome: Outcome
    ) -> None:
        step = self._step(action, milliseconds)
        gate = asyncio.Semaphore(AT_ONCE)

        async def handle(job: Chosen) -> str:
            async with gate:
                try:
                    await step(job, caller)
                except NotFound:  # deleted meanwhile, by whomever
                    return "" if action is Action.DELETE else "It is no longer there."
                except UwsError as error:
                    return error.message
            return ""

        reasons = await asyncio.gather(*(handle(job) for job in jobs))
        outcome.matched += len(jobs)
        outcome.size += sum(job.stored for job in jobs)
        refusals = [(job, reason) for job, reason in zip(jobs, reasons, strict=True) if reason]
        outcome.changed += len(jobs) - len(refusals)
        outcome.refusals += len(refusals)
        outcome.refused += refusals[: MAX_REFUSALS - len(outcome.refused)]

    def _step(self, action: Action, milliseconds: int) -> Callable[[Chosen, Caller], Awaitable[object]]:
        service = self.service

        async def extend(job: Chosen, caller: Caller) -> object:
            return await service.upkeep.extend(job.application, job.id, caller, milliseconds)

        async def abort(job: Chosen, caller: Caller) -> object:
            return await service.abort(job.application, job.id, caller)

        async def delete(job: Chosen, caller: Caller) -> object:
            await service.delete(job.application, job.id, caller)
            return None

        return {Action.EXTEND: extend, Action.ABORT: abort, Action.DELETE: delete}[action]

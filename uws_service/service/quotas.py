"""Quotas of callers, checked before their jobs are stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from uws_service.auth.policy import Rules
from uws_service.auth.quotas import Holding, require_room
from uws_service.domain.job import Phase
from uws_service.service.caller import Caller
from uws_service.store.access import AccessStore

MAX_LOCKS = 10_000


class Quotas:
    """Holds callers to their quotas."""

    def __init__(self, store: AccessStore, rules: Rules) -> None:
        self._store = store
        self._rules = rules
        self._locks: dict[str | None, asyncio.Lock] = {}

    @asynccontextmanager
    async def room(self, caller: Caller, *, run: bool, new: bool, jobs: int = 1, size: int = 0) -> AsyncIterator[None]:
        """Run the block if what it stores fits the caller's quota.

        The requests of a caller take turns, so that none counts beside another.
        """
        if not self._rules.has_quotas:
            yield
            return
        if len(self._locks) > MAX_LOCKS:
            self._locks = {owner: lock for owner, lock in self._locks.items() if lock.locked()}
        async with self._locks.setdefault(caller.owner, asyncio.Lock()):
            phases = await self._store.holding(caller.owner)
            holding = Holding(
                {Phase(phase): count for phase, (count, _) in phases.items()},
                sum(stored for _, stored in phases.values()),
            )
            require_room(self._rules.quota(caller.identity), holding, run=run, new=new, jobs=jobs, size=size)
            yield

"""Fair shares of a few places.

Whoever has the fewest gets the next, and nobody gets all of them while others come too.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

PRESENCE_SECONDS = 60.0
"""How long a caller counts as present after a request for a place."""


class FairPlaces:
    """Places for callers.

    Parameters
    ----------
    size
        How many there are.
    limit
        How many one caller gets, also when nobody else comes; None: all.
    clock
        Seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic, *, limit: int | None = None) -> None:
        self.size = size
        self.limit = limit
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._present: dict[str, float] = {}

    @asynccontextmanager
    async def place(self, caller: str, seconds: float) -> AsyncIterator[None]:
        """Hold a place for the caller.

        `TimeoutError` if none is free in time.
        """
        await self._enter(caller, seconds)
        try:
            yield
        finally:
            self._leave(caller)

    def _leave(self, caller: str) -> None:
        self._counts[caller] -= 1
        if not self._counts[caller]:
            del self._counts[caller]
        self._admit()

    async def _enter(self, caller: str, seconds: float) -> None:
        now = self._clock()
        self._present = {name: at for name, at in self._present.items() if now - at < PRESENCE_SECONDS}
        self._present[caller] = now
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(admitted)
        self._admit()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(admitted)
        except BaseException:
            if admitted.done():  # admitted at the last moment
                self._leave(caller)
            else:
                self._queues[caller].remove(admitted)
                if not self._queues[caller]:
                    del self._queues[caller]
            raise

    def _admit(self) -> None:
        """Admit waiting callers.

        The caller with the fewest places comes first, then who has waited longest.
        """
        while self._queues and self._counts.total() < self.size:
            caller = min(self._queues, key=lambda name: self._counts[name])
            if self._counts[caller] >= self._max_places(caller):  # nor may those who have more
                return
            queue = self._queues.pop(caller)
            queue.popleft().set_result(None)
            self._counts[caller] += 1
            if queue:
                self._queues[caller] = queue  # at the end: callers take turns

    def _max_places(self, caller: str) -> int:
        """Return a caller's limit.

        One place stays free for others.
        """
        company = any(name != caller for name in self._present) or any(name != caller for name in self._counts)
        places = max(1, self.size - 1) if company else self.size
        return places if self.limit is None else min(places, self.limit)

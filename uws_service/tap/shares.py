"""Who gets the next of a few places: whoever has the fewest, and nobody all of them while others come too."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

COMPANY_SECONDS = 60.0
"""For how long a caller counts as present after asking for a place."""


class FairPlaces:
    """Places for callers.

    Parameters
    ----------
    size
        How many there are.
    clock
        Seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = size
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._present: dict[str, float] = {}

    @asynccontextmanager
    async def place(self, caller: str, seconds: float) -> AsyncIterator[None]:
        """A place of the caller's; `TimeoutError` if there is none in time."""
        await self._enter(caller, seconds)
        try:
            yield
        finally:
            self._leave(caller)

    def _leave(self, caller: str) -> None:
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        self._admit()

    async def _enter(self, caller: str, seconds: float) -> None:
        now = self._clock()
        self._present = {one: at for one, at in self._present.items() if now - at < COMPANY_SECONDS}
        self._present[caller] = now
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(admitted)
        self._admit()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(admitted)
        except BaseException:
            if admitted.done():  # at the very last moment
                self._leave(caller)
            else:
                self._waiting[caller].remove(admitted)
                if not self._waiting[caller]:
                    del self._waiting[caller]
            raise

    def _admit(self) -> None:
        """Let in whom there is a place for; the caller with the fewest first, then who has waited the longest."""
        while self._waiting and self._held.total() < self.size:
            caller = min(self._waiting, key=lambda one: self._held[one])
            if self._held[caller] >= self._most(caller):
                return
            queue = self._waiting.pop(caller)
            queue.popleft().set_result(None)
            self._held[caller] += 1
            if queue:
                self._waiting[caller] = queue  # at the end: callers take turns

    def _most(self, caller: str) -> int:
        """A caller with company leaves one place free."""
        company = any(one != caller for one in self._present) or any(one != caller for one in self._held)
        return max(1, self.size - 1) if company else self.size

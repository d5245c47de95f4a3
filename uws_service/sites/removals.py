"""What is to be removed at a site.

Nobody waits for it, and what can't be removed now is tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

import structlog

from uws_service.domain.errors import UwsError
from uws_service.sites.executor import Executor
from uws_service.sites.live import Key

log = structlog.get_logger(__name__)

WORKERS = 4
"""So many are removed at a time: those that are to start go first."""
REPEAT_SECONDS = 10.0
"""What should not be at a site is removed again if it is still there after this time."""


class Removals:
    """The attempts of one site that are to be removed there."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self._queue: dict[Key, bool] = {}
        """What is to be removed, and whether it may still run."""
        self._current: set[Key] = set()
        self._last: dict[Key, float] = {}
        """When (monotonic) each was last removed: it may be seen for a while."""
        self._wake = asyncio.Event()

    def add(self, key: Key, *, running: bool) -> None:
        """Queue an attempt for removal.

        One that may still run is stopped first.
        """
        self._last[key] = time.monotonic()
        self._queue[key] = running
        self._wake.set()

    def has(self, key: Key) -> bool:
        """Return whether an attempt is to be removed, or was a moment ago."""
        return key in self._queue or time.monotonic() - self._last.get(key, -REPEAT_SECONDS) < REPEAT_SECONDS

    def trim(self, observed: Collection[Key]) -> None:
        """Forget what is no longer seen at the site."""
        self._last = {key: at for key, at in self._last.items() if key in observed or key in self._queue}

    async def run(self) -> None:
        """Remove until cancelled."""
        workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            key = next((key for key in self._queue if key not in self._current), None)
            if key is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._current.add(key)
            try:
                await self._remove(key, running=self._queue[key])
            finally:
                self._last[key] = time.monotonic()
                self._queue.pop(key, None)
                self._current.discard(key)

    async def _remove(self, key: Key, *, running: bool) -> None:
        """Remove one.

        What can't be removed now, the search for orphans finds later.
        """
        try:
            if running:
                await self.executor.kill(*key)
            else:
                await self.executor.forget(*key)
        except UwsError as error:
            log.info("not removed yet", job=key[0], attempt=key[1], error=error.message)
        except Exception:
            log.exception("removal failed", job=key[0], attempt=key[1])

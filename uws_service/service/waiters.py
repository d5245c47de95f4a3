"""Requests that block until a job changes (UWS 1.1 §2.2.1.2)."""

from __future__ import annotations

import asyncio

from uws_service.domain.job import BLOCKING, FINAL, Job, Phase
from uws_service.service.access import JobAccess
from uws_service.service.blocked import Blocked
from uws_service.service.caller import Caller
from uws_service.telemetry import WAKE_UPS


class Waiters:
    """Waits for jobs on behalf of callers.

    Parameters
    ----------
    blocked
        The count of waiters and of streams.
    """

    def __init__(self, access: JobAccess, blocked: Blocked) -> None:
        self.access = access
        self.store = access.store
        self.blocked = blocked
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Let every WAIT return now."""
        self._draining.set()
        self.store.feed.wake_all()

    async def wait(
        self, application: str, job_id: str, caller: Caller, *, seconds: float, phase: Phase | None = None
    ) -> None:
        """Wait until the phase changes (U-150…U-154).

        Returns too when the job is deleted or the time is over. ``phase`` is the phase that the client believes the job
        to be in: in another one nothing is waited for.
        """
        version, current = await self.access.glance(application, job_id, caller)
        if seconds <= 0 or current not in BLOCKING or (phase is not None and phase is not current):
            return
        if not self.blocked.has_room_for_waiter():  # early return under load is allowed (U-156)
            WAKE_UPS.labels("full").inc()
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        self.blocked.waiters += 1
        try:
            while (remaining := deadline - loop.time()) > 0 and not self._draining.is_set():
                await self.store.feed.wait_change(job_id, version, remaining)
                row = await self.store.glance(job_id)
                if row is None or row.phase is not current:
                    WAKE_UPS.labels("deleted" if row is None else "phase").inc()
                    return
                version = row.version
            WAKE_UPS.labels("shutdown" if self._draining.is_set() else "timeout").inc()
        finally:
            self.blocked.waiters -= 1

    async def wait_final(self, job: Job, seconds: float) -> Job | None:
        """Return the job once it has ended.

        None: not in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        current: Job | None = job
        while current is not None and current.phase not in FINAL:
            remaining = deadline - loop.time()
            if remaining <= 0 or self._draining.is_set():
                return None
            await self.store.feed.wait_change(current.id, current.version, remaining)
            current = await self.store.get(current.id)
        return current

"""A batch system on paper: held, released, begun and removed jobs, with calls that can be cut off.

It shows what no real system can be made to do at will: a service that dies between two calls, answers that are lost,
two services that submit one attempt at the same time. Everything else is tested on real systems.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from uws_service.domain.attempt import Reason
from uws_service.sites.batch.driver import BatchJob, BatchSpec, BatchState, Key
from uws_service.sites.executor import NotNow


class Killed(BaseException):
    """The service has died here."""


class PaperSystem:
    """The system; several services may share it, each by a `PaperDriver` of its own."""

    def __init__(self) -> None:
        self.jobs: dict[str, BatchJob] = {}
        self.history: dict[str, BatchJob] = {}
        self.runs: list[Key] = []
        """Every start of a command, by its attempt."""
        self._numbers = itertools.count(1)

    def create(self, key: Key) -> str:
        handle = f"{next(self._numbers)}.0"
        self.jobs[handle] = BatchJob(key, handle, BatchState.HELD)
        return handle

    def release(self, handle: str) -> None:
        job = self.jobs.get(handle)
        if job is None or job.state is not BatchState.HELD:
            raise NotNow(f"{handle} can't be released", sent=False)
        self.jobs[handle] = replace(job, state=BatchState.QUEUED)

    def begin(self, handle: str) -> None:
        """Let a released job run: its command starts."""
        job = self.jobs[handle]
        assert job.state is BatchState.QUEUED
        self.jobs[handle] = replace(job, state=BatchState.RUNNING, starts=1, started=1)
        self.runs.append(job.key)

    def begin_all(self) -> None:
        """Begin whatever may begin."""
        for job in list(self.jobs.values()):
            if job.state is BatchState.QUEUED:
                self.begin(job.handle)

    def end(self, handle: str, code: int = 0) -> None:
        self.jobs[handle] = replace(self.jobs[handle], state=BatchState.ENDED, exit_code=code, ended=2)

    def remove(self, handle: str) -> None:
        job = self.jobs.pop(handle, None)
        if job is not None:
            self.history[handle] = replace(job, state=BatchState.ENDED, reason=job.reason or Reason.DELETED)


class PaperDriver:
    """One service's way to the system.

    Parameters
    ----------
    hook
        Called with the name of each call, before it (``x>``) and after it (``x<``); it may raise `Killed`, or `NotNow`.
    """

    streams: tuple[str, ...] = ()
    forgets = False

    def __init__(self, system: PaperSystem, hook: Callable[[str], None] = lambda name: None) -> None:
        self.system = system
        self.hook = hook

    async def _call(self, name: str) -> None:
        await asyncio.sleep(0)  # others may act between any two calls
        self.hook(name)

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def health(self) -> None:
        return

    async def submit_held(self, spec: BatchSpec) -> str:
        await self._call("submit>")
        handle = self.system.create(spec.key)
        await self._call("submit<")
        return handle

    async def release(self, handle: str, spec: BatchSpec) -> None:
        await self._call("release>")
        self.system.release(handle)
        await self._call("release<")

    async def find(self, key: Key) -> list[BatchJob]:
        await self._call("find>")
        jobs = [job for job in self.system.jobs.values() if job.key == key]
        await self._call("find<")
        return jobs

    async def query(self) -> list[BatchJob]:
        await self._call("query>")
        jobs = list(self.system.jobs.values())
        await self._call("query<")
        return jobs

    async def ended(self, handles: Sequence[str]) -> list[BatchJob]:
        return [self.system.history[handle] for handle in handles if handle in self.system.history]

    async def cancel(self, handle: str) -> None:
        await self._call("cancel>")
        self.system.remove(handle)

    async def discard(self, handle: str) -> None:
        await self._call("discard>")
        if handle in self.system.jobs and self.system.jobs[handle].state is BatchState.HELD:
            self.system.remove(handle)
        await self._call("discard<")

    async def forget(self, handle: str) -> None:
        await self._call("forget>")
        self.system.remove(handle)
        await self._call("forget<")

    async def log(self, handle: str) -> bytes:
        return b""

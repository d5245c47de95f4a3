"""The service without its web: forked from this process with everything imported, and killed like any other.

A start takes as long as its work, not as long as imports: a thousand kills fit into an hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from uws_service.auth import ANONYMOUS
from uws_service.domain.errors import UwsError
from uws_service.domain.job import Parameter
from uws_service.runtime import Runtime, running
from uws_service.service.caller import Caller
from uws_service.service.requests import Request
from uws_service.settings import Settings

READY_SECONDS = 180
CALLER = Caller(ANONYMOUS)


class Forked:
    """A service in a process that is forked; its jobs are submitted, aborted and deleted by itself.

    This process must have neither threads nor an event loop when it starts one.

    Parameters
    ----------
    values
        Its settings.
    in_flight
        How many attempts are kept unfinished.
    """

    def __init__(self, folder: Path, values: dict[str, Any], in_flight: int) -> None:
        self.folder = folder
        self.values = values
        self.in_flight = in_flight
        self.mark = folder / "ready"
        self.pid = 0

    def start(self, seed: int, *, submits: bool = True) -> None:
        """Fork it, and return once its loops run."""
        self.mark.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            self._be(seed, submits)
        deadline = time.monotonic() + READY_SECONDS
        while not self.mark.exists():
            ended, _ = os.waitpid(self.pid, os.WNOHANG)
            assert not ended and time.monotonic() < deadline, self.tail()
            time.sleep(0.01)

    def kill(self) -> None:
        """``kill -9``."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def tail(self) -> str:
        """Return the end of the log."""
        log = self.folder / "service.log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def _be(self, seed: int, submits: bool) -> None:
        """Be the service until killed; never return."""
        try:
            os.setsid()
            log = os.open(self.folder / "service.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            asyncio.run(self._live(random.Random(seed), submits))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    async def _live(self, chance: random.Random, submits: bool) -> None:
        async with running(Settings.load(**self.values)) as runtime:
            self.mark.touch()
            jobs: list[str] = []
            while True:
                if submits:
                    with contextlib.suppress(UwsError):
                        await self._disturb(runtime, chance, jobs)
                await asyncio.sleep(0.05)

    async def _disturb(self, runtime: Runtime, chance: random.Random, jobs: list[str]) -> None:
        """Submit jobs while there is room, and now and then abort or delete one."""
        service = runtime.service
        loads = await runtime.store.attempts.loads()
        if sum(map(sum, loads.values())) < self.in_flight:
            parameters = (
                Parameter("SECONDS", str(chance.choice((0, 0.1, 0.3, 1)))),
                Parameter("CODE", chance.choice(("0", "0", "0", "3"))),
            )
            job, _ = await service.create(service.application("ledger"), CALLER, Request(parameters, run=True))
            jobs.append(job.id)
        lot = chance.random()
        if jobs and lot < 0.1:
            job_id = jobs.pop(chance.randrange(len(jobs)))
            end = service.abort if lot < 0.05 else service.delete
            await end("ledger", job_id, CALLER)

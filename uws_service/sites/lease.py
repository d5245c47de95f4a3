"""The one driver of each site, of all processes that share a database.

A lease is a row with an end. Its holder renews it well before that; one that can't (its database is away, its process
was paused) stops driving before anybody else may begin.

What is made in a cluster has names that can't be made twice, so any process may go on where another one stopped. The
jobs of a local site are processes of one machine. Its lease belongs to the work folder in which they run, and another
folder gets it only when nothing can run in that one any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import Protocol

import structlog

from uws_service import telemetry
from uws_service.domain.errors import UwsError
from uws_service.sites.controller import Controller
from uws_service.sites.executor import Executor
from uws_service.store import Store, WorkFolder, lease_of

log = structlog.get_logger(__name__)

STOP_BEFORE_SECONDS = 4.0
"""A lease that could not be renewed is given up so long before its end."""


class Lease(Protocol):
    """The right to drive a site."""

    holder: str
    ttl: float
    """Seconds for which it is held."""
    renewal: float
    """Seconds after which it is renewed."""

    async def acquire(self) -> str:
        """Take or keep it.

        Empty, or why it can't be had.
        """

    async def release(self) -> None:
        """Let others have it."""


class ProcessLease:
    """A lease that any process may take over once its end has come."""

    ttl = 15.0
    renewal = 4.0

    def __init__(self, store: Store, site: str) -> None:
        self.store = store
        self.name = lease_of(site)
        self.holder = secrets.token_hex(8)

    async def acquire(self) -> str:
        """Take or keep it.

        Empty, or why it can't be had.
        """
        number = await self.store.owners.acquire_lease(self.name, self.holder, int(self.ttl * 1000))
        return "" if number is not None else "another process drives it"

    async def release(self) -> None:
        """Let others have it at once."""
        await self.store.owners.release_lease(self.name, self.holder)


class FolderLease:
    """A lease of the work folder in which a local site's jobs run."""

    ttl = 30.0
    renewal = 5.0

    def __init__(self, store: Store, site: str, folder: WorkFolder, lost_after: float) -> None:
        self.store = store
        self.site = site
        self.folder = folder
        self.holder = str(folder)
        self.lost_after = lost_after

    async def acquire(self) -> str:
        """Take or keep it.

        Empty, or why it can't be had.
        """
        owner = await self.store.owners.own(self.site, self.folder, int(self.ttl * 1000), int(self.lost_after * 1000))
        if owner is None:
            return ""
        place = f"its jobs run on {owner.folder.host or 'another machine'} in {owner.folder.path or 'another folder'}"
        if owner.remaining > 0:
            return place
        return (
            f"{place}; the service there is gone and {owner.attempts} of its jobs may still run. Start it again, or, "
            f"if nothing can run there any more, run `uws-service sites --release {self.site}`"
        )

    async def release(self) -> None:
        """Keep it until its end.

        A restart finds its jobs again.
        """


class Leader:
    """Drives one site while this process holds its lease."""

    def __init__(self, lease: Lease, executor: Executor, controller: Controller, *, is_started: bool = False) -> None:
        self.lease = lease
        self.executor = executor
        self.controller = controller
        self.is_started = is_started
        """Whether the executor has been started already, and stays so."""
        self.leading = False
        self.decided = False
        """Whether it is known if this process drives the site."""
        self._refusal = ""
        self._good_until = 0.0
        controller.submitter.driver = lease.holder
        controller.may_drive = lambda: _uptime() < self._good_until
        telemetry.SITE_LEADER.labels(executor.site).set(0)

    async def run(self) -> None:
        """Take the lease whenever it is free, and drive the site as long as it is held; until cancelled."""
        try:
            while True:
                if await self._acquire():
                    await self._lead()
                await asyncio.sleep(self.lease.renewal / 2)
        finally:
            with contextlib.suppress(UwsError):
                await self.lease.release()

    async def _acquire(self) -> bool:
        began = _uptime()
        try:
            refusal = await self.lease.acquire()
        except UwsError as error:
            log.warning("lease can't be taken", site=self.executor.site, error=error.message)
            return False
        self.decided = True
        if refusal and refusal != self._refusal:
            log.warning("this process does not drive the site", site=self.executor.site, why=refusal)
        self._refusal = refusal
        if refusal:
            self._good_until = 0.0
            return False
        self._good_until = began + self.lease.ttl - STOP_BEFORE_SECONDS
        return True

    async def _lead(self) -> None:
        log.info("driving the site", site=self.executor.site)
        telemetry.SITE_LEADER.labels(self.executor.site).set(1)
        self.controller.last_round = None
        self.leading = True
        if not self.is_started and not await self._start():
            return
        work = asyncio.create_task(self.controller.run())
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=self.lease.renewal)
                if not await self._acquire() and not self.controller.may_drive():
                    log.warning("lease lost", site=self.executor.site)
                    return
            work.result()
        except UwsError as error:
            log.warning("driving the site ended", site=self.executor.site, error=error.message)
        finally:
            self.leading = False
            telemetry.SITE_LEADER.labels(self.executor.site).set(0)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            if not self.is_started:
                await self.executor.stop()

    async def _start(self) -> bool:
        """Start the executor.

        What fails is in the log, and tried again.

        Until then the readiness probe says that the controller has not begun.
        """
        try:
            await self.executor.start()
        except UwsError as error:
            log.warning("the site can't be started", site=self.executor.site, error=error.message)
        except Exception:  # such as a fault in a kind of another package
            log.exception("the site can't be started", site=self.executor.site)
        else:
            return True
        return False


def _uptime() -> float:
    """Return seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

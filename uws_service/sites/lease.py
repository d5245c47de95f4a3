"""One driver for each site: of all replicas of the service, the one that holds the site's lease.

A lease is a row with an end. Its holder renews it well before that; one that can't (its database is away, its process
was paused) stops driving before anybody else may begin. What a driver writes is compare-and-set all the same, and
what it makes at a site has names that can't be made twice, so even a late one does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time

import structlog

from uws_service import telemetry
from uws_service.domain.errors import UwsError
from uws_service.domain.ids import now_ms
from uws_service.sites.controller import Controller
from uws_service.sites.executor import Executor
from uws_service.store import Store

log = structlog.get_logger(__name__)

TTL = 15.0
"""Seconds after which a site whose driver is gone can be taken over."""
RENEW = 4.0
STOP_BEFORE = 4.0
"""A lease that could not be renewed is given up so many seconds before its end."""


class Leader:
    """Drives one site while this process holds its lease."""

    def __init__(self, store: Store, executor: Executor, controller: Controller) -> None:
        self.store = store
        self.executor = executor
        self.controller = controller
        self.lease = f"site:{executor.site}"
        self.holder = secrets.token_hex(8)
        self.leading = False

    async def run(self) -> None:
        """Take the lease whenever it is free, and drive the site as long as it is held; until cancelled."""
        try:
            while True:
                if await self._acquire():
                    await self._lead()
                await asyncio.sleep(RENEW / 2)
        finally:
            with contextlib.suppress(UwsError):
                await self.store.release_lease(self.lease, self.holder)

    async def _acquire(self) -> bool:
        try:
            return await self.store.acquire_lease(self.lease, self.holder, now_ms(), int(TTL * 1000)) is not None
        except UwsError as error:
            log.warning("lease can't be taken", lease=self.lease, error=error.message)
            return False

    async def _lead(self) -> None:
        held = time.monotonic()
        log.info("driving the site", site=self.executor.site)
        telemetry.SITE_LEADER.labels(self.executor.site).set(1)
        self.leading = True
        await self.executor.start()
        work = asyncio.create_task(self.controller.run())
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=RENEW)
                asked = time.monotonic()
                if await self._acquire():
                    held = asked
                elif time.monotonic() - held > TTL - STOP_BEFORE:
                    log.warning("lease lost", lease=self.lease)
                    return
            work.result()
        except UwsError as error:
            log.warning("driving the site ended", site=self.executor.site, error=error.message)
        finally:
            self.leading = False
            telemetry.SITE_LEADER.labels(self.executor.site).set(0)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self.executor.stop()

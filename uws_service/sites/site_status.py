"""How a site is, recorded for whoever places jobs."""

from __future__ import annotations

import time

from uws_service import telemetry
from uws_service.sites.executor import Health
from uws_service.store import SiteState, Store
from uws_service.store.queue import NETWORK

REPEAT_SECONDS = 10.0
"""How often the state is recorded while it does not change."""
MESSAGE_LENGTH = 500


class SiteStatus:
    """The state of one site, as its driver records it."""

    def __init__(self, store: Store, site: str) -> None:
        self.store = store
        self.site = site
        self.since = 0
        """Since when (milliseconds) it is as it is."""
        self._recorded_at = -REPEAT_SECONDS
        self._reachable = False

    async def record(self, health: Health, now: int) -> None:
        """Record the state if it has changed, or if that was some time ago."""
        changed = self._reachable != health.reachable or self.since == 0
        if not changed and time.monotonic() - self._recorded_at < REPEAT_SECONDS:
            return
        if changed:
            self.since = await self._since(health, now)
        await self.store.site_states.put(
            SiteState(self.site, health.reachable, self.since, health.message[:MESSAGE_LENGTH], now)
        )
        self._recorded_at, self._reachable = time.monotonic(), health.reachable
        loads = await self.store.attempts.loads()
        telemetry.SITE_WAITING.labels(self.site).set(loads.get(self.site, (0, 0))[0])
        telemetry.NETWORK_WAITING.set(loads.get(NETWORK, (0, 0))[0])
        telemetry.SITE_REACHABLE.labels(self.site).set(1 if health.reachable else 0)

    async def _since(self, health: Health, now: int) -> int:
        """Return since when the site is so.

        An earlier process may have recorded it.
        """
        recorded = (await self.store.site_states.all()).get(self.site)
        if recorded is not None and recorded.reachable == health.reachable:
            return recorded.since
        return health.since if not health.reachable and health.since else now

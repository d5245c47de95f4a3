"""What a site takes from the queues of a store."""

from __future__ import annotations

from uws_service.domain.attempt import Attempt
from uws_service.placement.placer import Placer
from uws_service.sites.local.settings import LocalSite
from uws_service.sites.network import Network, SiteQueue
from uws_service.store import Store


async def next_attempts(store: Store, site: str, free: int, now: int) -> list[Attempt]:
    """Return what the site takes when it is the only one."""
    network = Network(store, Placer(store, [LocalSite(name=site)]))
    return [taken.attempt for taken in await SiteQueue(network, site).next(free, now)]

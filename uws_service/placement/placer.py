"""Choosing a site with what the store knows of all of them now."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

from uws_service.applications import Application
from uws_service.domain.job import Job
from uws_service.placement.access import Access
from uws_service.placement.choice import Choice, SiteView, Wish, choose
from uws_service.store import Store

FRESH = 1.0
"""Seconds for which a look at all sites is used again."""
STALE_MS = 60_000
"""A site of which nobody has said anything for so long does not count as reachable."""


class PlacedSite(Protocol):
    """What the choice reads of a site's settings."""

    name: str
    slots: int
    access: Access
    runs_images: ClassVar[bool]


class Placer:
    """Chooses sites for jobs.

    Parameters
    ----------
    store
        Where waiting jobs are counted, and where the sites' drivers say how they are.
    configured
        The sites of the settings.
    near
        The names of those that belong to this machine: whether they can be reached is no question.
    """

    def __init__(self, store: Store, configured: Sequence[PlacedSite], near: Collection[str] = ()) -> None:
        self.store = store
        self.configured = {site.name: site for site in configured}
        self.near = frozenset(near)
        self._at = -FRESH
        self._views: list[SiteView] = []

    async def choose(
        self, job: Job, application: Application, *, group: str = "", without: str | None = None
    ) -> Choice:
        """The site for a job, and why; `UsageError` if none takes it."""
        named = [one.value.strip() for one in job.parameters if one.name.upper() == "SITE" and one.value.strip()]
        wish = Wish(
            application=application.name,
            owner=job.owner or "",
            group=group,
            site=named[-1] if named else None,
            cpu=application.resources.cpu,
            memory=application.resources.memory,
            gpus=application.resources.gpus,
        )
        choice = choose(await self._look(), wish, without=without)
        # What was placed since the last look counts too, or a burst would go to one site.
        self._views = [
            replace(view, waiting=view.waiting + 1) if view.name == choice.site else view for view in self._views
        ]
        return choice

    def runs_containers(self, site: str) -> bool:
        """Whether the site runs jobs in the image of their application."""
        configured = self.configured.get(site)
        return configured is not None and configured.runs_images

    async def reachable(self) -> Mapping[str, bool]:
        """Which sites answer."""
        return {view.name: view.reachable for view in await self._look()}

    async def _look(self) -> list[SiteView]:
        if len(self.configured) == 1:  # there is no choice, so nothing to look at
            return [_view(site, (0, 0), True) for site in self.configured.values()]
        if time.monotonic() - self._at > FRESH or not self._views:
            loads = await self.store.attempts.loads()
            states = await self.store.site_states.all()
            now = time.time() * 1000
            self._views = []
            for name, site in self.configured.items():
                state = states.get(name)
                told = state is not None and state.reachable and now - state.updated < STALE_MS
                self._views.append(_view(site, loads.get(name, (0, 0)), name in self.near or told))
            self._at = time.monotonic()
        return self._views


def _view(site: PlacedSite, load: tuple[int, int], reachable: bool) -> SiteView:
    access = site.access
    return SiteView(
        name=site.name,
        slots=site.slots,
        waiting=load[0],
        running=load[1],
        reachable=reachable,
        applications=access.applications,
        owners=access.owners,
        groups=access.groups,
        cpu=access.cpu,
        memory=access.memory,
        gpus=access.gpus,
    )

"""The choice of sites by their present load."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

from uws_service.applications import Application
from uws_service.domain.job import Job
from uws_service.placement.access import Access
from uws_service.placement.choice import Choice, choose
from uws_service.placement.model import SiteView, Wish, size_class
from uws_service.placement.ranks import DEFAULT_WEIGHTS, PlacementWeights
from uws_service.store import Store

FRESH_SECONDS = 1.0
"""Age up to which the loads of all sites are used again."""
STALE_MS = 60_000
"""A site counts as unreachable when its state is older."""


class PlacedSite(Protocol):
    """The settings of a site that the choice reads."""

    name: str
    slots: int
    access: Access
    runs_images: ClassVar[bool]


class Placer:
    """Chooses sites for jobs.

    Parameters
    ----------
    store
        Has the loads and states of the sites.
    configured
        The sites of the settings.
    near
        The names of those on this machine, which are always reachable.
    weights
        What counts how much.
    """

    def __init__(
        self,
        store: Store,
        configured: Sequence[PlacedSite],
        near: Collection[str] = (),
        weights: PlacementWeights = DEFAULT_WEIGHTS,
    ) -> None:
        self.store = store
        self.configured = {site.name: site for site in configured}
        self.near = frozenset(near)
        self.weights = weights
        self._at = -FRESH_SECONDS
        self._views: list[SiteView] = []

    async def choose(
        self, job: Job, application: Application, *, group: str = "", without: str | None = None
    ) -> Choice:
        """Return a job's site, or raise `UsageError`."""
        views = await self._load_views()
        now_ms = time.time_ns() // 1_000_000
        choice = choose(views, wish_of(job, application, group), without=without, now_ms=now_ms, weights=self.weights)
        # Jobs that were placed since then count too, or a burst would go to a single site.
        self._views = [
            replace(view, waiting=view.waiting + 1) if view.name == choice.site else view for view in self._views
        ]
        return choice

    def runs_containers(self, site: str) -> bool:
        """Return whether a site runs images."""
        configured = self.configured.get(site)
        return configured is not None and configured.runs_images

    async def reachable(self) -> Mapping[str, bool]:
        """Return which sites answer."""
        return {view.name: view.reachable for view in await self._load_views()}

    async def _load_views(self) -> list[SiteView]:
        if len(self.configured) == 1:  # nothing to choose
            return [_view(site, (0, 0), True) for site in self.configured.values()]
        if time.monotonic() - self._at > FRESH_SECONDS or not self._views:
            loads = await self.store.attempts.loads()
            states = await self.store.site_states.all()
            now = time.time() * 1000
            self._views = []
            for name, site in self.configured.items():
                state = states.get(name)
                answers = state is not None and state.reachable and now - state.updated < STALE_MS
                self._views.append(_view(site, loads.get(name, (0, 0)), name in self.near or answers))
            self._at = time.monotonic()
        return self._views


def wish_of(job: Job, application: Application, group: str = "") -> Wish:
    """Return what a job needs of a site."""
    names = [item.value.strip() for item in job.parameters if item.name.upper() == "SITE" and item.value.strip()]
    needs = application.resources
    return Wish(
        application=application.name,
        owner=job.owner or "",
        group=group,
        site=names[-1] if names else None,
        cpu=needs.cpu,
        memory=needs.memory,
        gpus=needs.gpus,
        size_class=size_class(needs.cpu, needs.memory, needs.gpus, job.duration * 1000),
        duration_ms=job.duration * 1000,
    )


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
        runs_images=site.runs_images,
    )

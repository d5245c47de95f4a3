"""The choice of sites by their present load."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

from uws_service.applications import Application
from uws_service.domain.attempt import Launch
from uws_service.domain.job import Job
from uws_service.placement.access import Access
from uws_service.placement.choice import Choice, SiteView, Wish, choose
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

    @property
    def kind(self) -> str:
        """Return the name of the site's kind."""

    def objection(self, launch: Launch) -> str:
        """Return why the site can't take a launch; empty if it can."""


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
    """

    def __init__(self, store: Store, configured: Sequence[PlacedSite], near: Collection[str] = ()) -> None:
        self.store = store
        self.configured = {site.name: site for site in configured}
        self.near = frozenset(near)
        self._at = -FRESH_SECONDS
        self._views: list[SiteView] = []

    async def choose(
        self,
        job: Job,
        application: Application,
        *,
        group: str = "",
        without: str | None = None,
        launch: Launch | None = None,
    ) -> Choice:
        """Return a job's site, or raise `UsageError`.

        Parameters
        ----------
        launch
            What the job runs, if that is known; else it needs what its application says.
        """
        names = [item.value.strip() for item in job.parameters if item.name.upper() == "SITE" and item.value.strip()]
        wish = Wish(
            application=application.name,
            owner=job.owner or "",
            group=group,
            site=names[-1] if names else None,
            cpu=launch.cpu if launch is not None else application.resources.cpu,
            memory=launch.memory if launch is not None else application.resources.memory,
            gpus=launch.gpus if launch is not None else application.resources.gpus,
            refusals=_refusals(self.configured.values(), launch) if launch is not None else {},
        )
        choice = choose(await self._load_views(), wish, without=without)
        # Jobs that were placed since then count too, or a burst would go to a single site.
        self._views = [
            replace(view, waiting=view.waiting + 1) if view.name == choice.site else view for view in self._views
        ]
        return choice

    def image_at(self, site: str, application: Application, launch: Launch | None) -> str:
        """Return the image in which a job runs at a site; empty if that runs no images."""
        if launch is not None and launch.needs_image:
            return launch.image
        configured = self.configured.get(site)
        return application.image if configured is not None and configured.runs_images else ""

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


def _refusals(sites: Iterable[PlacedSite], launch: Launch) -> dict[str, str]:
    """Return why sites can't take a launch, by name."""
    refusals = {}
    for site in sites:
        if launch.sites and site.name not in launch.sites:
            refusals[site.name] = "its image is not allowed there"
        elif launch.site_kind and site.kind != launch.site_kind:
            refusals[site.name] = f"it is of the kind {site.kind}, not {launch.site_kind[:40]}"
        elif objection := site.objection(launch):
            refusals[site.name] = objection
    return refusals


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

"""The choice of sites by their present load."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import structlog

from uws_service.applications import Application
from uws_service.data.replicas import Storage
from uws_service.domain.attempt import Attempt, Launch, LotKey, Reason
from uws_service.domain.job import Job
from uws_service.domain.jobinfo import JobInfo
from uws_service.placement.access import Access
from uws_service.placement.choice import Choice, choose, shortened
from uws_service.placement.facts import SiteFacts
from uws_service.placement.failures import DEFAULT_BURST, Aside, Outcome, put_aside
from uws_service.placement.locality import needs_of
from uws_service.placement.model import SiteView, Way, Wish, parse_wish, size_class, wish_text
from uws_service.placement.objections import objections, passing_objection
from uws_service.placement.patience import class_key, prospects
from uws_service.placement.rounds import expected_waits, waiting_words
from uws_service.placement.settings import DEFAULT_PLACEMENT, Placement
from uws_service.placement.shares import priority_of
from uws_service.store import Store

log = structlog.get_logger(__name__)

FRESH_SECONDS = 1.0
"""Age up to which the loads of all sites are used again."""
OUTCOMES_MS = 5_000
"""Age up to which the counts of outcomes are used again."""
MAX_OUTCOMES = 200
"""Outcomes of one kind that are looked at."""
STALE_MS = 60_000
"""A site counts as unreachable when its state is older."""


class PlacedSite(Protocol):
    """The settings of a site that the choice reads."""

    name: str
    slots: int
    access: Access
    facts: SiteFacts
    runs_images: ClassVar[bool]

    def storage_areas(self) -> tuple[Storage, ...]:
        """Return the storage areas that the site has."""

    @property
    def kind(self) -> str:
        """Return the name of the site's kind."""

    def objection(self, launch: Launch) -> str:
        """Return why the site can't take a launch; empty if it can."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a job waits: for a site, or for the network."""

    choice: Choice
    """Its site is empty for a job of the network."""
    lot: str
    wish: str
    """What it needs of a site, as JSON."""

    def applied(self, attempt: Attempt) -> Attempt:
        """Return the attempt as it waits there."""
        site = self.choice.site
        return replace(attempt, site=site, network=not site, lot=self.lot, wish=self.wish)

    def described(self, info: JobInfo) -> JobInfo:
        """Return jobInfo of a job that waits there."""
        sites = self.choice.site or " or ".join(self.choice.willing)
        return replace(
            info,
            site=self.choice.site,
            site_reason=self.choice.sentence,
            placement=shortened(self.choice.table),
            waiting=f"waiting for a free slot at {sites}",
        )


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
    settings
        What counts how much, and how long jobs wait for better sites.
    """

    def __init__(
        self,
        store: Store,
        configured: Sequence[PlacedSite],
        near: Collection[str] = (),
        settings: Placement = DEFAULT_PLACEMENT,
    ) -> None:
        self.store = store
        self.configured = {site.name: site for site in configured}
        self.near = frozenset(near)
        self.settings = settings
        self.weights = settings.weights
        self._at = -FRESH_SECONDS
        self._views: list[SiteView] = []
        self._outcomes: Sequence[Outcome] = ()
        self._outcomes_at = -OUTCOMES_MS
        self._asides: dict[str, tuple[Aside | None, int]] = {}
        """Until when sites are put aside, and how often they were without a success since."""
        self.generation = 0
        """Grows when the sites' states are read anew."""

    async def choose(
        self,
        job: Job,
        application: Application,
        *,
        group: str = "",
        without: str | None = None,
        launch: Launch | None = None,
        counts: bool = True,
    ) -> Choice:
        """Return a job's site, or raise `UsageError`.

        Parameters
        ----------
        launch
            What the job runs, if that is known; else it needs what its application says.
        counts
            Whether the job waits there from now on, for the choices that follow.
        """
        choice = await self._choose(self._wish(job, application, group, launch), without)
        if counts:
            self._count(choice.site, waiting=1)
        return choice

    async def _choose(self, wish: Wish, without: str | None = None) -> Choice:
        views = await self._load_views()
        return choose(views, wish, without=without, now_ms=time.time_ns() // 1_000_000, weights=self.weights)

    def count(self, site: str) -> None:
        """Count a job that a site takes now, until the loads are read again."""
        self._count(site, running=1)

    def _count(self, name: str, *, waiting: int = 0, running: int = 0) -> None:
        """Count a job at a site, or a burst would go to a single one."""
        if len(self.configured) > 1:
            self._views = [
                replace(view, waiting=view.waiting + waiting, running=view.running + running)
                if view.name == name
                else view
                for view in self._views
            ]

    async def place(self, job: Job, application: Application, launch: Launch | None, *, group: str = "") -> Destination:
        """Return where a job waits: for the one site that may run it, or for the first site of the network.

        Raises
        ------
        NoSite
            No site takes such a job; the message says why not, site by site.
        UsageError
            There is no site of that name, or the priority is none.
        """
        wish = self._wish(job, application, group, launch)
        choice = await self._choose(wish)
        key = LotKey(self._kind(wish), group, wish.owner, priority_of_job(job)).text
        if wish.site is None and len(choice.willing) > 1:
            choice = replace(choice, site="", sentence="")
        self._count(choice.site, waiting=1)
        return Destination(choice, key, wish_text(wish))

    def _kind(self, wish: Wish) -> str:
        """Return the kind of a job: a digest of what its place depends on."""
        named = {owner for site in self.configured.values() for owner in site.access.owners}
        return hashlib.sha256(class_key(wish, named).encode()).hexdigest()[:16]

    async def views(self) -> Mapping[str, SiteView]:
        """Return what is known of the sites."""
        return {view.name: view for view in await self._load_views()}

    def _wish(self, job: Job, application: Application, group: str, launch: Launch | None) -> Wish:
        """Return what a job needs of a site; with what speaks against its launch at some of them."""
        wish = wish_of(job, application, group, launch)
        if launch is None:
            return wish
        return replace(wish, refusals=_refusals(self.configured.values(), launch))

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
        if time.monotonic() - self._at > FRESH_SECONDS or not self._views:
            drains = await self.store.site_states.drains()
            loads, states = {}, {}
            if len(self.configured) > 1:  # with one there is nothing to choose
                loads, states = await self.store.attempts.loads(), await self.store.site_states.all()
            now = time.time() * 1000
            outcomes = await self._latest_outcomes(int(now))
            self._views = []
            for name, site in self.configured.items():
                state = states.get(name)
                answers = state is not None and state.reachable and now - state.updated < STALE_MS
                reachable = len(self.configured) == 1 or name in self.near or answers
                view = _view(site, loads.get(name, (0, 0)), reachable, drains.get(name, ""))
                self._views.append(replace(view, put_aside=self._aside(name, outcomes, int(now))))
            self.generation += 1
            self._at = time.monotonic()
        return self._views

    async def _latest_outcomes(self, now_ms: int) -> Sequence[Outcome]:
        """Return how attempts at all sites have ended lately; they are counted every few seconds."""
        if len(self.configured) > 1 and now_ms - self._outcomes_at >= OUTCOMES_MS:
            counts = await self.store.attempts.outcomes(now_ms - DEFAULT_BURST.window_ms)
            self._outcomes_at = now_ms
            self._outcomes = [
                Outcome(row.site, row.application, row.latest, Reason(row.reason) if row.reason else None)
                for row in counts
                for _ in range(min(row.count, MAX_OUTCOMES))
            ]
        return self._outcomes

    def _aside(self, site: str, outcomes: Sequence[Outcome], now_ms: int) -> str:
        """Return why a site gets no new jobs after a burst of failures of its own; empty if it gets them."""
        aside, pauses = self._asides.get(site, (None, 0))
        if aside is not None and now_ms < aside.until_ms:
            return aside.sentence
        again = put_aside(site, outcomes, now_ms, pauses=pauses)
        if again is None:
            if any(outcome.site == site and outcome.reason is None for outcome in outcomes):
                self._asides.pop(site, None)
            return ""
        self._asides[site] = again, pauses + 1
        log.warning("a site is put aside", site=site, why=again.sentence)
        return again.sentence

    async def waiting_words(self, attempt: Attempt, wish: str) -> str:
        """Return why a waiting attempt has not started, as far as its place is the reason; empty if it is not.

        ``wish`` is what it needs of a site, as JSON.
        """
        now_ms = time.time_ns() // 1_000_000
        views = await self.views()
        needs = parse_wish(wish) if wish else Wish(attempt.application)
        if not attempt.network:
            view = views.get(attempt.site)
            if view is None:
                return f"waits for {attempt.site}, which this service does not have any more"
            words = passing_objection(view, needs, now_ms)
            return f"{attempt.site} starts no such job now: {words}" if words else ""
        outlook = prospects(views, needs, now_ms, self.weights)
        if outlook.costs:
            waited = max(0, now_ms - attempt.created)
            return waiting_words(outlook, waited, expected_waits(views), self.settings.patience)
        against = {name: objections(view, needs, now_ms) for name, view in views.items()}
        reasons = "; ".join(f"{name}: {reason[0].words}" for name, reason in against.items() if reason)
        return f"no site takes it at the moment ({reasons})"


def priority_of_job(job: Job) -> int:
    """Return the priority that the parameter PRIORITY gives a job among its owner's."""
    values = [item.value.strip() for item in job.parameters if item.name.upper() == "PRIORITY" and item.value.strip()]
    return priority_of(values[-1]) if values else 0


def wish_of(job: Job, application: Application, group: str = "", launch: Launch | None = None) -> Wish:
    """Return what a job needs of a site; without its launch, what its application says."""
    names = [item.value.strip() for item in job.parameters if item.name.upper() == "SITE" and item.value.strip()]
    needs = launch if launch is not None else application.resources
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
        data=needs_of(launch.data) if launch is not None else (),
    )


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


def _view(site: PlacedSite, load: tuple[int, int], reachable: bool, drained: str) -> SiteView:
    access, facts = site.access, site.facts
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
        storage={entry.area: Way.MOUNT if entry.volume else Way.STAGE for entry in site.storage_areas()},
        any_way=Way.STAGE,
        drained=drained,
        downtimes=tuple(entry.window for entry in facts.downtimes),
        bandwidth=facts.bandwidth,
        any_bandwidth=facts.any_bandwidth,
        carbon=facts.carbon,
        price=facts.price,
        preference=facts.preference,
    )

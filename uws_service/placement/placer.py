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
from uws_service.placement.history import NO_EXPERIENCE, Experience, Past, learned
from uws_service.placement.model import SiteView, Way, Wish, parse_wish, wish_text
from uws_service.placement.objections import objections, passing_objection
from uws_service.placement.patience import class_key, prospects
from uws_service.placement.published import Published
from uws_service.placement.rounds import JOB_SECONDS, expected_waits, waiting_words
from uws_service.placement.settings import DEFAULT_PLACEMENT, Placement
from uws_service.placement.shares import Ledger
from uws_service.placement.standing import standing_words
from uws_service.placement.uses import read_ledger
from uws_service.placement.wishes import priority_of_job, require_known_sites, wish_of
from uws_service.store import SiteState, Store

log = structlog.get_logger(__name__)

FRESH_SECONDS = 1.0
"""Age up to which the loads of all sites are used again."""
OUTCOMES_MS = 5_000
"""Age up to which the counts of outcomes are used again."""
HISTORY_MS = 30 * 86_400_000
"""Jobs that ended longer ago teach nothing."""
HISTORY_PAGE = 5_000
"""Most of the latest jobs that are looked at."""
LEARN_MS = 60_000
"""Age up to which what was learned from them is used again."""
LEDGER_MS = 5_000
"""Age up to which the uses of groups are told again."""
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
        """Return why the site can't take a launch.

        Empty if it can.
        """


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a job waits.

    For a site, or for the network.
    """

    choice: Choice
    """Its site is empty for a job of the network."""
    lot: str
    wish: str
    """What it needs of a site, as JSON."""
    size_class: str = ""

    def applied(self, attempt: Attempt) -> Attempt:
        """Return the attempt as it waits there."""
        site = self.choice.site
        return replace(attempt, site=site, network=not site, lot=self.lot, wish=self.wish, size_class=self.size_class)

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
        self._began_ms = time.time_ns() // 1_000_000
        self._at = -FRESH_SECONDS
        self._views: list[SiteView] = []
        self._outcomes: Sequence[Outcome] = ()
        self._outcomes_at = -OUTCOMES_MS
        self._asides: dict[str, tuple[Aside | None, int]] = {}
        """Until when sites are put aside, and how often they were without a success since."""
        self._published = Published()
        self._experience = NO_EXPERIENCE
        self._learned_at = -LEARN_MS
        self._ledger = Ledger()
        self._ledger_at = -LEDGER_MS
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
            There is no site of that name, or of one that is preferred, or the priority is none.
        """
        require_known_sites(job, self.configured)
        wish = self._wish(job, application, group, launch)
        choice = await self._choose(wish)
        key = LotKey(self._kind(wish), group, wish.owner, priority_of_job(job)).text
        if wish.site is None and len(choice.willing) > 1:
            choice = replace(choice, site="", sentence="")
        self._count(choice.site, waiting=1)
        return Destination(choice, key, wish_text(wish), wish.size_class)

    def _kind(self, wish: Wish) -> str:
        """Return the kind of a job.

        A digest of what its place depends on.
        """
        named = {owner for site in self.configured.values() for owner in site.access.owners}
        return hashlib.sha256(class_key(wish, named).encode()).hexdigest()[:16]

    async def views(self) -> Mapping[str, SiteView]:
        """Return what is known of the sites."""
        return {view.name: view for view in await self._load_views()}

    def _wish(self, job: Job, application: Application, group: str, launch: Launch | None) -> Wish:
        """Return what a job needs of a site.

        With what speaks against its launch at some of them.
        """
        wish = wish_of(job, application, group, launch, self.configured)
        if launch is None:
            return wish
        return replace(wish, refusals=_refusals(self.configured.values(), launch))

    def image_at(self, site: str, application: Application, launch: Launch | None) -> str:
        """Return the image in which a job runs at a site; empty if that runs no images."""
        if launch is not None and launch.needs_image:
            return launch.image
        configured = self.configured.get(site)
        image = launch.image if launch is not None else application.image
        return image if configured is not None and configured.runs_images else ""

    def kind_of(self, site: str) -> str:
        """Return the kind of a site."""
        return self.configured[site].kind

    def forget_views(self) -> None:
        """Read the sites' states anew when they are next looked at."""
        self._at = -FRESH_SECONDS

    def publish(self, published: Published) -> None:
        """Let what is published of the sites count from now on."""
        self._published = published
        self.forget_views()

    def contradictions(self, site: PlacedSite) -> tuple[str, ...]:
        """Return where the settings of a site say other things than what is published."""
        if not site.facts.compute:
            return ()
        return self._published.contradictions(site.facts.compute, [entry.area for entry in site.storage_areas()])

    def _with_published(self, view: SiteView, site: PlacedSite) -> SiteView:
        """Return what is known of a site, with what is published of it."""
        compute = self._published.computes.get(site.facts.compute)
        if compute is None:
            return replace(view, contradictions=self.contradictions(site))
        near = dict.fromkeys(self._published.areas_of(compute.site), Way.STAGE)
        return replace(
            view,
            downtimes=(*view.downtimes, *compute.windows),
            drained=view.drained or ("it is disabled in Site Capabilities" if compute.is_disabled else ""),
            storage={**near, **view.storage},
            contradictions=self.contradictions(site),
        )

    async def experience(self) -> Experience:
        """Return what is expected of jobs by those that ended lately."""
        now_ms = time.time_ns() // 1_000_000
        if now_ms - self._learned_at >= LEARN_MS:
            self._learned_at = now_ms
            rows = await self.store.attempts.latest(now_ms - HISTORY_MS, HISTORY_PAGE)
            self._experience = learned(Past(*row) for row in rows)
        return self._experience

    async def ledger(self, now_ms: int) -> Ledger:
        """Return what groups and owners have used, with what their running jobs are expected to use."""
        experience = await self.experience()
        return await read_ledger(self.store.queue, self.settings.shares.half_life, now_ms, experience)

    async def standing_words(self, group: str) -> str:
        """Return where a group is beside its share.

        The uses are counted every few seconds.
        """
        now_ms = time.time_ns() // 1_000_000
        if now_ms - self._ledger_at >= LEDGER_MS:
            self._ledger, self._ledger_at = await self.ledger(now_ms), now_ms
        return standing_words(group, self._ledger, self.settings.shares, now_ms)

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
            experience = await self.experience()
            self._views = []
            for name, site in self.configured.items():
                state = states.get(name)
                answers = state is not None and state.reachable and now - state.updated < STALE_MS
                reachable = len(self.configured) == 1 or name in self.near or answers
                silent_ms = now - max(self._began_ms, _last_answer(state))
                view = _view(site, loads.get(name, (0, 0)), reachable, drains.get(name, ""))
                view = self._with_published(view, site)
                self._views.append(
                    replace(
                        view,
                        awaited=not reachable and silent_ms < 1000 * self.settings.patience.silence,
                        put_aside=self._aside(name, outcomes, int(now)),
                        waits=experience.waits.get(name, {}),
                        job_seconds=experience.site_lengths.get(name, JOB_SECONDS),
                    )
                )
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


def _last_answer(state: SiteState | None) -> int:
    """Return when (milliseconds) a site has answered last, as far as its state tells; 0: it never did."""
    if state is None:
        return 0
    return state.updated if state.reachable else state.since


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
        storage={entry.area: Way.MOUNT if entry.volume else Way.STAGE for entry in site.storage_areas()},
        any_way=Way.STAGE,
        brings=any(entry.brings for entry in site.storage_areas()),
        drained=drained,
        downtimes=tuple(entry.window for entry in facts.downtimes),
        bandwidth=facts.bandwidth,
        any_bandwidth=facts.any_bandwidth,
        carbon=facts.carbon,
        price=facts.price,
        preference=facts.preference,
    )

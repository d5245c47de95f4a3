"""Late binding: which waiting attempts a site takes.

A waiting attempt of the network belongs to no site. A site that has room takes it if `placement.patience` says that it
need not wait for a better one, and in the order of `placement.shares`. Attempts that can run at this site alone wait in
the site's own queue, and have their turn among the others.

Taking is one transaction of the store: however many sites and processes look at the same queue, one of them gets an
attempt.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from uws_service.domain.attempt import Attempt, LotKey
from uws_service.domain.placement import Candidate
from uws_service.placement.choice import choose, shortened, table_of
from uws_service.placement.locality import to_bring
from uws_service.placement.lots import Lots, bounded, lots_by_owner
from uws_service.placement.model import SiteView, Wish, parse_wish
from uws_service.placement.objections import passing_objection
from uws_service.placement.patience import NEVER_MS, Prospects, decide, enough_ms, prospects
from uws_service.placement.placer import Placer
from uws_service.placement.rounds import expected_waits
from uws_service.placement.shares import Ledger, Limits, Lot, plan
from uws_service.store import Store
from uws_service.store.ends import MIN_CPU
from uws_service.store.queue import NETWORK

COURTESY_MS = 2_000
"""A younger attempt is left to a site that is as good and has less to do."""
MAX_PLANS = 8
"""Plans for one round: the next one is made when lots had fewer attempts than the last one took from them."""
MAX_READ = 1_000
SPARE = 4
MANY_LOTS = 1_000
"""So many lots of one queue are not read for each round of each site."""
MANY_LOTS_SECONDS = 1.0
NO_WISH = Wish("")
Key = tuple[str, int]


class Taken(NamedTuple):
    """A waiting attempt that a site takes, why it runs there, and what was considered."""

    attempt: Attempt
    reason: str = ""
    table: tuple[Candidate, ...] = ()
    brings: bool = False
    """Whether its data have to be brought there first."""


class Margin(NamedTuple):
    """How many attempts of one group may be at a site before they run, and how many are."""

    most: int
    held: Mapping[str, int]

    def room(self, groups: Iterable[str]) -> dict[str, int]:
        """Return how many more of each group the site takes."""
        return {group: max(0, self.most - self.held.get(group, 0)) for group in groups}


@dataclass(slots=True)
class Network:
    """What the queues of all sites of one process share.

    Parameters
    ----------
    store, placer
        The rows, and what is known of the sites.
    """

    store: Store
    placer: Placer
    beginning: set[Key] = field(default_factory=set)
    """Attempts that one of the sites is about to take: the others need not try."""
    _wishes: dict[str, Wish] = field(default_factory=dict)
    _prospects: dict[str, Prospects] = field(default_factory=dict)
    _generation: int = 0
    latest_views: Mapping[str, SiteView] = field(default_factory=dict)
    _lots: dict[str, tuple[float, Lots]] = field(default_factory=dict)

    async def lots(self, queue: str, now: int) -> Lots:
        """Return the lots of a queue that have attempts which may start now; if there are many, as of late."""
        until, lots = self._lots.get(queue, (0.0, {}))
        began = time.monotonic()
        if began < until:
            return lots
        rows = await self.store.queue.lots(queue, now)
        lots, ended = lots_by_owner(rows), time.monotonic()
        # However many there are, most of the time goes into other work.
        pause = MANY_LOTS_SECONDS + 4 * (ended - began) if len(rows) > MANY_LOTS else 0.0
        self._lots[queue] = ended + pause, lots
        return lots

    async def views(self) -> Mapping[str, SiteView]:
        """Return what is known of the sites."""
        self.latest_views = await self.placer.views()
        if self.placer.generation != self._generation:
            self._generation = self.placer.generation
            self._prospects.clear()
        return self.latest_views

    def kind_of(self, key: LotKey) -> str:
        """Return the kind of a lot's jobs by the settings of now: those of before may have named other owners."""
        named = any(key.owner in site.access.owners for site in self.placer.configured.values())
        return f"{key.kind} {key.owner}" if named else key.kind

    async def wish(self, queue: str, lot: str) -> Wish | None:
        """Return what the jobs of a lot need, all of one kind alike; None if nothing was recorded."""
        key = LotKey.parse(lot)
        kind = self.kind_of(key)
        wish = self._wishes.get(kind)
        if wish is None and key.kind:
            text = await self.store.queue.wish(queue, lot)
            if text is None:
                return None
            if len(self._wishes) > 10_000:
                self._wishes.clear()
            wish = self._wishes[kind] = parse_wish(text)
        return wish

    def outlook(self, lot: str, wish: Wish, now: int) -> Prospects:
        """Return what jobs of a lot cost at each site."""
        kind = self.kind_of(LotKey.parse(lot))
        outlook = self._prospects.get(kind)
        if outlook is None:
            outlook = prospects(self.latest_views, wish, now, self.placer.weights)
            self._prospects[kind] = outlook
        return outlook


class _Source(NamedTuple):
    """A lot of one of the queues that a site takes from."""

    queue: str
    lot: Lot
    """Its ``class_key`` is the stored key of the lot."""
    wish: Wish | None
    before: int
    """Attempts that were made later wait for a better site."""
    brings: bool = False
    """Whether their data have to be brought to the site first."""


class SiteQueue:
    """What one site takes from the network, and from its own queue.

    Parameters
    ----------
    network
        What it shares with the other sites' queues.
    site
        The site's name.
    """

    def __init__(self, network: Network, site: str) -> None:
        self.network = network
        self.site = site
        self._turn = 0
        self._round = 0

    async def next(self, free: int, now: int, margin: Margin | None = None) -> list[Taken]:
        """Return the attempts that the site takes now, at most ``free``, and of each group what its margin lets."""
        if free <= 0:
            return []
        self._round += 1
        sources = await self._with_room(await self._sources(now))
        attempts = await self._pick(sources, free, now, margin) if sources else []
        self._turn += len(attempts)
        return self._with_reasons(attempts, sources, now)

    async def _with_room(self, sources: Sequence[_Source]) -> list[_Source]:
        """Return the sources without those to bring, if data for as many jobs as the site has slots are on their way.

        Jobs that wait for their data hold no slot; without a bound the first site with room would take them all.
        """
        if not any(source.brings for source in sources):
            return list(sources)
        slots = self.network.latest_views[self.site].slots
        if await self.network.store.lookups.brought_to(self.site) < slots:
            return list(sources)
        return [source for source in sources if not source.brings]

    async def _sources(self, now: int) -> list[_Source]:
        """Return the lots that the site may take from now."""
        views = await self.network.views()
        waits = expected_waits(views)
        sources = []
        async for source in self._lots(self.site, now):
            view = views.get(self.site)
            if view is None or not passing_objection(view, source.wish or NO_WISH, now):
                sources.append(source)
        if self.site in views:
            patience = self.network.placer.settings.patience
            enough: dict[int, int] = {}  # by the outlook, which jobs of one kind share
            async for source in self._lots(NETWORK, now):
                if source.wish is None:
                    continue
                outlook = self.network.outlook(source.lot.class_key, source.wish, now)
                if id(outlook) not in enough:
                    enough[id(outlook)] = enough_ms(self.site, outlook, waits, patience)
                before = now - enough[id(outlook)]
                if enough[id(outlook)] != NEVER_MS and source.lot.oldest_ms <= before:
                    sources.append(source._replace(before=before))
        return sources

    async def _lots(self, queue: str, now: int) -> AsyncIterator[_Source]:
        lots = await self.network.lots(queue, now)
        experience = await self.network.placer.experience()
        for (_, group, owner, priority), key, oldest in bounded(lots, self._round):
            wish = await self.network.wish(queue, key)
            usual = experience.job_seconds(wish.application if wish is not None else "")
            seconds = usual * max(wish.cpu if wish is not None else 0.0, MIN_CPU)
            view = self.network.latest_views.get(self.site)
            brings = view is not None and wish is not None and bool(to_bring(view, wish.data))
            yield _Source(queue, Lot(key, group, owner, oldest, 0, priority, seconds), wish, now, brings)

    async def _pick(self, sources: Sequence[_Source], free: int, now: int, margin: Margin | None) -> list[Attempt]:
        """Return the attempts that have their turn.

        How many a lot has is known once it is read: what it lacks goes to the others in a further plan.
        """
        ledger = await self.network.placer.ledger(now) if len(sources) > 1 else Ledger()
        room = [free] * len(sources)
        rows: dict[int, list[Attempt]] = {}
        picks: list[tuple[int, int]] = []
        owners: dict[str, int] = {}
        groups = margin.room({source.lot.group for source in sources}) if margin is not None else {}
        for _ in range(MAX_PLANS):
            lots = {replace(source.lot, count=room[n]): n for n, source in enumerate(sources) if room[n]}
            planned = plan(
                lots,
                ledger,
                self.network.placer.settings.shares,
                now_ms=now,
                room=free,
                turn=self._turn,
                limits=Limits(groups, owners),
            )
            picks = [(lots[pick.lot], pick.count) for pick in planned]
            unread: Counter[int] = Counter()
            for number, count in picks:
                if number not in rows:
                    unread[number] += count
            for number, count in unread.items():
                attempts = await self._read(sources[number], count, free, now)
                if attempts and (slots := attempts[0].owner_slots) is not None:  # for all lots of the owner together
                    owner = attempts[0].owner
                    if owner not in owners:
                        owners[owner] = max(0, slots - await self.network.store.attempts.at_work(owner))
                    attempts = attempts[: owners[owner]]
                rows[number] = attempts
                room[number] = len(attempts)
            if not unread:
                break
        chosen: list[Attempt] = []
        for number, count in picks:
            chosen += rows[number][:count]
            del rows[number][:count]
        return chosen[:free]

    async def _read(self, source: _Source, count: int, free: int, now: int) -> list[Attempt]:
        """Return the oldest attempts of a lot that nobody is about to take.

        ``count`` are planned; some more are read, because other lots may have fewer than were planned of them.
        """
        beginning = self.network.beginning
        limit = min(free, 2 * count + SPARE) + len(beginning)
        if source.queue == NETWORK and now - source.lot.oldest_ms < COURTESY_MS:  # some are left to each of the sites
            limit = min(free * len(self.network.latest_views), MAX_READ) + len(beginning)
        key = source.lot.class_key
        oldest = await self.network.store.queue.oldest(source.queue, key, now, limit, before=source.before)
        attempts = [attempt for attempt in oldest if (attempt.job_id, attempt.number) not in beginning]
        if source.queue == NETWORK:
            attempts = self._leave_to_others(attempts, source, now)
        return attempts[:free]

    def _leave_to_others(self, attempts: Sequence[Attempt], source: _Source, now: int) -> list[Attempt]:
        """Return the attempts without those that a site which is as good and has less to do will take at once."""
        views = self.network.latest_views
        assert source.wish is not None
        outlook = self.network.outlook(source.lot.class_key, source.wish, now)
        here = outlook.costs.get(self.site)
        if here is None:  # what is known of the sites has changed since the lots were read
            return []
        margin = self.network.placer.settings.patience.margin
        busy = {
            name: views[name].running + views[name].waiting
            for name, cost in outlook.costs.items()
            if abs(cost - here) <= margin
            and views[name].reachable
            and views[name].running + views[name].waiting < views[name].slots
        }
        busy.setdefault(self.site, views[self.site].running)
        mine = []
        for attempt in attempts:
            idle = min(busy, key=lambda name: (busy[name] / views[name].slots, name))
            if idle == self.site or now - attempt.created >= COURTESY_MS:
                mine.append(attempt)
                idle = self.site
            busy[idle] += 1
        return mine

    def _with_reasons(self, attempts: Sequence[Attempt], sources: Sequence[_Source], now: int) -> list[Taken]:
        """Return the attempts with why they run here, which jobs of one kind share."""
        by_lot = {source.lot.class_key: source for source in sources}
        reasons: dict[str, tuple[str, tuple[Candidate, ...]]] = {}
        taken = []
        for attempt in attempts:
            _, _, wish, _, brings = by_lot[attempt.lot]
            if wish is None or not (attempt.network or brings):
                taken.append(Taken(attempt))
                continue
            kind = self.network.kind_of(LotKey.parse(attempt.lot))
            if kind not in reasons:
                reasons[kind] = self._reason(attempt, wish, now)
            taken.append(Taken(attempt, *reasons[kind], brings))
        return taken

    def _reason(self, attempt: Attempt, wish: Wish, now: int) -> tuple[str, tuple[Candidate, ...]]:
        views = tuple(self.network.latest_views.values())
        choice = choose(views, wish, now_ms=now, weights=self.network.placer.weights)
        if choice.site == self.site or not attempt.network:
            return choice.sentence, shortened(choice.table)
        waits = expected_waits(self.network.latest_views)
        outlook = self.network.outlook(attempt.lot, wish, now)
        decision = decide(self.site, outlook, now - attempt.created, waits, self.network.placer.settings.patience)
        table = table_of(views, wish, self.site, now_ms=now, weights=self.network.placer.weights)
        return f"it had room: {decision.reason}", shortened(table)

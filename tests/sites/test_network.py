"""Late binding.

Who takes what from the network's queue, on both databases.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from tests.store.samples import attempt, job
from uws_service.domain.attempt import AWAITS_DATA, Attempt, AttemptState, LotKey, Reason
from uws_service.domain.events import EventKind
from uws_service.domain.job import Phase
from uws_service.placement.access import Access
from uws_service.placement.facts import Downtime, SiteFacts
from uws_service.placement.lots import LOTS_PER_OWNER
from uws_service.placement.model import DataNeed, SiteView, Way, Wish, wish_text
from uws_service.placement.patience import Patience
from uws_service.placement.placer import Placer
from uws_service.placement.settings import Placement
from uws_service.placement.shares import FairShares, GroupShare
from uws_service.sites.local.settings import LocalSite
from uws_service.sites.network import COURTESY_MS, Margin, Network, SiteQueue
from uws_service.store import SiteState, StaleJob, Store
from uws_service.store.attempts import Take
from uws_service.store.queue import WaitingLot

pytestmark = pytest.mark.anyio
NOW = 10_000_000


class Sites(Placer):
    """The sites of the settings, with facts about their storage that no setting gives yet."""

    storage: Mapping[str, dict[str, Way]] = MappingProxyType({})
    bringing: frozenset[str] = frozenset()

    async def views(self) -> Mapping[str, SiteView]:
        views = await super().views()
        return {
            name: replace(view, storage=self.storage.get(name, {}), brings=name in self.bringing)
            for name, view in views.items()
        }


def network(store: Store, slots: dict[str, int], settings: Placement | None = None, **access: Access) -> Network:
    sites = [LocalSite(name=name, slots=count, access=access.get(name, Access())) for name, count in slots.items()]
    return Network(store, Sites(store, sites, list(slots), settings or Placement()))


async def wait(store: Store, number: int = 1, wish: Wish | None = None, *, priority: int = 0, **fields: Any) -> None:
    """Let jobs wait in the network."""
    wish = wish or Wish("app")
    kind = f"{wish.application}|{wish.group}|{wish.data}"
    for _ in range(number):
        name = f"job{next(NAMES):05}"
        owner = str(fields.get("owner", ""))
        item = attempt(
            name, network=True, lot=LotKey(kind, wish.group, owner, priority).text, wish=wish_text(wish),
            **{"site": "", "group": wish.group, "created": NOW - COURTESY_MS, **fields},
        )  # fmt: skip
        await store.create(job(name, phase=Phase.QUEUED, owner=owner or None), actor="me", attempt=item)


NAMES = iter(range(10**6))


async def take(store: Store, pick: Attempt, site: str, *, driver: str = "", brings: bool = False) -> bool:
    """Take an attempt as the site's submitter does."""
    current = await store.get(pick.job_id)
    assert current is not None
    after = replace(current, info=replace(current.info, site=site))
    try:
        await store.save(
            current, after, kind=EventKind.SITE, actor="site", take=(pick, Take(site, NOW, driver, brings))
        )
    except StaleJob:
        return False
    return True


async def abort(store: Store, name: str, rows: Sequence[Attempt]) -> None:
    """Abort a job, whose attempts were read earlier, as its owner does."""
    before = await store.get(name)
    assert before is not None
    after = replace(before, phase=Phase.ABORTED)
    unwanted = [replace(row, wanted=False) for row in rows]
    await store.save(before, after, kind=EventKind.PHASE, actor="me", attempts=unwanted)


async def test_an_attempt_goes_to_one_site(store: Store, peer: Store) -> None:
    """However many sites and processes try at once: the others change nothing, not even the job."""
    await wait(store, 30)
    queues = [SiteQueue(network(opened, {"a": 30, "b": 30}), site) for opened in (store, peer) for site in "ab"]
    tries = []
    for queue in queues:
        for pick in await queue.next(30, NOW):
            tries.append((queue.site, pick.attempt.job_id, take(queue.network.store, pick.attempt, queue.site)))
    assert len(tries) == 120
    results = await asyncio.gather(*(attempt for *_, attempt in tries))
    winners = {name: site for (site, name, _), won in zip(tries, results, strict=True) if won}
    assert len(winners) == sum(results) == 30
    for name, site in winners.items():
        (row,) = await store.attempts.of(name)
        saved = await store.get(name)
        assert saved is not None and (row.site, row.state, saved.info.site) == (site, AttemptState.SUBMITTED, site)
        assert [event.kind for event in await store.history.of(name)].count(EventKind.SITE) == 1
    assert not [pick for queue in queues for pick in await queue.next(30, NOW)]


async def test_sites_that_have_not_answered_yet_are_waited_for(store: Store) -> None:
    """Of two sites one answers first after a start: it takes no jobs whose data are at the other."""
    need = DataNeed("ska:cube", 10**12, ("DISK",))
    await wait(store, wish=Wish("app", data=(need,)))
    await wait(store, wish=Wish("app"), created=NOW - COURTESY_MS - 10)

    async def creations(silence: int) -> list[int]:
        settings = Placement(patience=Patience(silence=silence))
        sites = network(store, {"a": 5, "b": 5}, settings)
        assert isinstance(sites.placer, Sites)
        sites.placer.near = frozenset()
        sites.placer.storage = {"a": {"DISK": Way.STAGE}, "b": {"DISK": Way.MOUNT}}
        await store.site_states.put(SiteState("a", True, 1, "", time.time_ns() // 1_000_000))
        return [pick.attempt.created for pick in await SiteQueue(sites, "a").next(5, NOW)]

    without_data, with_data = NOW - COURTESY_MS - 10, NOW - COURTESY_MS
    assert await creations(60) == [without_data]
    assert sorted(await creations(0)) == [without_data, with_data]


async def test_what_was_given_back_is_the_networks_again(store: Store) -> None:
    await wait(store)
    sites = network(store, {"a": 1, "b": 1})
    (pick,) = await SiteQueue(sites, "a").next(5, NOW)
    assert await take(store, pick.attempt, "a")
    assert not await SiteQueue(sites, "b").next(5, NOW)
    (row,) = await store.attempts.of(pick.attempt.job_id)
    await store.attempts.give_back(row, NOW + 5)
    assert not await SiteQueue(sites, "b").next(5, NOW + 4)
    (again,) = await SiteQueue(sites, "b").next(5, NOW + 5)
    assert again.attempt.job_id == pick.attempt.job_id and again.attempt.site == ""


@pytest.mark.parametrize("site", ["", "a", "removed"])
async def test_what_waits_is_closed_when_nobody_wants_it(store: Store, site: str) -> None:
    """No site looks after what waits in the network: it would stay in the queue, and the job's files in the depot."""
    await wait(store, 2, site=site)
    aborted, deleted = [attempt.job_id for attempt in await store.attempts.waiting_at(site, 10)][-2:]
    await abort(store, aborted, await store.attempts.of(aborted))
    before = await store.get(deleted)
    assert before is not None
    await store.delete(before, actor="me")
    for name in (aborted, deleted):
        (row,) = await store.attempts.of(name)
        assert (row.state, row.wanted, row.reason) == (AttemptState.CLOSED, False, Reason.ABORTED) and row.ended
        assert await store.attempts.launch(name, 1) is None
    assert await store.garbage.removable(10) == [deleted]
    assert not await store.queue.lots(site, NOW) and await store.attempts.loads() == {}


async def test_what_a_site_has_begun_is_not_closed_by_an_older_row(store: Store) -> None:
    """Whoever aborts may have read the attempt before it was handed to its site, which then has to end it."""
    await wait(store, site="a")
    (waiting,) = await store.attempts.waiting_at("a", 1)
    assert await store.attempts.begin(waiting, Take("a", NOW))
    await abort(store, waiting.job_id, [waiting])
    (row,) = await store.attempts.live("a")
    assert (row.state, row.wanted) == (AttemptState.SUBMITTED, False)


async def test_what_nobody_wants_is_not_given_back(store: Store) -> None:
    """It stays at the site, which closes it; in the network nobody would."""
    await wait(store)
    (pick,) = await SiteQueue(network(store, {"a": 1, "b": 1}), "a").next(1, NOW)
    assert await take(store, pick.attempt, "a")
    (row,) = await store.attempts.of(pick.attempt.job_id)
    await abort(store, row.job_id, [row])
    assert not await store.attempts.give_back(row, NOW)
    (row,) = await store.attempts.live("a")
    assert (row.state, row.wanted) == (AttemptState.SUBMITTED, False)


async def test_a_young_attempt_is_left_to_the_idler_site(store: Store) -> None:
    """So a burst spreads over sites that are as good; nothing waits for one that does not come."""
    sites = network(store, {"a": 4, "b": 4, "c": 2})
    await wait(store, 5, created=NOW)
    shares = Counter({site: len(await SiteQueue(sites, site).next(4, NOW)) for site in "abc"})
    assert shares == {"a": 2, "b": 2, "c": 1}
    assert len(await SiteQueue(sites, "a").next(4, NOW + COURTESY_MS)) == 4


async def test_data_decide_while_there_is_room(store: Store) -> None:
    """A job waits for its data's site as long as moving them would take, and no longer than the bound."""
    sites = network(store, {"near": 2, "far": 2}, Placement(patience=Patience(maximum=600)))
    assert isinstance(sites.placer, Sites)
    sites.placer.storage = {"near": {"lake": Way.MOUNT}, "far": {"lake": Way.STAGE}}
    await wait(store, 3, Wish("app", data=(DataNeed("ska:cube", 10**12, ("lake",)),)), created=NOW)
    far, near = SiteQueue(sites, "far"), SiteQueue(sites, "near")
    assert not await far.next(2, NOW)
    picks = await near.next(2, NOW)
    assert len(picks) == 2 and "data are there" in picks[0].reason
    for pick in picks:
        assert await take(store, pick.attempt, "near")
    sites.placer._at = -1e9  # the loads are read anew
    assert not await far.next(2, NOW + 599_000)
    (late,) = await far.next(2, NOW + 3_600_000)
    assert late.reason.startswith("it had room: ") and "near" in late.reason
    assert late.table[0].site == "far" and any("to move from lake" in cost.words for cost in late.table[0].costs)


async def test_data_are_brought_for_no_more_jobs_than_there_are_slots(store: Store) -> None:
    """Such jobs wait at the site without a slot, one site alone gets them, and jobs without data go on."""
    sites = network(store, {"a": 2, "b": 2})
    assert isinstance(sites.placer, Sites)
    sites.placer.bringing = frozenset("a")
    await wait(store, 4, Wish("app", data=(DataNeed("ska:cube", 10**6, ("lake",), lake=True),)))
    queue = SiteQueue(sites, "a")
    picks = await queue.next(2, NOW)
    assert [entry.brings for entry in picks] == [True, True]
    assert "to bring from lake" in str(picks[0].table)
    for entry in picks:
        assert await take(store, entry.attempt, "a", brings=True)
        assert not await take(store, entry.attempt, "b"), "another site was slower"
        (row,) = await store.attempts.of(entry.attempt.job_id)
        assert (row.site, row.state, row.network) == ("a", AttemptState.WAITING, False)
        assert row.not_before >= AWAITS_DATA
    assert await store.lookups.brought_to("a") == 2
    assert not await queue.next(2, NOW)
    await wait(store, 1)
    (other,) = await queue.next(2, NOW)
    assert not other.brings
    first, *_ = await store.lookups.take(NOW, NOW + 1000, 10)
    assert (first.site, first.since) == ("a", NOW)
    await store.lookups.end(first)
    assert any(entry.brings for entry in await queue.next(2, NOW))


async def test_who_may_not_run_there_is_never_taken(store: Store) -> None:
    sites = network(store, {"a": 9, "b": 9, "c": 9}, a=Access(applications=("other",)), b=Access(groups=("g",)))
    await wait(store, 4, Wish("app", group="g"))
    await wait(store, 2, Wish("app"))
    assert not await SiteQueue(sites, "a").next(9, NOW)
    assert {pick.attempt.group for pick in await SiteQueue(sites, "b").next(9, NOW)} == {"g"}
    assert len(await SiteQueue(sites, "c").next(9, NOW)) == 6


async def test_who_is_named_since_counts_alone(store: Store) -> None:
    """Attempts wait on while the settings change: their kinds were made when no site named an owner."""
    for owner in ("alice", "bob", "alice"):
        await wait(store, wish=Wish("app", owner=owner), owner=owner)
    sites = network(store, {"a": 9, "b": 9}, a=Access(owners=("alice",)), b=Access(owners=("bob",)))
    for site, owner in (("a", "alice"), ("b", "bob"), ("a", "alice")):
        picks = await SiteQueue(sites, site).next(9, NOW)
        assert {item.attempt.owner for item in picks} == {owner}


async def test_a_site_that_is_put_aside_during_its_round_takes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another site's round reads what is known of the sites meanwhile."""
    await wait(store, 3)
    sites = network(store, {"a": 4, "b": 4})
    read = store.queue.oldest

    async def drained(*args: Any, **options: Any) -> list[Attempt]:
        await store.site_states.drain("a", "for a test", NOW)
        sites.placer._at = -1e9
        await sites.views()
        return await read(*args, **options)

    monkeypatch.setattr(store.queue, "oldest", drained)
    assert await SiteQueue(sites, "a").next(4, NOW) == []
    assert len(await SiteQueue(sites, "b").next(4, NOW)) == 3


async def test_groups_get_their_shares(store: Store) -> None:
    """Of what closed and running jobs have used, and of what is taken now."""
    groups = {"gold": GroupShare(share=60), "silver": GroupShare(share=30), "bronze": GroupShare(share=10)}
    sites = network(store, {"a": 100, "b": 1}, Placement(shares=FairShares(groups=groups)))
    for group in groups:
        await wait(store, 70, Wish("app", group=group), owner=f"o-{group}")
    queue = SiteQueue(sites, "a")
    counts = Counter(pick.attempt.group for pick in await queue.next(100, NOW))
    assert abs(counts["gold"] - 60) <= 5 and abs(counts["silver"] - 30) <= 5 and abs(counts["bronze"] - 10) <= 5
    # What gold has used counts against it, less and less.
    (row, *_) = [pick.attempt for pick in await queue.next(100, NOW) if pick.attempt.group == "gold"]
    assert await take(store, row, "a")
    (row,) = await store.attempts.of(row.job_id)
    used = replace(row.usage, wall=1e6)
    closed = replace(row, state=AttemptState.CLOSED, usage=used, ended=NOW, cpu_requested=1.0, wanted=False)
    await store.attempts.save(closed)
    await store.attempts.save(closed)  # counted once
    (use,) = await store.queue.uses()
    assert (use.group, use.owner) == ("gold", "o-gold") and use.amount == pytest.approx(1e6)
    counts = Counter(pick.attempt.group for pick in await queue.next(40, NOW))
    assert counts["gold"] == 0 and counts["silver"] > counts["bronze"] > 0
    counts = Counter(pick.attempt.group for pick in await queue.next(40, NOW + 400 * 86_400_000))
    assert counts["gold"] > counts["silver"]


async def test_margin_of_a_site_with_a_queue_of_its_own_is_for_each_group(store: Store) -> None:
    """It has something of each group to choose from, and no more than that."""
    sites = network(store, {"a": 100, "b": 1})
    for group in ("gold", "silver", ""):
        await wait(store, 20, Wish("app", group=group), owner=f"o-{group}")
    queue = SiteQueue(sites, "a")
    picks = await queue.next(100, NOW, Margin(5, {"gold": 3, "silver": 9}))
    assert Counter(entry.attempt.group for entry in picks) == {"gold": 2, "": 5}
    assert len(await queue.next(100, NOW)) == 60


async def test_priority_orders_an_owners_own_jobs(store: Store) -> None:
    sites = network(store, {"a": 2, "b": 2})
    await wait(store, 2, owner="me", created=NOW - 9000)
    await wait(store, 1, owner="me", priority=5)
    await wait(store, 1, owner="you", priority=-5)
    picks = await SiteQueue(sites, "a").next(2, NOW)
    assert {(pick.attempt.owner, LotKey.parse(pick.attempt.lot).priority) for pick in picks} == {("me", 5), ("you", -5)}


async def test_a_limit_of_the_owner_holds_over_the_network(store: Store) -> None:
    sites = network(store, {"a": 9, "b": 9})
    await wait(store, 5, owner="me", owner_slots=2)
    first, second = SiteQueue(sites, "a"), SiteQueue(sites, "b")
    picks = await first.next(9, NOW)
    assert len(picks) == 2
    tries = [(pick.attempt, queue.site) for queue in (first, second) for pick in await queue.next(9, NOW)]
    results = [await take(store, item, site) for item, site in tries]
    assert sum(results) == 2 and await store.attempts.at_work("me") == 2
    assert not await first.next(9, NOW)


async def test_one_owners_many_kinds_do_not_slow_down_the_others(store: Store) -> None:
    """Each time limit makes a lot of its own; a round looks at some of them, and each has its turn."""
    kinds = 5 * LOTS_PER_OWNER
    await wait(store, wish=Wish("app", owner="b"), owner="b")
    for number in range(kinds):
        only_at = "b" if number % LOTS_PER_OWNER else "a"  # where the others are, they keep none of these from a
        wish = Wish(f"app{number}", owner="many", site=only_at)
        await wait(store, wish=wish, owner="many", priority=0 if only_at == "a" else 9)
    site = SiteQueue(network(store, {"a": 1, "b": 1}), "a")
    site.network.placer.settings = Placement(shares=FairShares(aged=10**9))
    looked_at = set()
    for _ in range(20):
        lots = [lot async for lot in site._lots("", NOW)]
        assert len(lots) <= LOTS_PER_OWNER + 1 and any(lot.lot.owner == "b" for lot in lots)
        looked_at |= {lot.lot.class_key for lot in lots}
        await site.next(1, NOW)
    assert len(looked_at) == kinds + 1
    picks = set()
    for _ in range(20):
        for item in await site.next(1, NOW):
            assert await take(store, item.attempt, "a")
            picks.add(item.attempt.owner)
        if len(picks) == 2:
            break
    assert picks == {"b", "many"}


async def test_many_lots_are_not_read_for_each_round(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What many lots cost is shared by the sites and bounded in time; few are read each time."""
    sites = network(store, {"a": 4, "b": 4})
    reads = []
    read = store.queue.lots

    async def counted(queue: str, now: int) -> list[WaitingLot]:
        reads.append(queue)
        return await read(queue, now)

    monkeypatch.setattr(store.queue, "lots", counted)
    for number in range(4):
        await wait(store, wish=Wish(f"app{number}"))
    for _ in range(3):
        await sites.lots("", NOW)
    assert len(reads) == 3
    monkeypatch.setattr("uws_service.sites.network.MANY_LOTS", 3)
    monkeypatch.setattr("uws_service.sites.network.MANY_LOTS_SECONDS", 3600.0)
    for _ in range(3):
        assert len(await SiteQueue(sites, "a").next(4, NOW)) == 4
    assert reads.count("") == 4


async def test_a_limit_of_the_owner_holds_over_all_kinds(store: Store) -> None:
    """What the owner may not begin now takes no turn of anybody else's."""
    for number in range(5):
        await wait(store, wish=Wish(f"app{number}", owner="many"), owner="many", owner_slots=1)
    await wait(store, 3, wish=Wish("app", owner="b"), owner="b")
    picks = await SiteQueue(network(store, {"a": 4, "b": 1}), "a").next(4, NOW)
    assert Counter(item.attempt.owner for item in picks) == {"many": 1, "b": 3}


async def test_the_own_queue_has_its_turn(store: Store) -> None:
    """What can run here alone waits beside what may run anywhere."""
    sites = network(store, {"a": 4, "b": 4})
    await wait(store, 10, owner="net")
    for number in range(10):
        await store.attempts.save(attempt(f"own{number}", site="a", owner="pinned"))
    owners = Counter(pick.attempt.owner for pick in await SiteQueue(sites, "a").next(4, NOW))
    assert owners == {"net": 2, "pinned": 2}
    assert {pick.attempt.owner for pick in await SiteQueue(sites, "b").next(4, NOW)} == {"net"}


async def test_no_job_starts_that_may_run_into_a_downtime(store: Store) -> None:
    """Neither of the network nor of the site's own queue; a short one still does."""
    now = time.time_ns() // 1_000_000
    start = datetime.fromtimestamp(now / 1000 + 600, UTC)
    facts = SiteFacts(downtimes=(Downtime(start=start, end=start + timedelta(hours=1), reason="power"),))
    near = [LocalSite(name="a", slots=9, facts=facts), LocalSite(name="b", slots=9)]
    sites = Network(store, Placer(store, near, ["a", "b"]))
    await wait(store, 2, Wish("app", duration_ms=3_600_000), created=now - COURTESY_MS)
    await wait(store, 3, Wish("short", duration_ms=60_000), created=now - COURTESY_MS)
    wish = wish_text(Wish("app", site="a", duration_ms=3_600_000))
    pinned = attempt("pinned", site="a", owner="me", wish=wish, lot=LotKey("long", "", "me", 0).text)
    await store.attempts.save(pinned)
    assert {pick.attempt.job_id for pick in await SiteQueue(sites, "a").next(9, now)} == await waiting(store, "short")
    assert len(await SiteQueue(sites, "b").next(9, now)) == 5
    words = await sites.placer.waiting_words(pinned, wish)
    assert words.startswith("a starts no such job now: it goes down at ") and "(power), and the job may take" in words


async def waiting(store: Store, application: str) -> set[str]:
    """Return the jobs of an application that wait in the network."""
    lots = await store.queue.lots("", time.time_ns() // 1_000_000)
    keys = [lot.lot for lot in lots if LotKey.parse(lot.lot).kind.startswith(application)]
    rows = [row for key in keys for row in await store.queue.oldest("", key, 2**50, 99, before=2**50)]
    return {row.job_id for row in rows}

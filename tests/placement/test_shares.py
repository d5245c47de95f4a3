"""The order in which waiting attempts are taken."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uws_service.domain.errors import UsageError
from uws_service.placement.shares import (
    FairShares,
    GroupShare,
    Ledger,
    Limits,
    Lot,
    Pick,
    Use,
    added,
    decayed,
    plan,
    priority_of,
)

HOUR_MS = 3_600_000
SIXTY_THIRTY_TEN = FairShares(
    groups={"a": GroupShare(share=60), "b": GroupShare(share=30), "c": GroupShare(share=10)}, half_life=3600, aged=7200
)
uses = st.builds(Use, st.floats(0, 1e9), st.integers(0, 10**12))
lots_of = st.lists(
    st.builds(
        Lot,
        st.sampled_from("xyz"),
        st.sampled_from("abc"),
        st.sampled_from("mn"),
        st.integers(0, 10 * HOUR_MS),
        count=st.integers(1, 5),
        priority=st.integers(-10, 10),
        seconds=st.floats(1, 1e5),
    ),
    max_size=12,
)
ledgers = st.builds(
    Ledger,
    st.dictionaries(st.sampled_from("abc"), uses),
    st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from("mn")), uses),
)


def taken(picks: tuple[Pick, ...]) -> list[Lot]:
    return [pick.lot for pick in picks for _ in range(pick.count)]


@given(uses, st.integers(0, 10**12), st.integers(1, 10**7))
def test_use_halves_in_a_half_life(use: Use, elapsed_ms: int, half_life: int) -> None:
    now_ms = use.at_ms + elapsed_ms
    later = now_ms + half_life * 1000
    assert decayed(use, later, half_life) == pytest.approx(decayed(use, now_ms, half_life) / 2)
    assert 0 <= decayed(use, now_ms, half_life) <= use.amount
    assert added(use, 5, now_ms, half_life).amount == pytest.approx(decayed(use, now_ms, half_life) + 5)


def test_use_counts_from_its_own_instant() -> None:
    """A clock that is behind takes nothing back, and a use never falls below zero."""
    assert added(Use(10, 1000), 5, 0, 60) == Use(15, 1000)
    assert added(Use(10, 0), -20, 0, 60) == Use(0, 0)


@given(lots_of, ledgers, st.integers(0, 30), st.integers(0, 100))
def test_a_plan_takes_what_there_is_and_no_more(lots: list[Lot], ledger: Ledger, room: int, turn: int) -> None:
    picks = plan(lots, ledger, SIXTY_THIRTY_TEN, now_ms=10 * HOUR_MS, room=room, turn=turn)
    assert sum(pick.count for pick in picks) == min(room, sum(lot.count for lot in lots))
    counts = Counter(map(id, taken(picks)))
    assert all(counts[id(lot)] <= lot.count for lot in lots)


@given(lots_of, ledgers, st.integers(1, 9))
def test_an_owner_s_own_order_is_priority_then_age(lots: list[Lot], ledger: Ledger, room: int) -> None:
    shares = FairShares(aged=10**9)
    order = taken(plan(lots, ledger, shares, now_ms=10 * HOUR_MS, room=room, turn=1))
    for owner in {(lot.group, lot.owner) for lot in order}:
        keys = [(-lot.priority, lot.oldest_ms) for lot in order if (lot.group, lot.owner) == owner]
        assert keys == sorted(keys)


def test_the_group_with_the_least_use_for_its_share_comes_first() -> None:
    lots = [Lot("x", group, "o", 0) for group in "abc"]
    ledger = Ledger({"a": Use(600, 0), "b": Use(200, 0), "c": Use(110, 0)})
    assert [lot.group for lot in taken(plan(lots, ledger, SIXTY_THIRTY_TEN, now_ms=0, room=3, turn=1))] == list("bac")


@given(
    lots_of,
    ledgers,
    st.integers(0, 30),
    st.builds(
        Limits,
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 5)),
        st.dictionaries(st.sampled_from("mn"), st.integers(0, 5)),
    ),
)
def test_limits_of_groups_and_owners_are_kept(lots: list[Lot], ledger: Ledger, room: int, limits: Limits) -> None:
    """Quotas hold for aged attempts too; who has room is served although others have none."""
    picks = plan(lots, ledger, SIXTY_THIRTY_TEN, now_ms=10 * HOUR_MS, room=room, limits=limits)
    groups = Counter(lot.group for lot in taken(picks))
    owners = Counter(lot.owner for lot in taken(picks))
    assert all(groups[group] <= limit for group, limit in limits.groups.items())
    assert all(owners[owner] <= limit for owner, limit in limits.owners.items())
    free = [lot for lot in lots if lot.group not in limits.groups and lot.owner not in limits.owners]
    assert sum(pick.count for pick in picks) >= min(room, sum(lot.count for lot in free))


def test_owners_share_inside_their_group() -> None:
    """An owner with many jobs does not displace the others of the group."""
    lots = [Lot("x", "a", "many", 0, count=100), Lot("x", "a", "few", 50, count=2)]
    order = taken(plan(lots, Ledger(), SIXTY_THIRTY_TEN, now_ms=100, room=4, turn=1))
    assert Counter(lot.owner for lot in order) == {"many": 2, "few": 2}
    twice = FairShares(groups={"*": GroupShare(owners={"many": 3})})
    order = taken(plan([lots[0], Lot("x", "a", "few", 50, count=9)], Ledger(), twice, now_ms=100, room=8, turn=1))
    assert Counter(lot.owner for lot in order) == {"many": 6, "few": 2}


def settled(ledger: Ledger, lot: Lot, amount: float, now_ms: int, half_life: float) -> Ledger:
    """Return the ledger with what one attempt of a lot has used."""
    groups, owners, key = dict(ledger.groups), dict(ledger.owners), (lot.group, lot.owner)
    groups[lot.group] = added(groups.get(lot.group, Use()), amount, now_ms, half_life)
    owners[key] = added(owners.get(key, Use()), amount, now_ms, half_life)
    return Ledger(groups, owners)


def simulated(arrivals: dict[str, int], steps: int, shares: FairShares) -> Counter[str]:
    """Return the seconds that groups got on one slot; ``arrivals`` are the steps at which their queues begin."""
    generator = random.Random(7)
    ledger, got = Ledger(), Counter[str]()
    now_ms = 0
    for step in range(steps):
        lots = [
            Lot("x", group, f"{group}{owner}", begin, count=10**6, seconds=60)
            for group, begin in arrivals.items()
            if step >= begin
            for owner in range(3)
        ]
        (pick,) = plan(lots, ledger, shares, now_ms=now_ms, room=1, turn=step)
        seconds = math.ceil(generator.expovariate(1 / 60))
        got[pick.lot.group] += seconds
        now_ms += seconds * 1000
        ledger = settled(ledger, pick.lot, seconds, now_ms, shares.half_life)
    return got


def test_groups_get_their_shares_when_all_have_more_work_than_room() -> None:
    """60/30/10 within 3 points, although every queue is older than the bound."""
    got = simulated({"a": 0, "b": 0, "c": 0}, 2000, SIXTY_THIRTY_TEN)
    whole = got.total()
    for group, share in (("a", 60), ("b", 30), ("c", 10)):
        assert 100 * got[group] / whole == pytest.approx(share, abs=3)


def test_a_group_that_comes_late_starts_at_once() -> None:
    """It has used nothing, so its first attempt is the next one, or the one after an aged one."""
    ledger = Ledger({group: Use(10_000, 0) for group in "abc"})
    lots = [Lot("x", group, "o", 0, count=1000) for group in "abc"] + [Lot("x", "late", "o", 9 * HOUR_MS)]
    for turn in range(10):
        order = taken(plan(lots, ledger, SIXTY_THIRTY_TEN, now_ms=9 * HOUR_MS, room=2, turn=turn))
        assert "late" in {lot.group for lot in order}


@settings(max_examples=60)
@given(st.data())
def test_nobody_starves(data: st.DataObject) -> None:
    """An aged attempt starts within ``aged_every`` turns for each aged one that is older, whatever else comes."""
    shares = FairShares(
        groups={"poor": GroupShare(share=0.001), "rich": GroupShare(share=1000)}, aged=3600, aged_every=4
    )
    older = data.draw(st.integers(0, 3))
    poor = Lot("x", "poor", "o", 1000, priority=-10)
    waiting = [Lot("x", "rich", "old", number, seconds=1) for number in range(older)] + [poor]
    ledger = Ledger({"poor": Use(1e12, 0)}, {("poor", "o"): Use(1e12, 0)})
    turn = data.draw(st.integers(0, 100))
    now_ms = 1000 + shares.aged * 1000
    for _ in range((older + 1) * shares.aged_every):
        fresh = data.draw(st.lists(st.integers(0, 10), max_size=3))
        crowd = [Lot("y", "rich", f"r{number}", now_ms, count=50, priority=10, seconds=0) for number in fresh]
        picks = plan([*waiting, *crowd], ledger, shares, now_ms=now_ms, room=1, turn=turn)
        turn, now_ms = turn + 1, now_ms + 1000
        for pick in picks:
            if pick.lot is poor:
                return
            if pick.lot in waiting:
                waiting.remove(pick.lot)
    pytest.fail("the aged attempt has not started")


@pytest.mark.parametrize("text", ["11", "-11", "1.5", "", "high"])
def test_priorities_are_bounded(text: str) -> None:
    with pytest.raises(UsageError, match="must be a whole number from -10 to 10"):
        priority_of(text)
    assert priority_of("-10") == -10


@pytest.mark.parametrize("values", [{"groups": {"a": {"share": 0}}}, {"aged_every": 1}, {"half_life": 0}, {"share": 1}])
def test_settings_that_make_no_sense(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        FairShares.model_validate(values)

"""What a site with room takes, and what it leaves to a better one."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.placement.model import DataNeed, SiteView, Way, Wish
from uws_service.placement.patience import (
    NEVER_MS,
    Patience,
    Prospects,
    class_key,
    decide,
    enough_ms,
    expected_wait,
    prospects,
)
from uws_service.placement.ranks import PlacementWeights
from uws_service.placement.rounds import expected_waits, waiting_words

PATIENCE = Patience(factor=1, maximum=3600, margin=30)
OUTLOOK = Prospects.of({"near": 0.0, "next": 20.0, "far": 600.0, "moon": 90_000.0})
FULL = {"near": 1000.0, "next": 1000.0}

seconds = st.floats(0, 1e5)
outlooks = st.dictionaries(st.sampled_from("abcde"), seconds, min_size=1).map(Prospects.of)
waits_of = st.dictionaries(st.sampled_from("abcde"), seconds)
patiences = st.builds(Patience, factor=st.floats(0, 5), maximum=st.integers(0, 10_000), margin=st.floats(0, 100))


@pytest.mark.parametrize(
    ("site", "waited", "waits", "expected", "reason"),
    [
        ("near", 0, {}, True, "its best site"),
        ("next", 0, {}, True, "as good as near"),
        ("far", 0, {}, False, "waits for near, which is 10 min better, for 10 min"),
        ("far", 540, {}, False, "waits for near, which is 10 min better, for 60 s"),
        ("far", 600, {}, True, "has waited 10 min for near, which is 10 min better"),
        ("far", 600, {"far": 100}, False, "waits for near, which is 10 min better, for 100 s"),
        ("far", 0, {**FULL, "far": 400}, True, "near has no room for about 17 min; waiting would take longer"),
        ("far", 0, {**FULL, "far": 401}, False, "waits for near, which is 10 min better, for 17 min"),
        ("far", 0, FULL, True, "near has no room for about 17 min; waiting would take longer"),
        ("moon", 0, FULL, False, "waits for near, which is 25 h better, for 60 min"),
        ("moon", 3600, {}, True, "has waited 60 min for near, which is 25 h better"),
        ("mars", 10**6, {}, False, "it may not run here"),
    ],
)
def test_take_or_leave(site: str, waited: int, waits: dict[str, float], expected: bool, reason: str) -> None:
    decision = decide(site, OUTLOOK, waited * 1000, waits, PATIENCE)
    assert (decision.take, decision.reason) == (expected, reason)


@given(st.sampled_from("abcdef"), outlooks, waits_of, st.integers(0, 10**8), patiences)
def test_patience_has_bounds(
    site: str, outlook: Prospects, waits: dict[str, float], waited_ms: int, patience: Patience
) -> None:
    """Who may run somewhere is taken there after the longest wait; who waits longer is not refused for it."""
    decision = decide(site, outlook, waited_ms, waits, patience)
    assert decision.enough_ms == enough_ms(site, outlook, waits, patience)
    assert decision.take == (waited_ms >= decision.enough_ms)
    if site in outlook.costs:
        assert decision.enough_ms <= (patience.maximum + waits.get(site, 0)) * 1000
        assert decide(site, outlook, decision.enough_ms, waits, patience).take
    else:
        assert decision.enough_ms == NEVER_MS
    assert decision.reason


@given(outlooks, waits_of, patiences)
def test_the_best_site_never_waits(outlook: Prospects, waits: dict[str, float], patience: Patience) -> None:
    assert enough_ms(outlook.best, outlook, waits, patience) == 0


@given(st.sampled_from("abcde"), outlooks, patiences)
def test_nobody_pays_more_than_twice(site: str, outlook: Prospects, patience: Patience) -> None:
    """At a site with room, the wait and the dearer site cost at most the best site and twice the difference."""
    if site in outlook.costs and patience.factor <= 1:
        best, here = outlook.costs[outlook.best], outlook.costs[site]
        assert enough_ms(site, outlook, {}, patience) / 1000 + here <= best + 2 * (here - best) + 1e-6


def test_expected_waits() -> None:
    assert expected_wait(10, 1, 5000, 600) == 0
    assert expected_wait(10, 0, 5000, 600) == 560


def test_prospects_leave_out_sites_with_objections() -> None:
    """The load of a site is no cost here: room is what counts."""
    need = DataNeed("ska:cube", 10**11, ("disk",))
    sites = {
        "near": SiteView("near", 1, waiting=999, storage={"disk": Way.MOUNT}),
        "far": SiteView("far", 1, storage={"disk": Way.STAGE}, bandwidth={"disk": 1e9}),
        "blind": SiteView("blind", 1),
        "drained": SiteView("drained", 1, drained="new disks", storage={"disk": Way.MOUNT}),
    }
    outlook = prospects(sites, Wish("app", data=(need,)), 0, PlacementWeights())
    assert outlook == Prospects({"near": 0.0, "far": 100.0}, "near")
    assert prospects(sites, Wish("app", site="far", data=(need,)), 0, PlacementWeights()).costs == {"far": 100.0}
    assert prospects({}, Wish("app"), 0, PlacementWeights()).best == ""


@pytest.mark.parametrize("awaited", [True, False])
def test_a_short_silence_moves_no_data(awaited: bool) -> None:
    """While it is short, the site is waited for as one that is full is; then others take its jobs at once."""
    need = DataNeed("ska:cube", 10**12, ("disk",))
    sites = {
        "near": SiteView("near", 1, storage={"disk": Way.MOUNT}, reachable=False, awaited=awaited),
        "far": SiteView("far", 1, storage={"disk": Way.STAGE}, bandwidth={"disk": 1e9}),
    }
    outlook = prospects(sites, Wish("app", data=(need,)), 0, PlacementWeights())
    assert enough_ms("far", outlook, expected_waits(sites), Patience()) == (1_000_000 if awaited else 0)
    words = waiting_words(outlook, 0, expected_waits(sites))
    assert words.startswith("waits for near, which does not answer at the moment") == awaited, words
    drained = replace(sites["near"], drained="new disks")
    assert "near" not in prospects({"near": drained}, Wish("app", data=(need,)), 0, PlacementWeights()).costs
    small = prospects(sites, Wish("app"), 0, PlacementWeights())
    assert enough_ms("far", small, expected_waits(sites), Patience()) == 0, "nothing is gained by waiting"


def test_each_of_several_best_sites_is_the_best_of_some_classes() -> None:
    costs = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0}
    best = [Prospects.of(costs, f"class {number}").best for number in range(60)]
    assert set(best) == {"a", "b", "c"}
    assert best == [Prospects.of(dict(reversed(costs.items())), f"class {number}").best for number in range(60)]


@given(outlooks, st.floats(0, 1000))
def test_homes_are_as_good_as_the_best(outlook: Prospects, margin: float) -> None:
    """They are those that take such an attempt at once, whatever else waits for them."""
    homes = outlook.homes(margin)
    assert homes[0] == outlook.best or outlook.costs[homes[0]] == outlook.costs[outlook.best]
    patience = Patience(margin=margin)
    crowded = dict.fromkeys("abcde", 1e9)
    for site in outlook.costs:
        at_once = enough_ms(site, outlook, {**crowded, outlook.best: 0.0}, patience) == 0
        assert (site in homes) == at_once
    assert Prospects.of({}).homes(margin) == ()


def test_classes_have_no_identifiers_in_them() -> None:
    """Jobs over as many data sets as there are share a few classes; what some site asks for is in them."""
    wishes = [
        Wish("app", owner=f"owner{number}", group="g", data=(DataNeed(f"ska:{number}", 10**9, ("x", "y")),))
        for number in range(1000)
    ]
    assert len({class_key(wish) for wish in wishes}) == 1
    assert len({class_key(wish, {"owner1", "owner2"}) for wish in wishes}) == 3
    assert class_key(wishes[0]) != class_key(Wish("app", group="g", cpu=1, data=wishes[0].data))


def test_a_round_over_a_hundred_thousand_attempts_is_a_number_for_each_class() -> None:
    """2,000 classes at 20 sites: the decisions of a round take milliseconds, whatever waits in them."""
    names = [f"s{number}" for number in range(20)]
    outlooks = [
        Prospects.of({name: float((place * 37 + number) % 1000) for number, name in enumerate(names)})
        for place in range(2000)
    ]
    waits = {name: 100.0 for name in names[:10]}
    start = time.process_time()
    decisions = [enough_ms("s3", outlook, waits, PATIENCE) for outlook in outlooks]
    elapsed = time.process_time() - start
    assert len({decision == 0 for decision in decisions}) == 2
    assert elapsed < 0.5  # a busy machine; 10 ms on an idle one

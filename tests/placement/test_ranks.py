"""Objections, costs and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.domain.errors import UsageError
from uws_service.placement.choice import choose
from uws_service.placement.locality import data_key, transfer
from uws_service.placement.model import DataNeed, SiteView, Waits, Way, Window, Wish, size_class
from uws_service.placement.objections import OBJECTIONS, objections
from uws_service.placement.ranks import FIXED_RANKS, RANKS, PlacementWeights, costs, total
from uws_service.placement.wording import at_instant, in_bytes, in_memory, in_time

HOUR_MS = 3_600_000
NOW_MS = 1_795_000_000_000
CUBE = DataNeed("ska:cube", 10**12, ("tape", "disk"))
TABLE = DataNeed("ska:table", 10**9, ("disk",))
BESIDE = SiteView("beside", 10, storage={"disk": Way.MOUNT, "tape": Way.STAGE})
REMOTE = SiteView("remote", 10, storage={"disk": Way.STAGE}, bandwidth={"disk": 500e6})
READER = Wish("app", data=(CUBE, TABLE))

sites = st.builds(
    SiteView,
    st.sampled_from("abcd"),
    st.integers(0, 1000),
    waiting=st.integers(0, 1000),
    running=st.integers(0, 1000),
    reachable=st.booleans(),
    drained=st.sampled_from(["", "new disks"]),
    storage=st.dictionaries(st.sampled_from("xyz"), st.sampled_from(Way)),
    bandwidth=st.dictionaries(st.sampled_from("xyz"), st.just(0.0) | st.floats(1e6, 1e10)),
    waits=st.dictionaries(
        st.just(""), st.builds(Waits, st.integers(0, 99), st.integers(0, 10**9), st.integers(0, 10**9))
    ),
    carbon=st.none() | st.floats(0, 1000),
    price=st.none() | st.floats(0, 1000),
)
needs = st.builds(
    DataNeed,
    st.text("ab", max_size=3),
    st.integers(-1, 10**15),
    st.lists(st.sampled_from("xyz"), max_size=3).map(tuple),
)
wishes = st.builds(
    Wish,
    st.just("app"),
    cpu=st.floats(0, 64),
    data=st.lists(needs, max_size=3).map(tuple),
    duration_ms=st.integers(0, 10**8),
)
positive_weights = st.builds(PlacementWeights, load=st.floats(0, 1e4), data=st.floats(0, 10), energy=st.floats(0, 10))


@given(st.lists(sites, min_size=1, max_size=4, unique_by=lambda site: site.name), wishes, positive_weights)
def test_a_choice_is_the_cheapest_of_those_that_are_ready(
    network: list[SiteView], wish: Wish, weights: PlacementWeights
) -> None:
    """Nothing that speaks against a site is overlooked, and the sentence is never empty."""
    willing = [site for site in network if not any(item.lasting for item in objections(site, wish, NOW_MS))]
    if not willing:
        with pytest.raises(UsageError, match="No site takes this job"):
            choose(network, wish, now_ms=NOW_MS, weights=weights)
        return
    choice = choose(network, wish, now_ms=NOW_MS, weights=weights)
    assert choice.willing == tuple(site.name for site in willing)
    ready = [site for site in network if not objections(site, wish, NOW_MS)]
    best = next(site for site in network if site.name == choice.site)
    if ready:
        assert best in ready
    for site in ready or willing:
        assert total(best, wish, NOW_MS, weights) <= total(site, wish, NOW_MS, weights)
    assert choice.sentence
    assert choice.table[0].site == choice.site
    assert {row.site for row in choice.table} == {site.name for site in network}


@given(sites, wishes, positive_weights)
def test_costs_add_up(site: SiteView, wish: Wish, weights: PlacementWeights) -> None:
    """The table's sum is that by which sites are compared."""
    rows = costs(site, wish, NOW_MS, weights)
    assert sum(row.seconds for row in rows) == pytest.approx(total(site, wish, NOW_MS, weights), abs=1)


@given(sites, wishes, st.floats(1, 10))
def test_a_higher_weight_never_makes_a_site_cheaper(site: SiteView, wish: Wish, factor: float) -> None:
    for rank in RANKS:
        light = PlacementWeights.model_validate({rank.name: 1.0})
        heavy = PlacementWeights.model_validate({rank.name: factor})
        assert total(site, wish, NOW_MS, heavy, (rank,)) >= total(site, wish, NOW_MS, light, (rank,)) - 1e-9


def test_every_rank_has_a_weight() -> None:
    assert [rank.name for rank in RANKS] == sorted(
        PlacementWeights.model_fields, key=[rank.name for rank in RANKS].index
    )
    assert {rank.name for rank in FIXED_RANKS} == {"data", "energy", "price", "preference"}
    assert len({rule.name for rule in OBJECTIONS}) == len(OBJECTIONS)


def test_data_are_moved_only_where_they_can_not_be_mounted() -> None:
    assert transfer(BESIDE, READER.data).bytes == 0
    move = transfer(REMOTE, READER.data)
    assert (move.bytes, move.areas) == (10**12 + 10**9, ("disk", "disk"))
    assert move.seconds == pytest.approx(2002)


def test_the_nearest_replica_is_read() -> None:
    site = SiteView("a", 1, storage={"tape": Way.STAGE, "disk": Way.STAGE}, bandwidth={"tape": 1e6, "disk": 1e9})
    assert transfer(site, (CUBE,)).areas == ("disk",)


def test_a_busy_site_beside_the_data_beats_an_idle_one_far_away() -> None:
    """Until it is so busy that moving is faster."""
    busy = SiteView("beside", 10, waiting=20, storage={"disk": Way.MOUNT})
    choice = choose([busy, REMOTE], READER)
    assert choice.site == "beside"
    assert choice.sentence == (
        "its data are there; 20 waiting and 0 running for 10 slots; the best of 2 sites, 13 min before remote "
        "(1 TB to move from disk, which takes 33 min)"
    )
    busier = SiteView("beside", 10, waiting=40, storage={"disk": Way.MOUNT})
    assert choose([busier, REMOTE], READER).site == "remote"


@pytest.mark.parametrize(
    ("site", "wish", "reason"),
    [
        (SiteView("a", 1, drained="new disks"), Wish("app"), "it takes no new jobs: new disks"),
        (SiteView("a", 1, put_aside="site a fails"), Wish("app"), "site a fails"),
        (SiteView("a", 1), READER, "it can't read ska:cube and 1 more data sets, which is at tape, disk"),
        (SiteView("a", 1), Wish("app", data=(DataNeed("x:y", 1, ()),)), "there is no replica of x:y"),
        (
            SiteView("a", 1, downtimes=(Window(NOW_MS - 1, NOW_MS + HOUR_MS, "power"),)),
            Wish("app"),
            f"it is down until {at_instant(NOW_MS + HOUR_MS)} (power)",
        ),
        (
            SiteView("a", 1, downtimes=(Window(NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS),)),
            Wish("app", duration_ms=3 * HOUR_MS),
            f"it goes down at {at_instant(NOW_MS + HOUR_MS)}, and the job may take 3 h",
        ),
    ],
)
def test_what_speaks_against_a_site(site: SiteView, wish: Wish, reason: str) -> None:
    assert objections(site, wish, NOW_MS)[0].words == reason


def test_a_job_without_a_limit_does_not_start_shortly_before_a_downtime() -> None:
    site = SiteView("a", 1, downtimes=(Window(NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS),))
    assert "the job has no time limit" in objections(site, Wish("app"), NOW_MS)[0].words
    assert objections(site, Wish("app"), NOW_MS - 48 * HOUR_MS) == ()


def test_a_link_that_is_cut_is_no_way() -> None:
    """Facts may say 0, and a catalogue a size below it."""
    site = SiteView("a", 1, storage={"disk": Way.STAGE}, bandwidth={"disk": 0.0})
    assert "it can't read ska:table" in objections(site, Wish("app", data=(TABLE,)), 0)[0].words
    assert transfer(REMOTE, (DataNeed("x:y", -5, ("disk",)),)).bytes == 0


def test_a_job_that_ends_before_a_downtime_still_starts() -> None:
    site = SiteView("a", 1, downtimes=(Window(NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS), Window(0, 1)))
    assert objections(site, Wish("app", duration_ms=HOUR_MS), NOW_MS) == ()


def test_few_samples_say_nothing_of_waits() -> None:
    weights = PlacementWeights()
    slow = {"c1": Waits(20, 60_000, 90_000)}
    wish = Wish("app", size_class="c1")
    assert total(SiteView("a", 1, waits=slow), wish, 0, weights) == 60
    assert total(SiteView("a", 1, waits={"c1": Waits(19, 60_000, 90_000)}), wish, 0, weights) == 0


def test_other_ranks() -> None:
    """Energy and price count for the core hours of the job, preferences by the place in the owner's order.

    No site is preferred for its grid unless the settings say so (N-008).
    """
    site = SiteView("a", 1, carbon=300, price=2, preference={"app": 30, "": 60})
    wish = Wish("app", group="g", cpu=2, duration_ms=HOUR_MS // 2, preferred=("b", "a"))
    weights = PlacementWeights(energy=0.1, price=10)
    rows = {cost.rank: cost.seconds for cost in costs(site, wish, 0, weights)}
    assert rows == {"load": 0, "energy": 30, "price": 20, "preference": 330}
    clean = replace(site, carbon=0.0)
    assert total(clean, wish, 0, PlacementWeights()) == total(site, wish, 0, PlacementWeights())


@given(st.lists(needs, max_size=3), st.lists(needs, max_size=3))
def test_needs_with_the_same_key_cost_alike_everywhere(first: list[DataNeed], second: list[DataNeed]) -> None:
    """Identifiers do not matter, sizes within a band hardly."""
    renamed = [DataNeed(f"other:{need.identifier}", need.bytes, need.replicas[::-1]) for need in first]
    assert data_key(first) == data_key(renamed[::-1])
    if data_key(first) == data_key(second):
        ours, theirs = transfer(REMOTE_ALL, first).seconds, transfer(REMOTE_ALL, second).seconds
        assert ours <= 1.5 * theirs + 1 and theirs <= 1.5 * ours + 1


REMOTE_ALL = SiteView("r", 1, storage={area: Way.STAGE for area in "xyz"}, bandwidth={"x": 1e8, "y": 1e9, "z": 1e7})


def test_size_classes() -> None:
    assert size_class(1, 2**30, 0, HOUR_MS) == "c1-m1-g0-h1"
    assert size_class(2, 5 * 2**30, 1, 0) == size_class(4, 16 * 2**30, 1, 0) == "c4-m16-g1-hany"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (in_bytes(999), "999 B"),
        (in_bytes(1.25e12), "1.25 TB"),
        (in_bytes(3.2e18), "3,200 PB"),
        (in_memory(64 * 2**30), "64 GiB"),
        (in_memory(1.5 * 2**20), "1.5 MiB"),
        (in_time(0.2), "less than a second"),
        (in_time(90), "90 s"),
        (in_time(5400), "90 min"),
        (in_time(86_400 * 3), "3 days"),
        (at_instant(0), "1970-01-01 00:00 UTC"),
    ],
)
def test_words_for_figures(text: str, words: str) -> None:
    assert text == words

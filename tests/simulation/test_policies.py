"""What policies do with a network."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.networks import SMALL, Watched, network_of, scenarios
from uws_service.placement.choice import choose
from uws_service.placement.model import Wish
from uws_service.placement.shares import FairShares, Ledger, Lot, Use, decayed, plan
from uws_service.simulation.early import EarlyBinding, bind_to_least_loaded
from uws_service.simulation.figures import POLICIES, jain_index, quantile, simulate
from uws_service.simulation.files import PUBLISHED, read_load, read_scenario
from uws_service.simulation.network import Network
from uws_service.simulation.scenario import Scenario
from uws_service.simulation.uses import Uses


@settings(max_examples=40)
@given(scenarios, st.sampled_from(sorted(POLICIES)))
def test_every_job_starts_once_where_there_is_room(scenario: Scenario, policy: str) -> None:
    """Nothing is lost, nothing runs twice, nothing starts before it arrives, and nothing waits at the end."""
    network = network_of(scenario)
    simulation = Watched(network)
    simulation.run(POLICIES[policy](simulation))
    assert Counter(job for job, _, _ in simulation.starts) == Counter(range(len(network.load)))
    assert simulation.free == network.slots
    assert simulation.waiting == 0 and not any(simulation.group_waiting)
    assert sum(simulation.command_seconds) == pytest.approx(sum(network.load.seconds))


@settings(max_examples=20)
@given(scenarios)
def test_nobody_moves_less_than_the_oracle(scenario: Scenario) -> None:
    """Its bytes are a bound; the policy that looks at data alone reaches it, whatever that costs."""
    network = network_of(scenario)
    least = simulate(network, "oracle").moved_bytes
    for policy in POLICIES:
        assert simulate(network, policy).moved_bytes >= least
    assert simulate(network, "data-only").moved_bytes == least


def test_a_seed_says_it_all() -> None:
    first, second = (simulate(network_of(), "ours") for _ in range(2))
    assert replace(first, cpu_seconds=0) == replace(second, cpu_seconds=0)
    other = simulate(network_of({**SMALL, "seed": 2}), "ours")
    assert other.moved_bytes != first.moved_bytes


def test_the_least_loaded_site_is_that_of_the_choice() -> None:
    """The policy is what the service does with the load alone."""
    network = network_of({**SMALL, "arrivals": {"jobs": 100, "load": 2}})
    simulation = Watched(network)
    policy = EarlyBinding(simulation, bind_to_least_loaded)
    for job in range(len(network.load)):
        views = [replace(view, waiting=policy.bound[number]) for number, view in enumerate(network.views.values())]
        before = list(policy.bound)
        policy.arrive(job, network.load.arrival[job])
        site = next(number for number, count in enumerate(policy.bound) if count != before[number])
        assert network.names[site] == choose(views, Wish("app")).site


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(1, 1e6), st.floats(0, 1e8)), min_size=1, max_size=30),
    st.integers(60, 10**6),
)
def test_fast_uses_are_those_of_the_shares(additions: list[tuple[int, float, float]], half_life: int) -> None:
    """Letting later use count more is the same as letting earlier use decay."""
    shares = [1.0, 2.0, 3.0]
    fast = Uses(shares, 6, half_life)
    slow = [Use()] * 6
    now = 0.0
    for owner, amount, later in additions:
        now += later
        fast.add(owner % 3, owner, amount, now)
        slow[owner] = Use(decayed(slow[owner], int(now * 1000), half_life) + amount, int(now * 1000))
    levels = [decayed(use, int(now * 1000), half_life) for use in slow]
    for first in range(6):
        for second in range(6):
            if levels[first] > levels[second] * 1.001 + 1e-9:
                assert fast.owner_use(first) >= fast.owner_use(second)
    ratios = [(levels[group] + levels[group + 3]) / shares[group] for group in range(3)]
    for first in range(3):
        for second in range(3):
            if ratios[first] > ratios[second] * 1.001 + 1e-9:
                assert fast.group_ratio(first) >= fast.group_ratio(second)


ONE_SITE: dict[str, Any] = {
    "sites": [{"name": "a", "slots": 1}],
    "groups": [{"name": "g1", "share": 3, "owners": 2}, {"name": "g2", "share": 1, "owners": 3}],
    "kinds": [{"name": "compute", "seconds": {"median": 60}}],
    "arrivals": {"jobs": 60, "load": 3},
    "half_life": 1e12,
    "aged": 1e9,
}


def test_the_order_is_that_of_the_shares() -> None:
    """One slot, no data: jobs start in the order that the plan of a round gives."""
    network = network_of(ONE_SITE)
    simulation = Watched(network)
    simulation.run(POLICIES["ours"](simulation))
    load, shares = network.load, network.scenario.shares
    owner_uses: Counter[int] = Counter()
    started: set[int] = set()
    for number, (job, _, now) in enumerate(simulation.starts):
        waiting = [other for other in range(len(load)) if other not in started and load.arrival[other] <= now]
        lots = {
            other: Lot("x", load.groups[load.owners[load.owner[other]]], f"{load.owner[other]:03}", other, seconds=60)
            for other in waiting
        }
        groups: Counter[str] = Counter()
        for owner, use in owner_uses.items():
            groups[load.groups[load.owners[owner]]] += use
        ledger = Ledger(
            {group: Use(use, 0) for group, use in groups.items()},
            {(load.groups[load.owners[owner]], f"{owner:03}"): Use(use, 0) for owner, use in owner_uses.items()},
        )
        (pick,) = plan(lots.values(), ledger, shares, now_ms=0, room=1, turn=1)
        expected = lots[job]
        # Equal uses may come in either order; what must agree is how much the group and the owner have used.
        ours, theirs = _level(expected, ledger, shares), _level(pick.lot, ledger, shares)
        assert ours[0] == pytest.approx(theirs[0]), number
        if expected.group == pick.lot.group:
            assert ours[1] == pytest.approx(theirs[1]), number
        started.add(job)
        owner_uses[load.owner[job]] += 60


def _level(lot: Lot, ledger: Ledger, shares: FairShares) -> tuple[float, float]:
    group = ledger.groups.get(lot.group, Use()).amount / shares.share(lot.group)
    return group, ledger.owners.get((lot.group, lot.owner), Use()).amount


def test_groups_get_their_shares_within_five_points() -> None:
    """60/30/10 while all have more work than room, whatever part of the jobs is theirs; hours of simulated time."""
    content = {
        "sites": [{"name": "a", "slots": 40}, {"name": "b", "slots": 60}],
        "data": [{"name": "cube", "count": 50, "bytes": {"median": 1e10}, "replicas": 1}],
        "groups": [
            {"name": "g1", "share": 60, "owners": 3},
            {"name": "g2", "share": 30, "owners": 3},
            {"name": "g3", "share": 10, "owners": 3},
        ],
        "kinds": [{"name": "read", "seconds": {"median": 120, "sigma": 0.5}, "data": ["cube"]}],
        "arrivals": {"jobs": 6000, "load": 3},
        "half_life": 3600,
        "aged": 1800,
    }
    network = network_of(content)
    simulation = Watched(network)
    simulation.run(POLICIES["ours"](simulation))
    whole = sum(simulation.contended)
    assert whole > 100 * 1800
    for seconds, share in zip(simulation.contended, (60, 30, 10), strict=True):
        assert 100 * seconds / whole == pytest.approx(share, abs=5)


def test_a_group_that_comes_late_starts_with_the_next_free_slot(tmp_path: Path) -> None:
    """Three groups have filled the network and have more work than it can do; the fourth has used nothing."""
    jobs = [
        {"arrival": number / 10, "seconds": 300 + number % 100, "group": group, "owner": f"o{number % 4}"}
        for number in range(2000)
        for group in ("a", "b", "c")
    ]
    jobs += [{"arrival": 3600, "seconds": 300, "group": "late"}] * 5
    (tmp_path / "trace.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    scenario = Scenario.model_validate(
        {
            "sites": [{"name": "x", "slots": 60}, {"name": "y", "slots": 40}],
            "groups": [
                {"name": name, "share": share} for name, share in (("a", 60), ("b", 30), ("c", 10), ("late", 5))
            ],
            "trace": str(tmp_path / "trace.jsonl"),
            "aged": 1800,
        }
    )
    network = Network(*read_load(scenario))
    simulation = Watched(network)
    simulation.run(POLICIES["ours"](simulation))
    load = network.load
    starts = sorted(now for job, _, now in simulation.starts if load.groups[load.owners[load.owner[job]]] == "late")
    usual = sorted(simulation.waits)[len(load) // 2]
    assert starts[0] - 3600 < 30
    assert starts[-1] - 3600 < usual / 4


@pytest.mark.parametrize(("aged", "latest"), [(1200, 1300 + 11 * 60), (1e9, None)])
def test_no_job_waits_beyond_the_bound_of_its_age(tmp_path: Path, aged: float, latest: float | None) -> None:
    """A job of a group with next to no share, while another group always has more work.

    It starts within ten turns once it is aged; without that rule it would wait until the others have no more jobs.
    """
    rich = [{"arrival": max(0, number - 10) * 60, "seconds": 60, "group": "rich"} for number in range(500)]
    poor = [{"arrival": at, "seconds": 60, "group": "poor"} for at in (0, 100)]
    (tmp_path / "trace.jsonl").write_text("".join(json.dumps(job) + "\n" for job in [*rich, *poor]))
    content = {
        "sites": ONE_SITE["sites"],
        "groups": [{"name": "rich", "share": 1000}, {"name": "poor", "share": 0.001}],
        "trace": str(tmp_path / "trace.jsonl"),
        "half_life": 1e9,
        "aged": aged,
    }
    scenario = Scenario.model_validate(content)
    network = Network(*read_load(scenario))
    simulation = Watched(network)
    simulation.run(POLICIES["ours"](simulation))
    late = next(now for job, _, now in simulation.starts if network.load.arrival[job] == 100)
    end = max(now for _, _, now in simulation.starts)
    assert late <= latest if latest is not None else late == end


@pytest.mark.parametrize("name", PUBLISHED)
def test_ours_is_near_the_best_in_bytes_and_in_waits(name: str) -> None:
    """At most 1.2 times the oracle's bytes, and 1.3 times the least 95 % wait of all policies."""
    scenario = read_scenario(name, {"arrivals.jobs": 30_000})
    network = Network(*read_load(scenario))
    figures = {policy: simulate(network, policy) for policy in scenario.policies}
    ours = figures.pop("ours")
    assert ours.moved_bytes <= 1.2 * figures.pop("oracle").moved_bytes
    assert ours.wait_p95 <= 1.3 * min(item.wait_p95 for item in figures.values())


@pytest.mark.parametrize(
    ("seconds", "shares", "index"),
    [([6000, 3000], [2, 1], 1.0), ([9000, 0], [1, 1], 0.5), ([1, 1], [1, 1], None), ([1e6], [1], None)],
)
def test_jain_s_index(seconds: list[float], shares: list[float], index: float | None) -> None:
    assert jain_index(seconds, shares) == index


def test_quantiles() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.95), quantile([3.0], 0.95)) == (50, 95, 3)

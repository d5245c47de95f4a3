"""What comes out of a simulation."""

from __future__ import annotations

import heapq
import math
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from uws_service.simulation.early import EarlyBinding, bind_at_random, bind_to_data, bind_to_least_loaded
from uws_service.simulation.engine import Policy, Simulation
from uws_service.simulation.late import LateBinding
from uws_service.simulation.network import Network

BARS = 40
"""Quantiles of waits that are kept for plots."""
MIN_CONTENDED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Figures:
    """The outcome of one policy.

    Waits and the makespan are in seconds.

    ``used`` is the part of all slots' time until the makespan in which commands ran, ``jain`` Jain's index over the
    groups' use for their shares while all of them had jobs waiting (1: exactly as the shares say).
    """

    policy: str
    jobs: int
    moved_bytes: int
    wait_p50: float
    wait_p95: float
    makespan: float
    used: float
    staging: float
    jain: float | None
    wait_quantiles: tuple[float, ...]
    site_used: tuple[float, ...]
    cpu_seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object, which is the same on every machine."""
        return {name: value for name, value in asdict(self).items() if name != "cpu_seconds"}


POLICIES: dict[str, Callable[[Simulation], Policy]] = {
    "least-loaded": lambda simulation: EarlyBinding(simulation, bind_to_least_loaded),
    "random": lambda simulation: EarlyBinding(simulation, bind_at_random),
    "data-only": lambda simulation: EarlyBinding(simulation, bind_to_data),
    "ours": LateBinding,
}


def simulate(network: Network, policy: str) -> Figures:
    """Simulate all jobs with a policy."""
    began = time.process_time()
    if policy == "oracle":
        return bound(network, began)
    simulation = Simulation(network)
    simulation.run(POLICIES[policy](simulation))
    shares = [group.share for group in network.scenario.groups]
    return _figures(network, policy, simulation, jain_index(simulation.contended, shares), began)


def bound(network: Network, began: float) -> Figures:
    """Return what no policy can do better: the oracle.

    Its bytes are a true bound: each job moves what the best site for it needs, however full that is. Its waits are
    those of a single queue, first come, first served, before all slots together, each of them as good as that site.
    """
    load = network.load
    simulation = Simulation(network)
    least = [_least(network, need) for need in range(len(load.needs))]
    ends = [0.0] * sum(network.slots)
    for job in range(len(load)):
        moved, staging = least[load.need[job]]
        ready = max(load.arrival[job], ends[0]) + staging
        simulation.waits[job] = ready - load.arrival[job]
        simulation.moved_bytes += moved
        heapq.heapreplace(ends, ready + load.seconds[job])
    simulation.makespan = max(ends)
    simulation.command_seconds = [sum(load.seconds) * slots / sum(network.slots) for slots in network.slots]
    return _figures(network, "oracle", simulation, None, began)


def _least(network: Network, need: int) -> tuple[int, float]:
    """Return the fewest bytes that a combination of data sets moves anywhere, and the seconds that takes."""
    sizes = network.bytes_at(need)
    moved = min(sizes)
    sites = [site for site, size in enumerate(sizes) if size == moved]
    return moved, min(sum(network.set_seconds[number][site] for number in network.load.needs[need]) for site in sites)


def jain_index(seconds: Sequence[float], shares: Sequence[float]) -> float | None:
    """Return Jain's index of fairness of what groups got for their shares; None if they got next to nothing."""
    if len(seconds) < 2 or sum(seconds) < MIN_CONTENDED_SECONDS:
        return None
    ratios = [got / share for got, share in zip(seconds, shares, strict=True)]
    return sum(ratios) ** 2 / (len(ratios) * sum(ratio**2 for ratio in ratios))


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return a quantile of sorted values."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(part * len(ordered)) - 1))]


def _figures(network: Network, policy: str, simulation: Simulation, jain: float | None, began: float) -> Figures:
    waits = array("d", sorted(simulation.waits))
    slot_seconds = [slots * simulation.makespan for slots in network.slots]
    return Figures(
        policy=policy,
        jobs=len(waits),
        moved_bytes=simulation.moved_bytes,
        wait_p50=quantile(waits, 0.5),
        wait_p95=quantile(waits, 0.95),
        makespan=simulation.makespan,
        used=sum(simulation.command_seconds) / sum(slot_seconds),
        staging=sum(simulation.staging_seconds) / sum(slot_seconds),
        jain=jain,
        wait_quantiles=tuple(quantile(waits, number / BARS) for number in range(1, BARS + 1)),
        site_used=tuple(
            seconds / whole for seconds, whole in zip(simulation.command_seconds, slot_seconds, strict=True)
        ),
        cpu_seconds=time.process_time() - began,
    )

"""Policies that bind a job to a site when it arrives: what there was before, and what ours is compared with."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

from uws_service.simulation.engine import Simulation
from uws_service.simulation.jobs import Picker

Bind = Callable[[int], int]
"""``(job) -> site``."""


class EarlyBinding:
    """A queue at each site.

    Owners take turns there, as they do at real sites.
    """

    next_round = math.inf

    def __init__(self, simulation: Simulation, bind: Callable[[EarlyBinding], Bind]) -> None:
        count = len(simulation.free)
        self.simulation = simulation
        self.slots = simulation.network.slots
        self.bound = [0] * count
        """Jobs that wait or run at each site."""
        self._queues: list[dict[int, deque[int]]] = [{} for _ in range(count)]
        self._running: list[dict[int, int]] = [{} for _ in range(count)]
        self._bind = bind(self)

    def arrive(self, job: int, now: float) -> None:
        """Bind a job; start it if its site has room."""
        site = self._bind(job)
        self.bound[site] += 1
        if self.simulation.free[site]:
            self._start(job, site, now)
        else:
            self.simulation.enqueue(job)
            self._queues[site].setdefault(self.simulation.load.owner[job], deque()).append(job)

    def freed(self, site: int, job: int, now: float) -> None:
        """Start the next job of the site's queue."""
        self.bound[site] -= 1
        running = self._running[site]
        running[self.simulation.load.owner[job]] -= 1
        queue = self._queues[site]
        if not queue:
            return
        owner = min(queue, key=lambda number: (running.get(number, 0), queue[number][0]))
        following = queue[owner].popleft()
        if not queue[owner]:
            del queue[owner]
        self.simulation.dequeue(following)
        self._start(following, site, now)

    def round(self, now: float) -> None:
        """Do nothing: jobs stay where they are."""

    def least_loaded(self, sites: range | tuple[int, ...]) -> int:
        """Return the site with the fewest jobs for each slot, as the rank ``load`` counts."""
        return min(sites, key=lambda site: self.bound[site] / self.slots[site])

    def _start(self, job: int, site: int, now: float) -> None:
        owner = self.simulation.load.owner[job]
        running = self._running[site]
        running[owner] = running.get(owner, 0) + 1
        self.simulation.start(job, site, now)


def bind_to_least_loaded(policy: EarlyBinding) -> Bind:
    """Bind jobs to the site with the fewest jobs for each slot."""
    sites = range(len(policy.slots))
    return lambda job: policy.least_loaded(sites)


def bind_at_random(policy: EarlyBinding) -> Bind:
    """Bind jobs to sites at random, to large ones more often."""
    generator = random.Random(policy.simulation.network.scenario.seed)
    picker = Picker(policy.slots)
    return lambda job: picker.draw(generator)


def bind_to_data(policy: EarlyBinding) -> Bind:
    """Bind jobs where the fewest bytes have to be moved, and among those sites to the least loaded."""
    network = policy.simulation.network
    best: dict[int, tuple[int, ...]] = {}

    def bind(job: int) -> int:
        need = policy.simulation.load.need[job]
        sites = best.get(need)
        if sites is None:
            sizes = network.bytes_at(need)
            least = min(sizes)
            sites = best[need] = tuple(site for site, size in enumerate(sizes) if size == least)
        return policy.least_loaded(sites)

    return bind

"""The clock of a simulation: jobs arrive, run and end, in the order of time.

A job holds its slot while its data come. What comes in at a site shares the site's inbound bandwidth, first come, first
served. A job waits from its arrival until its command starts.
"""

from __future__ import annotations

import heapq
import math
from array import array
from typing import Protocol

from uws_service.simulation.network import Network


class Policy(Protocol):
    """Decides which waiting job starts where."""

    next_round: float
    """When `round` is due, in seconds; infinite if it is not."""

    def arrive(self, job: int, now: float) -> None:
        """Start a new job or let it wait."""

    def freed(self, site: int, job: int, now: float) -> None:
        """Use the slot that a job has left."""

    def round(self, now: float) -> None:
        """Look again at what waits."""


class Simulation:
    """The state of the network, and what has been measured so far."""

    def __init__(self, network: Network) -> None:
        load = network.load
        self.network = network
        self.load = load
        self.free = list(network.slots)
        self.waits = array("d", bytes(8 * len(load)))
        self.moved_bytes = 0
        self.makespan = 0.0
        self.command_seconds = [0.0] * len(network.slots)
        self.staging_seconds = [0.0] * len(network.slots)
        self.group_of = load.owners
        self.waiting = 0
        self.group_waiting = [0] * len(load.groups)
        self.contended = [0.0] * len(load.groups)
        """Seconds of slots that each group got while all groups had jobs waiting."""
        self._idle_groups = len(load.groups)
        self._ends: list[tuple[float, int, int]] = []
        self._inbound_free = [0.0] * len(network.slots)

    def run(self, policy: Policy) -> None:
        """Simulate all jobs."""
        arrivals, total, ends, free = self.load.arrival, len(self.load), self._ends, self.free
        job = 0
        while job < total or ends or self.waiting:
            arrival = arrivals[job] if job < total else math.inf
            end = ends[0][0] if ends else math.inf
            if policy.next_round < arrival and policy.next_round < end:
                policy.round(policy.next_round)
            elif arrival <= end:
                if arrival == math.inf:
                    raise RuntimeError(f"{self.waiting} jobs wait for ever")
                policy.arrive(job, arrival)
                job += 1
            else:
                _, ended, site = heapq.heappop(ends)
                free[site] += 1
                policy.freed(site, ended, end)

    def enqueue(self, job: int) -> None:
        """Count a job that waits."""
        group = self.group_of[self.load.owner[job]]
        self.waiting += 1
        if not self.group_waiting[group]:
            self._idle_groups -= 1
        self.group_waiting[group] += 1

    def dequeue(self, job: int) -> None:
        """Count a job that no longer waits."""
        group = self.group_of[self.load.owner[job]]
        self.waiting -= 1
        self.group_waiting[group] -= 1
        if not self.group_waiting[group]:
            self._idle_groups += 1

    def start(self, job: int, site: int, now: float) -> None:
        """Begin a job at a site that has a free slot."""
        network = self.network
        moved, staging = 0, 0.0
        for number in self.load.needs[self.load.need[job]]:
            size = network.set_bytes[number][site]
            if size:
                moved += size
                staging += network.set_seconds[number][site]
        ready = now
        if moved:
            begin = max(now, self._inbound_free[site])
            self._inbound_free[site] = begin + moved / network.inbound[site]
            ready = begin + staging
            self.moved_bytes += moved
            self.staging_seconds[site] += ready - now
        seconds = self.load.seconds[job]
        end = ready + seconds
        self.free[site] -= 1
        self.waits[job] = ready - self.load.arrival[job]
        self.command_seconds[site] += seconds
        self.makespan = max(self.makespan, end)
        if not self._idle_groups:
            self.contended[self.group_of[self.load.owner[job]]] += end - now
        heapq.heappush(self._ends, (end, job, site))

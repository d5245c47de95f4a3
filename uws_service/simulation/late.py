"""Our policy: waiting jobs belong to the network, and sites with room take them.

The decisions are those of `uws_service.placement`: costs from its ranks, `enough_ms` from its patience, the order from
its shares. What is here is bookkeeping that keeps a million jobs fast: a queue for each site of the jobs that are best
there, and one for each class.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from uws_service.placement.patience import enough_ms, expected_wait
from uws_service.simulation.engine import Simulation
from uws_service.simulation.network import JobClass
from uws_service.simulation.uses import Uses

ROUND_SECONDS = 10.0
"""How often a site with room looks again at jobs that it has left to others."""

Queue = dict[int, dict[int, deque[int]]]
"""Jobs by group and owner, the oldest first. Jobs that have started are dropped when they come to the head."""


class LateBinding:
    """Sites take jobs by rank, patience and share."""

    def __init__(self, simulation: Simulation) -> None:
        network, load = simulation.network, simulation.load
        count = len(network.slots)
        self.simulation = simulation
        self.network = network
        self.patience = network.scenario.patience
        self.shares = network.scenario.shares
        self.uses = Uses([self.shares.share(name) for name in load.groups], len(load.owners), self.shares.half_life)
        self.next_round = math.inf
        self.waits = dict.fromkeys(network.names, 0.0)
        """Expected waits at the sites, in seconds."""
        self._job_seconds = sum(load.expected) / max(1, len(load))
        self._queued_seconds = [0.0] * count
        self._started = bytearray(len(load))
        self._home: list[Queue] = [{} for _ in range(count)]
        self._by_class: dict[int, Queue] = {}
        self._class_counts: dict[int, int] = {}
        self._oldest: deque[int] = deque()
        self._turns = [0] * count
        self._round_number = 0
        self._dry = [-1] * count
        """The round in which each site has found nothing that it takes."""

    def arrive(self, job: int, now: float) -> None:
        """Start a job where it is best, or at a site that takes it at once; otherwise it waits."""
        job_class = self._class(job)
        site = self._site_for(job_class)
        if site is not None:
            self._start(job, site, now)
        else:
            self._enqueue(job, job_class, now)

    def freed(self, site: int, job: int, now: float) -> None:
        """Settle what the job used, and fill its slot."""
        load = self.simulation.load
        self.uses.add(load.owners[load.owner[job]], load.owner[job], load.seconds[job] - load.expected[job], now)
        self._fill(site, now)
        self._update(site)

    def round(self, now: float) -> None:
        """Let sites with room look again at all that waits."""
        self._round_number += 1
        self.next_round = math.inf
        for site, free in enumerate(self.simulation.free):
            if free:
                self._fill(site, now)
        self._schedule(now)

    def _class(self, job: int) -> JobClass:
        return self.network.classes[self.simulation.load.need[job]]

    def _site_for(self, job_class: JobClass) -> int | None:
        """Return the site at which a new job starts, if there is one."""
        free, slots = self.simulation.free, self.network.slots
        home = max(job_class.homes, key=lambda site: free[site] / slots[site])
        if free[home]:
            return home
        open_sites = [site for site, count in enumerate(free) if count]
        for site in sorted(open_sites, key=lambda number: job_class.costs[number]):
            if not enough_ms(self.network.names[site], job_class.prospects, self.waits, self.patience):
                return site
        return None

    def _fill(self, site: int, now: float) -> None:
        """Take jobs until the site is full or nothing is to be had."""
        while self.simulation.free[site] and self.simulation.waiting:
            job = self._take(site, now)
            if job is None:
                self._schedule(now)
                return
            self._dequeue(job)
            self._start(job, site, now)

    def _take(self, site: int, now: float) -> int | None:
        """Return the next job for a site."""
        self._turns[site] += 1
        if self._turns[site] % self.shares.aged_every == 0:
            aged = self._aged(site, now)
            if aged is not None:
                return aged
        job = self._next((self._home[site],))
        if job is None and self._dry[site] != self._round_number:
            job = self._foreign(site, now)
            if job is None:
                self._dry[site] = self._round_number
        return job

    def _aged(self, site: int, now: float) -> int | None:
        """Return the oldest job, if it has waited too long."""
        oldest = self._oldest
        while oldest and self._started[oldest[0]]:
            oldest.popleft()
        if oldest and now - self.simulation.load.arrival[oldest[0]] >= self.shares.aged:
            return oldest[0]
        return None

    def _foreign(self, site: int, now: float) -> int | None:
        """Return a job that is better elsewhere, but has no need to wait for that."""
        open_classes = [number for number in self._class_counts if self._takes(site, number, now)]
        return self._next(self._by_class[number] for number in open_classes)

    def _takes(self, site: int, number: int, now: float) -> bool:
        """Return whether a site takes the oldest waiting job of a class."""
        head = min(queue[0] for owners in self._by_class[number].values() for queue in owners.values())
        waited_ms = 1000 * (now - self.simulation.load.arrival[head])
        prospects = self._class(head).prospects
        return waited_ms >= enough_ms(self.network.names[site], prospects, self.waits, self.patience)

    def _next(self, queues: Iterable[Queue]) -> int | None:
        """Return the job that is first by the shares of groups and owners, then by age."""
        queues = tuple(queues)
        groups = {group for queue in queues for group in queue}
        for group in sorted(groups, key=self.uses.group_ratio):
            owners = {owner for queue in queues for owner in queue.get(group, ())}
            for owner in sorted(owners, key=self.uses.owner_use):
                heads = [head for queue in queues if (head := self._head(queue, group, owner)) is not None]
                if heads:
                    return min(heads)
        return None

    def _head(self, queue: Queue, group: int, owner: int) -> int | None:
        """Return the oldest job of an owner in a queue; empty parts of it are removed."""
        owners = queue.get(group)
        jobs = owners.get(owner) if owners else None
        if owners is None or jobs is None:
            return None
        while jobs and self._started[jobs[0]]:
            jobs.popleft()
        if jobs:
            return jobs[0]
        del owners[owner]
        if not owners:
            del queue[group]
        return None

    def _start(self, job: int, site: int, now: float) -> None:
        load = self.simulation.load
        self._started[job] = 1
        self.uses.add(load.owners[load.owner[job]], load.owner[job], load.expected[job], now)
        self.simulation.start(job, site, now)
        if not self.simulation.free[site]:
            self._update(site)

    def _enqueue(self, job: int, job_class: JobClass, now: float) -> None:
        load = self.simulation.load
        owner = load.owner[job]
        group = load.owners[owner]
        self.simulation.enqueue(job)
        self._oldest.append(job)
        queues = [self._home[site] for site in job_class.homes]
        queues.append(self._by_class.setdefault(job_class.number, {}))
        for queue in queues:
            queue.setdefault(group, {}).setdefault(owner, deque()).append(job)
        self._class_counts[job_class.number] = self._class_counts.get(job_class.number, 0) + 1
        self._count_queued(job, job_class, 1)
        self._schedule(now)

    def _dequeue(self, job: int) -> None:
        job_class = self._class(job)
        self._started[job] = 1
        self.simulation.dequeue(job)
        owner = self.simulation.load.owner[job]
        self._head(self._by_class[job_class.number], self.simulation.load.owners[owner], owner)
        self._class_counts[job_class.number] -= 1
        if not self._class_counts[job_class.number]:
            del self._class_counts[job_class.number], self._by_class[job_class.number]
        self._count_queued(job, job_class, -1)

    def _count_queued(self, job: int, job_class: JobClass, sign: int) -> None:
        """Count a waiting job's work at the sites that are best for it, by their slots."""
        slots = self.network.slots
        whole = sum(slots[site] for site in job_class.homes)
        seconds = sign * self.simulation.load.expected[job]
        for site in job_class.homes:
            self._queued_seconds[site] += seconds * slots[site] / whole
            self._update(site)

    def _update(self, site: int) -> None:
        """Estimate the wait at a site anew."""
        self.waits[self.network.names[site]] = expected_wait(
            self.network.slots[site],
            self.simulation.free[site],
            max(0.0, self._queued_seconds[site]),
            self._job_seconds,
        )

    def _schedule(self, now: float) -> None:
        """Look again soon if something waits and some site has room."""
        if self.simulation.waiting and self.next_round == math.inf and any(self.simulation.free):
            self.next_round = now + ROUND_SECONDS

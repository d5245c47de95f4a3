"""The choice of a site among 20, and a round of a site's loop over 100,000 waiting attempts: the pure parts."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench.__main__ import Figure
from uws_service.placement.choice import choose
from uws_service.placement.lots import LOTS_PER_OWNER
from uws_service.placement.model import DataNeed, SiteView, Waits, Way, Wish
from uws_service.placement.patience import OTHER_SITES, Prospects, class_key, prospects
from uws_service.placement.ranks import DEFAULT_WEIGHTS
from uws_service.placement.rounds import Situation, take
from uws_service.placement.shares import Lot

SITES = 20
WAITING = 100_000
ROUNDS = 30
HOUR_MS = 3_600_000


def network() -> dict[str, SiteView]:
    """Return 20 sites that mount an area each and stage from the others."""
    names = [f"s{number:02}" for number in range(SITES)]
    return {
        name: SiteView(
            name,
            100,
            waiting=number * 7 % 50,
            running=number * 13 % 100,
            storage={area: Way.MOUNT if area == name else Way.STAGE for area in names},
            bandwidth=dict.fromkeys(names, 2e8),
            waits={"c1-m1-g0-h1": Waits(100, 60_000, 600_000)},
            carbon=100.0 + number,
        )
        for number, name in enumerate(names)
    }


def wish_of(generator: random.Random) -> Wish:
    """Return a job over a data set in two places, of any size."""
    areas = tuple(f"s{number:02}" for number in generator.sample(range(SITES), 2))
    data = (DataNeed(f"ska:{generator.random()}", int(1e9 * 2 ** generator.uniform(0, 10)), areas),)
    group = generator.randrange(4)
    owner = f"o{group}-{generator.randrange(12)}"
    return Wish("app", owner=owner, group=f"g{group}", cpu=1, data=data, size_class="c1-m1-g0-h1")


def median_of(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median of a work's seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


class Waiting:
    """What a store would hold of waiting attempts: lots by best site and owner, the oldest first."""

    def __init__(self, sites: dict[str, SiteView]) -> None:
        generator = random.Random(1)
        self.outlooks: dict[str, Prospects] = {}
        self.lots: dict[str, dict[str, list[Lot]]] = {}
        counts: dict[tuple[str, str, str], int] = {}
        for _ in range(WAITING):
            job = wish_of(generator)
            key = class_key(job)
            if key not in self.outlooks:
                self.outlooks[key] = prospects(sites, job, 0, DEFAULT_WEIGHTS)
            counts[key, job.group, job.owner] = counts.get((key, job.group, job.owner), 0) + 1
        for age, ((key, group, owner), count) in enumerate(counts.items()):
            owners = self.lots.setdefault(self.outlooks[key].best, {})
            owners.setdefault(owner, []).append(Lot(key, group, owner, age, count))

    def heads(self, best: Iterable[str]) -> list[Lot]:
        """Return what a round reads: the first lots of each owner for some best sites."""
        return [lot for site in best for lots in self.lots[site].values() for lot in lots[:LOTS_PER_OWNER]]


async def measure(folder: Path) -> list[Figure]:
    """Measure choices, and a round of a site's loop: decisions, and the order of what it takes."""
    sites = network()
    views = list(sites.values())
    wish = wish_of(random.Random(2))
    choice = median_of(lambda: choose(views, wish, now_ms=0), 300)
    waiting = Waiting(sites)
    waits = {name: 60.0 * number for number, name in enumerate(sites)}
    home = waiting.heads(["s00"])
    others = waiting.heads(sorted(waits, key=waits.__getitem__)[-OTHER_SITES:])

    situation = Situation(waiting.outlooks, waits)

    def round_over(lots: list[Lot]) -> Callable[[], object]:
        return lambda: take("s00", lots, situation, now_ms=HOUR_MS, room=20)

    lots = sum(len(lots) for owners in waiting.lots.values() for lots in owners.values())
    return [
        Figure.most("choice of a site", 1e6 * choice, 1000, f"one job among {SITES} sites, with all words", "µs"),
        Figure.plain("classes", len(waiting.outlooks), f"of {WAITING} waiting attempts, in {lots} lots", "classes"),
        Figure.most(
            "round, own work",
            1e3 * median_of(round_over(home)),
            20,
            f"20 of {len(home)} lots that are best there",
            "ms",
        ),
        Figure.most(
            "round, work of others",
            1e3 * median_of(round_over(others)),
            50,
            f"20 of {len(others)} lots that are best elsewhere",
            "ms",
        ),
    ]

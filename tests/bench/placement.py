"""The choice of a site among 20, and a round of a site's loop over 100,000 waiting attempts."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.__main__ import Figure
from uws_service.domain.attempt import Attempt, LotKey
from uws_service.placement.choice import choose
from uws_service.placement.model import DataNeed, SiteView, Waits, Way, Wish, wish_text
from uws_service.placement.placer import Placer
from uws_service.sites.local.settings import LocalSite
from uws_service.sites.network import Network, SiteQueue
from uws_service.store import Store, migrate
from uws_service.store.database import Transaction

SITES = 20
WAITING = 100_000
ROUNDS = 30
PAGE = 5_000


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


async def waiting_store(folder: Path) -> Store:
    """Return a store of 100,000 attempts that wait in the network: of 20 kinds, 50 owners and 5 groups."""
    url = f"sqlite:///{folder / 'waiting.db'}"
    migrate(url)
    store = await Store.open(url)

    def put(first: int) -> Callable[[Transaction], None]:
        def operation(tx: Transaction) -> None:
            for number in range(first, first + PAGE):
                kind, owner = f"app{number % 20}", f"o{number // 20 % 50}"
                group = f"g{number // 20 % 5}"
                wish = wish_text(Wish(kind, owner=owner, group=group, cpu=1))
                lot = LotKey(kind, group, owner, 0).text
                attempt = Attempt(f"j{number:06}", 1, "", kind, owner, group, created=number, network=True, lot=lot,
                                  wish=wish)  # fmt: skip
                store.attempts.put(tx, attempt)

        return operation

    for first in range(0, WAITING, PAGE):
        await store._database.write(put(first))
    return store


async def rounds(folder: Path) -> tuple[float, float]:
    """Return the median seconds of a round of a site with room for 64 attempts, and for one."""
    store = await waiting_store(folder)
    names = [f"s{number:02}" for number in range(SITES)]
    placer = Placer(store, [LocalSite(name=name, slots=200) for name in names], names)
    queue = SiteQueue(Network(store, placer), names[3])
    medians = []
    for room in (64, 1):
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            taken = await queue.next(room, 10**12)
            times.append(time.perf_counter() - began)
            assert len(taken) == room
        medians.append(statistics.median(times))
    await store.close()
    return medians[0], medians[1]


async def measure(folder: Path) -> list[Figure]:
    """Measure choices, and a round of a site's loop: decisions, and the order of what it takes."""
    sites = network()
    views = list(sites.values())
    wish = wish_of(random.Random(2))
    choice = median_of(lambda: choose(views, wish, now_ms=0), 300)
    many, single = await rounds(folder)
    text = f"of a site among {SITES}, with {WAITING} waiting attempts in 1,000 lots (SQLite)"
    return [
        Figure.most("choice of a site", 1e6 * choice, 1000, f"one job among {SITES} sites, with all words", "µs"),
        Figure.most("round, room for 64", 1e3 * many, 50, text, "ms"),
        Figure.most("round, room for 1", 1e3 * single, 20, text, "ms"),
    ]

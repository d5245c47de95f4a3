"""The jobs of a simulation: drawn from distributions, always the same for a seed."""

from __future__ import annotations

import bisect
import itertools
import math
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from uws_service.simulation.scenario import Arrivals, DataSets, Scenario, Spread


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set and the storage areas that hold it."""

    identifier: str
    bytes: int
    areas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """All jobs, as columns in the order of their arrival.

    ``arrival`` and ``seconds`` are in seconds, ``expected`` is what a placement knows of the length of a job. ``owner``
    and ``needs`` are numbers in the lists of owners, each with the number of its group, and of combinations of data
    sets, which are numbers themselves.
    """

    sets: list[DataSet]
    groups: list[str]
    owners: list[int]
    needs: list[tuple[int, ...]]
    arrival: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    expected: array[float] = field(default_factory=lambda: array("d"))
    owner: array[int] = field(default_factory=lambda: array("l"))
    need: array[int] = field(default_factory=lambda: array("l"))

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self.arrival)


class Picker:
    """Draws numbers below a count, the first ones more often."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._sums = list(itertools.accumulate(weights))

    def draw(self, generator: random.Random) -> int:
        """Return a number."""
        return bisect.bisect(self._sums, generator.random() * self._sums[-1], hi=len(self._sums) - 1)


def draw_spread(spread: Spread, generator: random.Random) -> float:
    """Return a value of a distribution."""
    value = spread.median
    if spread.sigma:
        value *= math.exp(generator.gauss(0.0, spread.sigma))
    return min(value, spread.maximum) if spread.maximum is not None else value


def mean_of(spread: Spread) -> float:
    """Return the mean of a distribution, without its maximum."""
    return spread.median * math.exp(spread.sigma**2 / 2)


def draw_sets(kind: DataSets, scenario: Scenario, generator: random.Random) -> list[DataSet]:
    """Return the data sets of a kind, with replicas in different places."""
    names = list(kind.areas) or [site.name for site in scenario.sites]
    slots = {site.name: float(site.slots) for site in scenario.sites}
    sets = []
    for number in range(kind.count):
        free = {name: slots.get(name, 1.0) for name in names}
        areas = []
        for _ in range(min(kind.replicas, len(names))):
            area = generator.choices(list(free), list(free.values()))[0]
            areas.append(area)
            del free[area]
        size = max(1, round(draw_spread(kind.bytes, generator)))
        sets.append(DataSet(f"{kind.name}:{number}", size, tuple(sorted(areas))))
    return sets


def draw_sets_of(scenario: Scenario) -> list[DataSet]:
    """Return all data sets of a scenario, kind by kind."""
    generator = random.Random(scenario.seed)
    return [item for kind in scenario.data for item in draw_sets(kind, scenario, generator)]


def draw_load(scenario: Scenario) -> Load:
    """Return the jobs of a scenario's distributions."""
    generator = random.Random(f"jobs {scenario.seed}")
    sets = draw_sets_of(scenario)
    numbers: dict[str, range] = {}
    pickers: dict[str, Picker] = {}
    first = 0
    for data in scenario.data:
        numbers[data.name] = range(first, first + data.count)
        pickers[data.name] = Picker([(number + 1.0) ** -data.popularity for number in range(data.count)])
        first += data.count
    owners = [number for number, group in enumerate(scenario.groups) for _ in range(group.owners)]
    load = Load(sets, [group.name for group in scenario.groups], owners, [])
    firsts = list(itertools.accumulate([group.owners for group in scenario.groups], initial=0))
    by_kind = Picker([kind.part for kind in scenario.kinds])
    by_group = Picker([group.part for group in scenario.groups])
    means = [mean_of(kind.seconds) for kind in scenario.kinds]
    combinations: dict[tuple[int, ...], int] = {}
    for arrival in draw_arrivals(scenario, generator):
        chosen = by_kind.draw(generator)
        kind = scenario.kinds[chosen]
        need = tuple(sorted({numbers[name][pickers[name].draw(generator)] for name in kind.data}))
        group = by_group.draw(generator)
        load.arrival.append(arrival)
        load.seconds.append(max(1.0, draw_spread(kind.seconds, generator)))
        load.expected.append(means[chosen])
        load.owner.append(firsts[group] + generator.randrange(scenario.groups[group].owners))
        load.need.append(combinations.setdefault(need, len(combinations)))
    load.needs.extend(combinations)
    return load


def draw_arrivals(scenario: Scenario, generator: random.Random) -> Iterator[float]:
    """Yield the seconds at which jobs arrive.

    A Poisson process, faster in bursts.
    """
    arrivals = scenario.arrivals
    if arrivals is None:
        return
    parts = sum(kind.part for kind in scenario.kinds)
    mean = sum(kind.part / parts * mean_of(kind.seconds) for kind in scenario.kinds)
    rate = arrivals.load * scenario.slots / mean
    base = rate / _mean_factor(arrivals)
    now = 0.0
    for _ in range(arrivals.jobs):
        now += generator.expovariate(base * _factor(arrivals, now))
        yield now


def _factor(arrivals: Arrivals, now: float) -> float:
    bursts = arrivals.bursts
    return bursts.factor if bursts is not None and now % bursts.every < bursts.length else 1.0


def _mean_factor(arrivals: Arrivals) -> float:
    bursts = arrivals.bursts
    if bursts is None:
        return 1.0
    part = min(1.0, bursts.length / bursts.every)
    return part * bursts.factor + 1 - part

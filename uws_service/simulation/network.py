"""What the sites of a scenario cost for jobs, by the ranks of the placement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uws_service.placement.locality import data_key, transfer
from uws_service.placement.model import DataNeed, SiteView, Way, Wish
from uws_service.placement.patience import Prospects, prospects
from uws_service.simulation.jobs import DataSet, Load
from uws_service.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class JobClass:
    """Jobs that cost the same everywhere.

    Sites are numbers, ``costs`` are seconds by the number of the site, ``homes`` are the best sites.
    """

    number: int
    prospects: Prospects
    costs: tuple[float, ...]
    homes: tuple[int, ...]

    @property
    def least(self) -> float:
        """Return the costs of its best site."""
        return self.costs[self.homes[0]]


class Network:
    """The sites as the placement sees them, with what each data set and each job takes there.

    ``set_bytes`` and ``set_seconds`` have a row for each data set and a column for each site; ``classes`` has the class
    of each combination of data sets.
    """

    def __init__(self, scenario: Scenario, load: Load) -> None:
        self.scenario = scenario
        self.load = load
        self.names = [site.name for site in scenario.sites]
        self.slots = [site.slots for site in scenario.sites]
        self.inbound = [float(site.inbound) for site in scenario.sites]
        self.views = _views(scenario)
        self.set_bytes: list[tuple[int, ...]] = []
        self.set_seconds: list[tuple[float, ...]] = []
        for item in load.sets:
            moves = [transfer(view, (_need_of(item),)) for view in self.views.values()]
            self.set_bytes.append(tuple(move.bytes for move in moves))
            self.set_seconds.append(tuple(move.seconds for move in moves))
        self._keys = [data_key((_need_of(item),)) for item in load.sets]
        self._by_key: dict[tuple[str, ...], JobClass] = {}
        self.classes = [self._class_of(need) for need in load.needs]

    @property
    def class_count(self) -> int:
        """Return how many classes there are."""
        return len(self._by_key)

    def bytes_at(self, need: int) -> list[int]:
        """Return what has to be moved to each site for a combination of data sets."""
        rows = [self.set_bytes[number] for number in self.load.needs[need]]
        return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * len(self.names)

    def _class_of(self, need: Sequence[int]) -> JobClass:
        key = tuple(sorted(self._keys[number] for number in need))
        job_class = self._by_key.get(key)
        if job_class is None:
            sets = tuple(_need_of(self.load.sets[number]) for number in need)
            outlook = prospects(self.views, Wish("job", data=sets), 0, self.scenario.weights)
            costs = tuple(outlook.costs[name] for name in self.names)
            homes = sorted(map(self.names.index, outlook.homes(self.scenario.patience.margin)))
            homes.sort(key=costs.__getitem__)
            job_class = self._by_key[key] = JobClass(len(self._by_key), outlook, costs, tuple(homes))
        return job_class


def _need_of(item: DataSet) -> DataNeed:
    return DataNeed(item.identifier, item.bytes, item.areas)


def _views(scenario: Scenario) -> Mapping[str, SiteView]:
    """Return sites that mount their own area and stage from all others."""
    areas = [*(site.name for site in scenario.sites), *scenario.areas]
    links = {(link.target, link.source): float(link.bandwidth) for link in scenario.links}
    usual = float(scenario.bandwidth)
    return {
        site.name: SiteView(
            name=site.name,
            slots=site.slots,
            storage={area: Way.MOUNT if area == site.name else Way.STAGE for area in areas},
            bandwidth={area: min(links.get((site.name, area), usual), float(site.inbound)) for area in areas},
        )
        for site in scenario.sites
    }

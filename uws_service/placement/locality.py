"""What it takes to read a job's data at a site."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from uws_service.data.replicas import fetch_url, is_usable
from uws_service.domain.dataset import DataParameter
from uws_service.placement.model import DataNeed, SiteView, Way

NEEDS_MAX = 64
"""Needs of one job; each is looked at for each site."""
BANDS_PER_DOUBLING = 2
"""Sizes within a factor of √2 count as equal."""


class Transfer(NamedTuple):
    """What has to be moved to a site, and how long that takes."""

    bytes: int = 0
    seconds: float = 0.0
    areas: tuple[str, ...] = ()
    """The storage areas that it comes from, in the order of the data sets."""


NO_TRANSFER = Transfer()


def way_of(site: SiteView, need: DataNeed, area: str) -> Way | None:
    """Return how jobs at a site read a data set that a storage area holds; None: not at all."""
    if area in site.storage:
        way: Way | None = site.storage[area]
    else:
        way = Way.BRING if site.brings and need.lake else site.any_way
    return None if way is Way.STAGE and area in need.only_mounted else way


def to_bring(site: SiteView, needs: Iterable[DataNeed]) -> tuple[DataNeed, ...]:
    """Return what the data lake has to copy to a site before a job can start there: what no area of its own has."""
    if not site.brings:
        return ()
    return tuple(
        need for need in needs if need.lake and need.replicas and site.storage.keys().isdisjoint(need.replicas)
    )


def best_replica(site: SiteView, need: DataNeed) -> tuple[str, float] | None:
    """Return the area to read a data set from, and the seconds that takes; None if no replica can be read."""
    best: tuple[str, float] | None = None
    for area in need.replicas:
        way = way_of(site, need, area)
        if way is None:
            continue
        if way is Way.MOUNT:
            return area, 0.0
        rate = site.bandwidth.get(area, site.any_bandwidth)
        if rate <= 0:  # a link that is cut
            continue
        seconds = max(0, need.bytes) / rate
        if best is None or seconds < best[1]:
            best = area, seconds
    return best


def transfer(site: SiteView, needs: Sequence[DataNeed]) -> Transfer:
    """Return what has to be moved to a site for a job.

    Data sets come after each other. What can't be read at all is left out; `unreadable` names it.
    """
    if not needs:
        return NO_TRANSFER
    total, seconds, areas = 0, 0.0, []
    for need in needs:
        replica = best_replica(site, need)
        if replica is not None and site.storage.get(replica[0], site.any_way) is not Way.MOUNT:
            total += max(0, need.bytes)
            seconds += replica[1]
            areas.append(replica[0])
    return Transfer(total, seconds, tuple(areas))


def unreadable(site: SiteView, needs: Iterable[DataNeed]) -> tuple[DataNeed, ...]:
    """Return the data sets of which a site can read no replica."""
    return tuple(need for need in needs if best_replica(site, need) is None)


def data_key(needs: Sequence[DataNeed]) -> str:
    """Return the same text for needs that cost the same at every site.

    It has where the replicas are and how large they are, in bands, and no identifier: a million data sets in two
    copies at 20 sites make a few thousand keys.
    """
    parts = []
    for need in needs:
        areas = sorted({f"{area}!" if area in need.only_mounted else area for area in need.replicas})
        parts.append(f"{'+'.join(areas)}~{_band(need.bytes)}{'^' if need.lake else ''}")
    return " ".join(sorted(parts))


def needs_of(parameters: Iterable[DataParameter]) -> tuple[DataNeed, ...]:
    """Return what a job's data sets need of a site: one need for all files that can be had in the same ways.

    If there are very many ways, the files of the least bytes share a need that has what is common to them.
    """
    needs: dict[tuple[tuple[str, ...], tuple[str, ...], bool], DataNeed] = {}
    for parameter in parameters:
        for data_set in parameter.sets or ():
            for file in data_set.files:
                usable = [replica for replica in file.replicas if is_usable(replica)]
                areas = tuple(sorted({replica.area for replica in usable}))
                fetched = {replica.area for replica in usable if fetch_url(replica.url)}
                key = areas, tuple(area for area in areas if area not in fetched), bool(data_set.lake)
                need = needs.get(key) or DataNeed(data_set.identifier, 0, *key)
                needs[key] = replace(need, bytes=need.bytes + (file.size or 0))
    largest = sorted(needs.values(), key=lambda need: (-need.bytes, need.replicas))
    if len(largest) <= NEEDS_MAX:
        return tuple(largest)
    rest = largest[NEEDS_MAX - 1 :]
    common = set.intersection(*(set(need.replicas) for need in rest))
    only_mounted = {area for need in rest for area in need.only_mounted} & common
    size = sum(need.bytes for need in rest)
    in_lake = all(need.lake for need in rest)
    joint = DataNeed(rest[0].identifier, size, tuple(sorted(common)), tuple(sorted(only_mounted)), in_lake)
    return (*largest[: NEEDS_MAX - 1], joint)


def _band(size: int) -> int:
    """Return the number of a size's band."""
    return int(max(size, 1) ** BANDS_PER_DOUBLING).bit_length() - 1

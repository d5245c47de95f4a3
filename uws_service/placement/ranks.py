"""What a job costs at each of the sites that take it, in seconds.

`RANKS` is the table: to add a rule, write two small functions and a line: the seconds that a site costs, and the words
for them. Costs add up; the site with the lowest sum is the best. A second is a second that the owner waits, so a
weight says how many seconds of waiting something else is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from uws_service.domain.placement import Cost
from uws_service.placement.locality import to_bring, transfer
from uws_service.placement.model import SiteView, Wish
from uws_service.placement.wording import in_bytes, in_time


class PlacementWeights(BaseModel):
    """What counts how much when a site is chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    load: float = Field(
        600.0, ge=0, description="Seconds for one job that waits or runs there for each slot of the site."
    )
    wait: float = Field(
        1.0,
        ge=0,
        description="Seconds for each second that such jobs usually waited there, from the hand-over to the start.",
    )
    data: float = Field(1.0, ge=0, description="Seconds for each second that it takes to move the job's data there.")
    energy: float = Field(
        0.0, ge=0, description="Seconds for each gram of CO2e that the job causes there if it takes its time limit."
    )
    price: float = Field(
        0.0, ge=0, description="Seconds for each unit of money that the job costs there if it takes its time limit."
    )
    preference: float = Field(
        1.0, ge=0, description="Seconds for each second of the operator's and the owner's preferences."
    )


DEFAULT_WEIGHTS = PlacementWeights()
PREFERENCE_STEP_SECONDS = 300.0
"""The second site of an owner's list costs so much, the third twice as much."""


class Rank(NamedTuple):
    """A rule: seconds before they are weighed, and the words for them."""

    name: str
    seconds: Callable[[SiteView, Wish, int], float]
    words: Callable[[SiteView, Wish, int], str]


def _load(site: SiteView, wish: Wish, now_ms: int) -> float:
    return (site.waiting + site.running) / max(1, site.slots)


def _load_words(site: SiteView, wish: Wish, now_ms: int) -> str:
    return f"{site.waiting} waiting and {site.running} running for {site.slots} slots"


def _wait(site: SiteView, wish: Wish, now_ms: int) -> float:
    waits = site.expected_waits(wish.size_class)
    return waits.p50_ms / 1000 if waits is not None else 0.0


def _wait_words(site: SiteView, wish: Wish, now_ms: int) -> str:
    waits = site.expected_waits(wish.size_class)
    return f"such jobs waited {in_time(waits.p50_ms / 1000)} there" if waits is not None else ""


def _data(site: SiteView, wish: Wish, now_ms: int) -> float:
    return transfer(site, wish.data).seconds if wish.data else 0.0


def _data_words(site: SiteView, wish: Wish, now_ms: int) -> str:
    if not wish.data:
        return ""
    move = transfer(site, wish.data)
    if not move.bytes:
        return "its data are there"
    areas = ", ".join(dict.fromkeys(move.areas))
    action = "bring" if to_bring(site, wish.data) else "move"
    return f"{in_bytes(move.bytes)} to {action} from {areas}, which takes {in_time(move.seconds)}"


def _core_hours(wish: Wish) -> float:
    return wish.cpu * wish.duration_ms / 3_600_000


def _energy(site: SiteView, wish: Wish, now_ms: int) -> float:
    return (site.carbon or 0.0) * _core_hours(wish)


def _energy_words(site: SiteView, wish: Wish, now_ms: int) -> str:
    return f"{site.carbon:g} g CO2e for an hour of a core" if site.carbon is not None else ""


def _price(site: SiteView, wish: Wish, now_ms: int) -> float:
    return (site.price or 0.0) * _core_hours(wish)


def _price_words(site: SiteView, wish: Wish, now_ms: int) -> str:
    return f"an hour of a core costs {site.price:g}" if site.price is not None else ""


def _preference(site: SiteView, wish: Wish, now_ms: int) -> float:
    seconds = site.preference.get(wish.application, site.preference.get("", 0.0))
    if wish.preferred:
        place = wish.preferred.index(site.name) if site.name in wish.preferred else len(wish.preferred)
        seconds += PREFERENCE_STEP_SECONDS * place
    return seconds


def _preference_words(site: SiteView, wish: Wish, now_ms: int) -> str:
    if site.name in wish.preferred:
        return f"number {wish.preferred.index(site.name) + 1} of the preferred sites"
    return "not among the preferred sites" if wish.preferred else ""


RANKS: tuple[Rank, ...] = (
    Rank("data", _data, _data_words),
    Rank("load", _load, _load_words),
    Rank("wait", _wait, _wait_words),
    Rank("energy", _energy, _energy_words),
    Rank("price", _price, _price_words),
    Rank("preference", _preference, _preference_words),
)
"""Each name is also that of its weight in `PlacementWeights`."""

FIXED_RANKS = tuple(rank for rank in RANKS if rank.name not in ("load", "wait"))
"""Those that do not depend on how busy a site is: what late binding weighs against waiting."""


def total(site: SiteView, wish: Wish, now_ms: int, weights: PlacementWeights, ranks: tuple[Rank, ...] = RANKS) -> float:
    """Return what a job costs at a site, in seconds."""
    seconds = 0.0
    for rank in ranks:
        weight: float = getattr(weights, rank.name)
        if weight:
            seconds += weight * rank.seconds(site, wish, now_ms)
    return seconds


def costs(site: SiteView, wish: Wish, now_ms: int, weights: PlacementWeights) -> tuple[Cost, ...]:
    """Return the costs of a site with their words; ranks that say nothing are left out."""
    rows = []
    for rank in RANKS:
        weight = getattr(weights, rank.name)
        seconds = weight * rank.seconds(site, wish, now_ms) if weight else 0.0
        words = rank.words(site, wish, now_ms) if weight else ""
        if seconds or words:
            rows.append(Cost(rank.name, round(seconds, 1), words))
    return tuple(rows)

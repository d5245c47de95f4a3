"""When a site with room takes a waiting job, and when it leaves it to a better one.

A waiting attempt belongs to the network. A site that has room takes it at once if it is the best one for it, or if
waiting for the better ones would take longer than what this site costs more. Otherwise the attempt waits for a better
site as long as that difference, and no longer than a bound (delay scheduling): so waiting and moving together never
cost more than twice what moving alone would have. Work that waits for a site because it is best there comes first; what
comes from elsewhere queues behind it, so a busy network does not trade places for nothing.

All attempts of one *class* (`class_key`: application, needs, group, where the replicas are and how large) cost the
same at every site, and a site takes an attempt the sooner the longer it has waited. So a class is one number at a site,
the wait that is enough (`enough_ms`), whatever its attempts' ages are. The store keeps the class of an attempt with its
group, owner and priority as its *lot*, in an index with its age (`uws_service.store.queue`): a round reads lots by a
loose index scan, and of those whose turn it is the oldest attempts (`uws_service.sites.network`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from uws_service.placement.locality import data_key
from uws_service.placement.model import SiteView, Wish
from uws_service.placement.objections import is_possible
from uws_service.placement.ranks import FIXED_RANKS, PlacementWeights, total
from uws_service.placement.wording import in_time
from uws_service.units import Seconds

NEVER_MS = 2**62


class Patience(BaseModel):
    """How long jobs wait for better sites."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: float = Field(
        1.0,
        ge=0,
        description="Seconds that a job waits for a better site for each second that the worse one costs more.",
    )
    maximum: Seconds = Field(3600, ge=0, description="Longest wait for a better site; then any site takes the job.")
    margin: float = Field(1.0, ge=0, description="Seconds by which sites may differ and still be as good.")
    silence: Seconds = Field(
        60,
        ge=0,
        description="How long a silent site is waited for as if it were full, so that a short silence moves no data.",
    )


DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Prospects:
    """What jobs of one class cost at the sites that may run them, in seconds, however busy those are."""

    costs: Mapping[str, float]
    best: str
    """The site with the lowest costs; empty if no site may run them."""
    silent: frozenset[str] = frozenset()
    """Sites that do not answer at the moment."""

    @staticmethod
    def of(costs: Mapping[str, float], key: str = "", silent: Collection[str] = ()) -> Prospects:
        """Return the prospects with these costs.

        Of several best sites, classes with different keys get different ones: each site is the best of some.
        """

        def place(site: str) -> tuple[float, bytes]:
            return costs[site], hashlib.sha256(f"{key} {site}".encode()).digest()

        return Prospects(costs, min(costs, key=place) if costs else "", frozenset(silent))

    def homes(self, margin: float) -> tuple[str, ...]:
        """Return the sites that are as good as the best one, the best first."""
        if not self.costs:
            return ()
        limit = self.costs[self.best] + margin
        near = sorted((seconds, name != self.best, name) for name, seconds in self.costs.items() if seconds <= limit)
        return tuple(name for *_, name in near)


class Decision(NamedTuple):
    """Whether a site takes an attempt, and why."""

    take: bool
    reason: str
    enough_ms: int
    """The wait from which on it takes such attempts."""


def class_key(wish: Wish, named_owners: Collection[str] = ()) -> str:
    """Return the class of a job: jobs of one class cost the same everywhere and meet the same objections.

    ``named_owners`` are those that some site names in its settings; the others count by their groups alone.
    """
    # The time limit is in it because downtimes and core hours depend on it.
    parts = (
        wish.application,
        wish.group,
        wish.owner if wish.owner in named_owners else "",
        wish.site or "",
        f"{wish.cpu:g}/{wish.memory}/{wish.gpus}/{wish.duration_ms}",
        ",".join(wish.preferred),
        ",".join(f"{site}:{words}" for site, words in sorted(wish.refusals.items())),
        data_key(wish.data),
    )
    return "|".join(parts)


def prospects(sites: Mapping[str, SiteView], wish: Wish, now_ms: int, weights: PlacementWeights) -> Prospects:
    """Return what jobs like this one cost at each site that may run them now, or as soon as it answers again."""
    possible = {
        name: site for name, site in sites.items() if wish.site in (None, name) and is_possible(site, wish, now_ms)
    }
    return Prospects.of(
        {name: total(site, wish, now_ms, weights, FIXED_RANKS) for name, site in possible.items()},
        data_key(wish.data),
        [name for name, site in possible.items() if not site.reachable],
    )


def expected_wait(slots: int, free: int, queued_seconds: float, job_seconds: float) -> float:
    """Return the seconds until a site has a slot for another job.

    ``queued_seconds`` is the work of those that wait for this site first, in seconds of slots, ``job_seconds`` the
    length of a usual job.
    """
    if free > 0:
        return 0.0
    return (queued_seconds + job_seconds) / max(1, slots)


def enough_ms(site: str, outlook: Prospects, waits: Mapping[str, float], patience: Patience) -> int:
    """Return how long an attempt must have waited to be taken by a site; 0: it is taken at once.

    ``waits`` are the expected waits at the sites in seconds, 0 for those with room and those of which nothing is known.
    That of the site itself is the work that waits for it first: what comes from elsewhere queues behind it.
    """
    here = outlook.costs.get(site)
    if here is None:
        return NEVER_MS
    more = here - outlook.costs[outlook.best]
    if more <= patience.margin:
        return 0
    own = waits.get(site, 0.0)
    if here + own <= _elsewhere(here, outlook, waits, patience)[0]:
        return 0
    return int(1000 * (own + min(float(patience.maximum), patience.factor * more)))


def decide(
    site: str, outlook: Prospects, waited_ms: int, waits: Mapping[str, float], patience: Patience = DEFAULT_PATIENCE
) -> Decision:
    """Return whether a site that has room takes an attempt, with the reason."""
    enough = enough_ms(site, outlook, waits, patience)
    if enough == NEVER_MS:
        return Decision(False, "it may not run here", enough)
    here, best = outlook.costs[site], outlook.best
    more = here - outlook.costs[best]
    if more <= patience.margin:
        return Decision(True, "its best site" if site == best else f"as good as {best}", 0)
    soonest, other = _elsewhere(here, outlook, waits, patience)
    if here + waits.get(site, 0.0) <= soonest:
        wait = in_time(waits.get(other, 0.0))
        return Decision(True, f"{other} has no room for about {wait}; waiting would take longer", 0)
    better = f"{best}, which is {in_time(more)} better"
    if waited_ms >= enough:
        return Decision(True, f"has waited {in_time(waited_ms / 1000)} for {better}", enough)
    return Decision(False, f"waits for {better}, for {in_time((enough - waited_ms) / 1000)}", enough)


def _elsewhere(here: float, outlook: Prospects, waits: Mapping[str, float], patience: Patience) -> tuple[float, str]:
    """Return the least cost with its wait at the better sites, and the site."""
    return min(
        (cost + waits.get(name, 0.0), name) for name, cost in outlook.costs.items() if cost < here - patience.margin
    )

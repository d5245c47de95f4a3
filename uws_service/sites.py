"""Which site a job goes to, and why: a pure decision.

With one site the answer is that site; the reason is told in jobInfo all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SiteView:
    """What the choice knows of a site."""

    name: str
    slots: int
    waiting: int = 0


def choose(sites: Sequence[SiteView]) -> tuple[str, str]:
    """The site with the fewest jobs waiting for each of its slots, and the reason as a sentence."""
    best = min(sites, key=lambda site: (site.waiting / site.slots, site.name))
    if len(sites) == 1:
        return best.name, "the only site"
    return best.name, f"{best.waiting} waiting for {best.slots} slots, the fewest of {len(sites)} sites"

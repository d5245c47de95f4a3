"""How long jobs wait at sites that are full, and what a waiting job says."""

from __future__ import annotations

from collections.abc import Mapping

from uws_service.placement.model import SiteView
from uws_service.placement.patience import DEFAULT_PATIENCE, Patience, Prospects, enough_ms, expected_wait
from uws_service.placement.wording import in_time

NO_SITE = "no site takes it at the moment"
JOB_SECONDS = 600.0
"""What a job is taken to need where no history tells."""


def expected_waits(views: Mapping[str, SiteView]) -> dict[str, float]:
    """Return how long jobs wait at each site, in seconds."""
    waits = {}
    for name, view in views.items():
        free = view.slots - view.running - view.waiting
        waits[name] = expected_wait(view.slots, free, view.waiting * view.job_seconds, view.job_seconds)
    return waits


def waiting_words(
    outlook: Prospects, waited_ms: int, waits: Mapping[str, float], patience: Patience = DEFAULT_PATIENCE
) -> str:
    """Return for which site a job waits, and which one takes it next if it has room: a sentence for its owner."""
    if not outlook.costs:
        return NO_SITE
    best = outlook.best
    wait = waits.get(best, 0.0)
    words = f"waits for a free slot at {best}" + (f", in about {in_time(wait)}" if wait else "")
    homes = outlook.homes(patience.margin)
    if best in outlook.silent:
        words = f"waits for {best}, which does not answer at the moment"
    elif len(homes) > 1:
        others = len(homes) - 1
        words = f"waits for a free slot at {best} or {others} other site{'s' if others > 1 else ''} as good as that"
    later = [
        (max(0, enough_ms(site, outlook, waits, patience) - waited_ms), site)
        for site in outlook.costs
        if site not in homes
    ]
    if not later:
        return words
    left_ms, site = min(later)
    when = f"in {in_time(left_ms / 1000)}" if left_ms else "now"
    return f"{words}; {site} takes it {when} if it has room"

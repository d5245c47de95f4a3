"""What the waits of earlier jobs say about the next one.

Nothing is said before there are enough of them (`MIN_SAMPLES`): no quote is better than a wrong one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from uws_service.placement.model import SiteView, Waits, Wish


def waits_of(samples_ms: Sequence[int]) -> Waits:
    """Return the median and the 90 % wait of the latest jobs of a size class at a site."""
    if not samples_ms:
        return Waits(0, 0, 0)
    ordered = sorted(samples_ms)

    def quantile(part: float) -> int:
        return ordered[math.ceil(part * len(ordered)) - 1]

    return Waits(len(ordered), quantile(0.5), quantile(0.9))


def quote_ms(site: SiteView, wish: Wish, now_ms: int) -> int | None:
    """Return when a job that is started now will probably have ended at a site; None if nobody knows.

    Nine of ten such jobs had started by then, and none takes longer than its limit (UWS: *quote* is a prediction).
    """
    waits = site.expected_waits(wish.size_class)
    length_ms = wish.duration_ms or wish.expected_ms
    if waits is None or not length_ms:
        return None
    return now_ms + waits.p90_ms + length_ms

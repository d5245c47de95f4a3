"""Quotas of owners, and rates of requests and bad tokens.

This is pure, apart from the counters.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from uws_service.auth.identity import MAX_ADDRESSES, Identity
from uws_service.auth.settings import Quota
from uws_service.domain.errors import QueueFull, QuotaExceeded, ServiceUnavailable, TooManyRequests
from uws_service.domain.job import Phase

BURST_SECONDS = 10.0
"""So many seconds' worth of requests may come at once."""
BAD_TOKEN_BURST_SECONDS = 60.0
"""So many seconds' worth of bad tokens may come at once."""
MAX_BUCKETS = 50_000
RETRY_SECONDS = 15
"""For Retry-After: by then a job may have ended."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What an owner has in the store."""

    phases: Mapping[Phase, int]
    stored: int


def require_room(quota: Quota, holding: Holding, *, run: bool, new: bool, jobs: int = 1, size: int = 0) -> None:
    """Raise if the owner may not have so many jobs more.

    ``new`` is for jobs that are made, of ``size`` bytes together, ``run`` for those that are started. How many run at
    once does not matter here: the others wait.

    Raises
    ------
    QueueFull
        The request succeeds after other jobs: 429 with Retry-After.
    QuotaExceeded
        Something must be deleted first.
    """
    full = quota.stored is not None and (holding.stored >= quota.stored or holding.stored + size > quota.stored)
    if new and full:
        addition = f", and {size} more would come" if size else ""
        raise QuotaExceeded(
            f"Your jobs hold {holding.stored} bytes of parameters, uploads and results{addition}; {quota.stored} are "
            "allowed. Delete jobs that are no longer needed."
        )
    if not run:
        return
    queued = holding.phases.get(Phase.QUEUED, 0)
    if quota.queued is not None and jobs > max(1, quota.queued):
        raise QuotaExceeded(f"These are {jobs} jobs at once; {quota.queued} of yours may wait to run.")
    if quota.queued is not None and queued + jobs > quota.queued:
        raise QueueFull(
            f"You have {queued} jobs that wait to run; {quota.queued} are allowed.", retry_after=RETRY_SECONDS
        )
    if quota.running == 0:
        raise QuotaExceeded("You may store jobs here, but none of yours may run.")


class Buckets:
    """Token buckets by name.

    When there are too many, the least recently used one is dropped.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, rate: float, size: float, now: float) -> float:
        """Take one from a bucket.

        Return 0, or the seconds to wait.
        """
        level, filled = self._buckets.pop(name, (size, now))
        level = min(size, level + max(0.0, now - filled) * rate)  # a clock may be set back
        if level < 1:
            self._buckets[name] = (level, now)
            return (1 - level) / rate
        if len(self._buckets) >= MAX_BUCKETS:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[name] = (level - 1, now)
        return 0

    def give_back(self, name: str) -> None:
        """Put one back."""
        if name in self._buckets:
            level, filled = self._buckets[name]
            self._buckets[name] = (level + 1, filled)


class Rates:
    """Rates of requests, in this process."""

    def __init__(self) -> None:
        self._buckets = Buckets()

    def take(self, caller: str, rate: float, now: float) -> None:
        """Count one request; raise `TooManyRequests`."""
        seconds = self._buckets.take(caller, rate, max(1.0, rate * BURST_SECONDS), now)
        if seconds:
            raise TooManyRequests(
                f"More than {rate:g} requests a second; slow down, and use WAIT instead of asking again and again.",
                retry_after=max(1, math.ceil(seconds)),
            )


class BadTokens:
    """Rates of bad tokens, in this process.

    A token counts as bad before it is looked at, so that many at once do not get through, and is given back when it
    turns out to be good.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._buckets = Buckets()

    @contextmanager
    def counted(self, address: str, now: float) -> Iterator[None]:
        """Count the token that is verified inside.

        Raise `TooManyRequests`.

        An issuer that can't be asked is not the caller's fault, but such tokens count as long as they wait for it.
        """
        if self._rate is None or not address:
            yield
            return
        name = network_of(address)
        size = max(1.0, self._rate * BAD_TOKEN_BURST_SECONDS)
        seconds = self._buckets.take(name, self._rate, size, now)
        if seconds:
            raise TooManyRequests(
                "Too many bad tokens or logins came from your address; this one was not looked at. Try again later.",
                retry_after=max(1, math.ceil(seconds)),
            )
        try:
            yield
        except ServiceUnavailable:
            self._buckets.give_back(name)
            raise
        self._buckets.give_back(name)


def party_of(identity: Identity, address: str) -> str:
    """Return whom a request counts for.

    Its owner, or the network that it came from.
    """
    return identity.owner or f"address {network_of(address)}"


@lru_cache(MAX_ADDRESSES)
def network_of(address: str) -> str:
    """Return what an address is counted under.

    Of IPv6 it is the network of 64 bits, which one customer has.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)

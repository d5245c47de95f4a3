"""Decaying uses of groups and owners, fast.

All uses decay alike, so their order does not change while nobody uses anything. Instead of letting all of them decay,
what is added later counts more: ``amount × 2^(now / half-life)``. The order is that of
`uws_service.placement.shares.decayed`.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_HALF_LIVES = 400.0


class Uses:
    """Uses of groups beside their shares, and of owners."""

    def __init__(self, shares: Sequence[float], owners: int, half_life_seconds: float) -> None:
        self._shares = shares
        self._half_life = half_life_seconds
        self._groups = [0.0] * len(shares)
        self._owners = [0.0] * owners
        self._base = 0.0

    def add(self, group: int, owner: int, amount: float, now: float) -> None:
        """Count what an owner of a group uses.

        Negative amounts take back what was expected.
        """
        doublings = (now - self._base) / self._half_life
        if doublings > MAX_HALF_LIVES:
            factor: float = 2.0**-doublings
            self._groups = [use * factor for use in self._groups]
            self._owners = [use * factor for use in self._owners]
            self._base, doublings = now, 0.0
        weighed = amount * 2.0**doublings
        self._groups[group] = max(0.0, self._groups[group] + weighed)
        self._owners[owner] = max(0.0, self._owners[owner] + weighed)

    def group_ratio(self, group: int) -> float:
        """Return a group's use for its share, in a unit of no meaning."""
        return self._groups[group] / self._shares[group]

    def owner_use(self, owner: int) -> float:
        """Return an owner's use, in the same unit."""
        return self._owners[owner]

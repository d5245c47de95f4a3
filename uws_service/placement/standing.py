"""A group's position beside its share of the network, as its members are told. Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from uws_service.placement.shares import FairShares, Ledger, decayed

NEAR_PERCENT = 10
"""A use counts as the share if it differs by no more than this percentage of it."""


class Position(StrEnum):
    """Where the use of a group is, beside its share."""

    BELOW = "below"
    AT = "at"
    ABOVE = "above"


def parts(ledger: Ledger, shares: FairShares, wanting: Collection[str], now_ms: int) -> dict[str, tuple[float, float]]:
    """Return what part of all uses each group has, and what part is its share.

    Groups count that have used something, and those that want something now (``wanting``): a share is relative to
    theirs alone.
    """
    uses = {group: decayed(use, now_ms, shares.half_life) for group, use in ledger.groups.items()}
    groups = {group for group, use in uses.items() if use >= 1.0} | set(wanting)
    used = sum(uses.get(group, 0.0) for group in groups)
    promised = sum(shares.share(group) for group in groups)
    return {group: (uses.get(group, 0.0) / used if used else 0.0, shares.share(group) / promised) for group in groups}


def position(part: float, share: float) -> Position:
    """Return where a part of the uses is beside a part that is promised."""
    if part < share * (1 - NEAR_PERCENT / 100):
        return Position.BELOW
    return Position.ABOVE if part > share * (1 + NEAR_PERCENT / 100) else Position.AT


def standing_words(group: str, ledger: Ledger, shares: FairShares, now_ms: int) -> str:
    """Return where a group is beside its share: a sentence for its members; empty if no other group counts.

    It names no other group, and what it says is no account: uses count half as much after each half-life.
    """
    table = parts(ledger, shares, (group,), now_ms)
    if len(table) < 2:
        return ""
    part, share = table[group]
    name = f"the group {group}" if group else "who is in no group"
    words = {
        Position.BELOW: "below its share, so its jobs come before those of groups above theirs",
        Position.AT: "at its share",
        Position.ABOVE: "above its share, so jobs of groups below theirs come first",
    }[position(part, share)]
    return f"{name} is {words}: {100 * part:.0f} % of what is used of late, for a share of {100 * share:.0f} %"

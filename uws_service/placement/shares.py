"""In which order waiting attempts are taken: shares of groups, and of owners inside them.

A group's *use* is what its jobs have used, in seconds of cores; it halves within each half-life. The group with the
least use for its share comes first, inside it the owner with the least use for theirs, and then that owner's own order:
priority, then age. A job that starts counts at once with what it is expected to use, so that a burst gets no more than
its part. Each tenth turn (`FairShares.aged_every`) belongs to the oldest attempt that has waited longer than
`FairShares.aged`, of whatever group: so no attempt starves, however small its share is.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

from uws_service.domain.errors import UsageError
from uws_service.units import Seconds

MIN_PRIORITY, MAX_PRIORITY = -10, 10


class GroupShare(BaseModel):
    """The share of a group."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(1.0, gt=0, description="The group's part, relative to those of the other groups.")
    owners: Mapping[str, float] = Field(
        default_factory=dict, description="Parts of owners inside the group, relative to each other; 1 if not named."
    )


class FairShares(BaseModel):
    """How groups share the network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    groups: Mapping[str, GroupShare] = Field(
        default_factory=dict,
        description="Shares of groups (`group`, or `group@issuer`): a job counts for the group that its owner's usage "
        "is counted under (`auth.accounting_groups`). `*` is for each group that is not named.",
    )
    half_life: Seconds = Field(7 * 86400, gt=0, description="Time in which the use of a group counts half as much.")
    aged: Seconds = Field(
        6 * 3600, ge=0, description="Wait after which an attempt gets its turn whatever the share of its group."
    )
    aged_every: int = Field(10, ge=2, description="One in so many turns belongs to the oldest aged attempt.")

    def share(self, group: str) -> float:
        """Return the share of a group."""
        return self._of(group).share

    def owner_share(self, group: str, owner: str) -> float:
        """Return the share of an owner inside the group."""
        return self._of(group).owners.get(owner, 1.0)

    def with_groups(self, resolve: Callable[[str], Iterable[str]]) -> Self:
        """Return the shares with the names of groups replaced by the groups that they mean.

        Raises
        ------
        ValueError
            Two names mean the same group, or the name has an issuer that is not trusted.
        """
        shares: dict[str, GroupShare] = {}
        for name, share in self.groups.items():
            for group in [name] if name in ("", "*") else resolve(name):
                if group in shares:
                    raise ValueError(f"the group {group} has more than one share; {name!r} is the second")
                shares[group] = share
        return self.model_copy(update={"groups": shares})

    def _of(self, group: str) -> GroupShare:
        return self.groups.get(group) or self.groups.get("*") or _EQUAL


_EQUAL = GroupShare()


class Use(NamedTuple):
    """Seconds of cores that were used, as they counted at an instant."""

    amount: float = 0.0
    at_ms: int = 0


NO_USE = Use()


def decayed(use: Use, now_ms: int, half_life_seconds: float) -> float:
    """Return what a use counts now."""
    elapsed = max(0, now_ms - use.at_ms) / 1000
    return float(use.amount * 2.0 ** (-elapsed / half_life_seconds))


def added(use: Use, amount: float, now_ms: int, half_life_seconds: float) -> Use:
    """Return the use with more of it, as it counts now; it never falls below 0.

    An earlier instant than that of the use counts as its instant: clocks of several machines differ.
    """
    return Use(max(0.0, decayed(use, now_ms, half_life_seconds) + amount), max(now_ms, use.at_ms))


@dataclass(frozen=True, slots=True)
class Ledger:
    """The uses of groups, and of owners inside them, by ``(group, owner)``."""

    groups: Mapping[str, Use] = field(default_factory=dict)
    owners: Mapping[tuple[str, str], Use] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lot:
    """Waiting attempts that are alike: one class, group, owner and priority.

    ``count`` may be cut at the room of the site. ``seconds`` is the expected use of one of them, in seconds of cores.
    """

    class_key: str
    group: str
    owner: str
    oldest_ms: int
    count: int = 1
    priority: int = 0
    seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Pick:
    """How many attempts to take from a lot, the oldest first."""

    lot: Lot
    count: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How many more attempts groups and owners may have at work; those that are not named have no limit."""

    groups: Mapping[str, int] = field(default_factory=dict)
    owners: Mapping[str, int] = field(default_factory=dict)


_UNLIMITED = Limits()


def priority_of(text: str) -> int:
    """Return the value of the parameter PRIORITY.

    Raises
    ------
    UsageError
        It is no whole number, or out of bounds.
    """
    try:
        priority = int(text)
    except ValueError:
        priority = MAX_PRIORITY + 1
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise UsageError(
            f"PRIORITY={text[:32]!r} must be a whole number from {MIN_PRIORITY} to {MAX_PRIORITY}; "
            "it orders your own jobs, higher ones first."
        )
    return priority


def plan(
    lots: Iterable[Lot],
    ledger: Ledger,
    shares: FairShares,
    *,
    now_ms: int,
    room: int,
    turn: int = 0,
    limits: Limits | None = None,
) -> tuple[Pick, ...]:
    """Return which attempts a site takes, in order.

    Parameters
    ----------
    lots
        What the site may run.
    limits
        How many more attempts groups and owners may have at work.
    room
        How many attempts it can take.
    turn
        How many it has taken so far: any counter that grows with each.
    """
    order = _Order(lots, ledger, shares, now_ms, limits or _UNLIMITED)
    picks: list[Lot] = []
    for number in range(turn, turn + room):
        lot = order.pop_aged() if number % shares.aged_every == 0 else None
        lot = lot or order.pop()
        if lot is None:
            break
        picks.append(lot)
    return _merged(picks)


class _Order:
    """The queue of one round.

    Heaps of groups, of owners inside them, and of each owner's lots.
    """

    def __init__(
        self,
        lots: Iterable[Lot],
        ledger: Ledger,
        shares: FairShares,
        now_ms: int,
        limits: Limits,
    ) -> None:
        self._shares = shares
        self._group_room = dict(limits.groups)
        self._owner_room = dict(limits.owners)
        by_owner: dict[tuple[str, str], list[tuple[int, int, int, Lot]]] = defaultdict(list)
        aged = []
        for number, lot in enumerate(lots):
            by_owner[lot.group, lot.owner].append((-lot.priority, lot.oldest_ms, number, lot))
            if now_ms - lot.oldest_ms >= shares.aged * 1000:
                aged.append((lot.oldest_ms, number, lot))
        self._counts = {entry[2]: entry[3].count for entries in by_owner.values() for entry in entries}
        self._by_owner = by_owner
        self._aged = aged
        self._owner_use: dict[tuple[str, str], float] = {}
        self._group_use: dict[str, float] = {}
        self._owners: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for (group, owner), entries in by_owner.items():
            heapq.heapify(entries)
            use = decayed(ledger.owners.get((group, owner), NO_USE), now_ms, shares.half_life)
            self._owner_use[group, owner] = use
            self._owners[group].append((use / shares.owner_share(group, owner), owner))
        self._groups = []
        for group, owners in self._owners.items():
            heapq.heapify(owners)
            use = decayed(ledger.groups.get(group, NO_USE), now_ms, shares.half_life)
            self._group_use[group] = use
            self._groups.append((use / shares.share(group), group))
        heapq.heapify(self._groups)
        heapq.heapify(self._aged)

    def pop(self) -> Lot | None:
        """Remove the next attempt, and return its lot."""
        while self._groups:
            ratio, group = self._groups[0]
            if ratio < self._group_use[group] / self._shares.share(group):  # it has grown since
                heapq.heapreplace(self._groups, (self._group_use[group] / self._shares.share(group), group))
                continue
            lot = self._pop_of(group)
            if lot is not None:
                return lot
            heapq.heappop(self._groups)
        return None

    def pop_aged(self) -> Lot | None:
        """Remove the oldest aged attempt, and return its lot."""
        while self._aged:
            # Of a lot's further attempts the age is not known: they come in later rounds.
            _, number, lot = heapq.heappop(self._aged)
            if self._counts[number] and self._has_room(lot):
                return self._count(number, lot)
        return None

    def _pop_of(self, group: str) -> Lot | None:
        owners = self._owners[group]
        while owners:
            ratio, owner = owners[0]
            present = self._owner_use[group, owner] / self._shares.owner_share(group, owner)
            if ratio < present:
                heapq.heapreplace(owners, (present, owner))
                continue
            entries = self._by_owner[group, owner]
            while entries:
                *_, number, lot = entries[0]
                if self._counts[number] and self._has_room(lot):
                    return self._count(number, lot)
                heapq.heappop(entries)
            heapq.heappop(owners)
        return None

    def _has_room(self, lot: Lot) -> bool:
        """Return whether its group and its owner may have one more attempt at work."""
        return self._group_room.get(lot.group, 1) > 0 and self._owner_room.get(lot.owner, 1) > 0

    def _count(self, number: int, lot: Lot) -> Lot:
        """Count an attempt as taken."""
        self._counts[number] -= 1
        if lot.group in self._group_room:
            self._group_room[lot.group] -= 1
        if lot.owner in self._owner_room:
            self._owner_room[lot.owner] -= 1
        self._owner_use[lot.group, lot.owner] += lot.seconds
        self._group_use[lot.group] += lot.seconds
        return lot


def _merged(lots: Sequence[Lot]) -> tuple[Pick, ...]:
    """Return neighbours of one lot as one pick."""
    picks: list[Pick] = []
    for lot in lots:
        if picks and picks[-1].lot is lot:
            picks[-1] = Pick(lot, picks[-1].count + 1)
        else:
            picks.append(Pick(lot, 1))
    return tuple(picks)

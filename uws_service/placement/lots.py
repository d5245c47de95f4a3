"""Which lots a round looks at, so that one owner's many kinds of jobs don't slow down everybody's.

Owners choose time limits, priorities and data, so they may have as many lots as jobs.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from uws_service.domain.attempt import LotKey

LOTS_PER_OWNER = 100
"""Lots of one owner in a group that a round looks at."""


class KeyedLot(NamedTuple):
    """A lot by its key, as that is stored, with the creation of the oldest attempt that may start now."""

    key: LotKey
    text: str
    oldest: int


Lots = Mapping[tuple[str, str], Sequence[KeyedLot]]
"""Lots of groups and their owners."""


def lots_by_owner(lots: Iterable[tuple[str, int]]) -> Lots:
    """Return the lots of each group and owner.

    Parameters
    ----------
    lots
        Their keys as they are stored, each with the creation of its oldest attempt.
    """
    by_owner: dict[tuple[str, str], list[KeyedLot]] = defaultdict(list)
    for text, oldest in lots:
        key = LotKey.parse(text)
        by_owner[key.group, key.owner].append(KeyedLot(key, text, oldest))
    return by_owner


def bounded(lots: Lots, number: int, most: int = LOTS_PER_OWNER) -> list[KeyedLot]:
    """Return the lots that a round looks at: of each owner the oldest, and those of the highest priority.

    What such an owner has besides comes in turns, so that lots which this site does not take keep none from it.
    ``number`` is that of the round.
    """
    return [lot for entries in lots.values() for lot in _of_owner(entries, number, most)]


def _of_owner(entries: Sequence[KeyedLot], number: int, most: int) -> Iterable[KeyedLot]:
    if len(entries) <= most:
        return entries
    part = most // 3
    start = number * part % len(entries)
    chosen = [
        *heapq.nsmallest(part, entries, key=lambda lot: (lot.oldest, lot.text)),
        *heapq.nsmallest(part, entries, key=lambda lot: (-lot.key.priority, lot.oldest)),
        *entries[start : start + part],
        *entries[: max(0, start + part - len(entries))],
    ]
    return {lot.text: lot for lot in chosen}.values()

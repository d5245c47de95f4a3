"""Events in the order of their numbers, although transactions commit in another. Pure.

A number may be missing because its transaction has not committed yet, or because it never will. An event is released
once nothing can come before it any more, so a client that has it needs nothing below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from uws_service.domain.events import JobEvent

MAX_GAP = 1000
"""Numbers that are looked for below one event; a larger hole is that of a database that was restarted."""
NOBODY_KNOWS = 2**63
"""The bound of a gap before the transactions were looked at."""


@dataclass(slots=True)
class Gap:
    """A missing number.

    Since when, in seconds, and above which transactions none can fill it.
    """

    since: float
    bound: int = NOBODY_KNOWS


class Order:
    """Holds events back until all before them are there, or will never be.

    Parameters
    ----------
    has_gaps
        Whether transactions may commit in another order than that of their numbers.
    """

    def __init__(self, *, has_gaps: bool) -> None:
        self.has_gaps = has_gaps
        self.last = 0
        """The highest number that has come."""
        self.gaps: dict[int, Gap] = {}
        self._held: dict[int, JobEvent] = {}

    @property
    def horizon(self) -> int:
        """Return the number up to which nothing can come any more."""
        return min(self.gaps) - 1 if self.gaps else self.last

    def begin(self, last: int, recent: Iterable[int], now: float) -> None:
        """Begin behind ``last``.

        Numbers missing among the ``recent`` ones may still come.
        """
        self.last = last
        numbers = set(recent)
        if self.has_gaps and numbers:
            self.gaps = {seq: Gap(now) for seq in range(min(numbers), last) if seq not in numbers}

    def add(self, events: Sequence[JobEvent], now: float) -> list[JobEvent]:
        """Take events that have come, in order.

        Return those that are released.
        """
        for event in events:
            if event.seq <= self.last:
                if self.gaps.pop(event.seq, None) is None:
                    continue
            else:
                if self.has_gaps:
                    first = max(self.last + 1, event.seq - MAX_GAP)
                    self.gaps.update((seq, Gap(now)) for seq in range(first, event.seq))
                self.last = event.seq
            self._held[event.seq] = event
        return self._released()

    def set_bound(self, bound: int) -> None:
        """Note, for gaps that are new, a number above that of all transactions that may fill them."""
        for gap in self.gaps.values():
            if gap.bound == NOBODY_KNOWS:
                gap.bound = bound

    def close(self, oldest: int, before: float) -> list[JobEvent]:
        """Give up gaps that no transaction from ``oldest`` on can fill, and those that are there since ``before``."""
        self.gaps = {seq: gap for seq, gap in self.gaps.items() if gap.bound > oldest and gap.since > before}
        return self._released()

    def _released(self) -> list[JobEvent]:
        if not self._held:
            return []
        horizon = self.horizon
        ready = sorted(seq for seq in self._held if seq <= horizon)
        return [self._held.pop(seq) for seq in ready]

"""Requests that block, counted: they share the connections that may wait."""

from __future__ import annotations

from uws_service.service.limits import Limits


class Blocked:
    """Counts the requests of one process that block in WAIT or follow events.

    Parameters
    ----------
    limits
        How many there may be of each kind, and of both together.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiters = 0
        self.streams = 0

    def has_room_for_waiter(self) -> bool:
        """Return whether another request may block in WAIT."""
        return self.waiters < self.limits.waiters and self._has_room()

    def has_room_for_stream(self) -> bool:
        """Return whether another request may follow events."""
        return self.streams < self.limits.streams and self._has_room()

    def _has_room(self) -> bool:
        return self.waiters + self.streams < self.limits.blocked

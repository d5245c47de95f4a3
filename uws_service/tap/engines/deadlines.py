"""One thread that ends queries when their time is up.

A thread for each query would cost short queries more than they take.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count


class Deadline:
    """A call to make when the time is up, unless cancelled.

    ``passed`` tells whether the call was made.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop: Callable[[], None] | None = stop
        self._lock = threading.Lock()
        self.passed = False

    def fire(self) -> None:
        """Stop what took too long."""
        with self._lock:
            if self._stop is not None:
                self.passed = True
                self._stop()

    def call_off(self) -> None:
        """Cancel the call; wait if it is being made."""
        with self._lock:
            self._stop = None


class Deadlines:
    """The deadlines of an engine."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Deadline]] = []
        self._changed = threading.Condition()
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._wakes = math.inf

    @contextmanager
    def within(self, seconds: float, stop: Callable[[], None]) -> Iterator[Deadline]:
        """Call ``stop`` from another thread if the block takes longer."""
        deadline = Deadline(stop)
        at = time.monotonic() + seconds
        with self._changed:
            heapq.heappush(self._waiting, (at, next(self._numbers), deadline))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="tap deadlines")
                self._thread.start()
            elif at < self._wakes:  # mostly it wakes in time anyhow, for a query that has ended long since
                self._changed.notify()
        try:
            yield deadline
        finally:
            deadline.call_off()
            with self._changed:
                self._waiting = [entry for entry in self._waiting if entry[2] is not deadline]
                heapq.heapify(self._waiting)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                due: list[Deadline] = []
                while self._waiting and self._waiting[0][0] <= now:
                    due.append(heapq.heappop(self._waiting)[2])
                if not due:
                    self._wakes = self._waiting[0][0] if self._waiting else math.inf
                    self._changed.wait(self._wakes - now if self._waiting else None)
            while due:
                due.pop().fire()

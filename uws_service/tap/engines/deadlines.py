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
        """Cancel the call.

        Wait if it is being made.
        """
        with self._lock:
            self._stop = None


class Deadlines:
    """The deadlines of an engine."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Deadline]] = []
        self._changed = threading.Condition()
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._wakes_at = math.inf

    @contextmanager
    def within(self, seconds: float, stop: Callable[[], None]) -> Iterator[Deadline]:
        """Call ``stop`` from another thread if the block takes longer."""
        deadline = Deadline(stop)
        at = time.monotonic() + seconds
        with self._changed:
            heapq.heappush(self._queue, (at, next(self._numbers), deadline))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="tap deadlines")
                self._thread.start()
            elif at < self._wakes_at:  # usually an ended query's deadline wakes it in time
                self._changed.notify()
        try:
            yield deadline
        finally:
            deadline.call_off()
            with self._changed:
                self._queue = [entry for entry in self._queue if entry[2] is not deadline]
                heapq.heapify(self._queue)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                due: list[Deadline] = []
                while self._queue and self._queue[0][0] <= now:
                    due.append(heapq.heappop(self._queue)[2])
                if not due:
                    self._wakes_at = self._queue[0][0] if self._queue else math.inf
                    self._changed.wait(self._wakes_at - now if self._queue else None)
            while due:
                due.pop().fire()

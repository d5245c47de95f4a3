"""Hands over the ends of a command's logs while it runs, for those who read them then."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading

from uws_service.agent import confined
from uws_service.agent import folder as layout
from uws_service.agent.upstream import Refused, SecretUpstream, Unreachable

TAIL_BYTES = 1 << 16
LOGS = (("stdout", layout.STDOUT), ("stderr", layout.STDERR))


class LiveLogs(threading.Thread):
    """A thread beside the one that looks after the command.

    Parameters
    ----------
    work
        The attempt's work folder.
    pause
        Seconds between two looks at the logs; only one that has grown is handed over.
    """

    def __init__(self, upstream: SecretUpstream, work: str, pause: float) -> None:
        super().__init__(daemon=True)
        self.upstream = upstream
        self.work = work
        self.pause = pause
        self._sizes: dict[str, int] = {}
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Hand nothing more over."""
        self._stopped.set()

    def run(self) -> None:
        """Hand over until `stop`; what can't be handed over now is left to the next time."""
        while not self._stopped.wait(self.pause):
            for name, path in LOGS:
                with contextlib.suppress(Unreachable, Refused, OSError, ValueError):
                    self._hand_over(name, path)

    def _hand_over(self, name: str, path: str) -> None:
        size = os.stat(os.path.join(self.work, path)).st_size
        if size == self._sizes.get(name, 0):
            return
        tail = confined.read_tail(self.work, path, TAIL_BYTES)
        self.upstream.put(f"live/{name}", tail, hashlib.sha256(tail).hexdigest())
        self._sizes[name] = size

"""Tells the service that an agent lives, and how far its command is, whatever the agent's main thread does.

A question that gets no answer for a minute must hold up neither limits nor signals.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

from uws_service.agent.upstream import Refused, SecretUpstream, Unreachable

PAUSE_SECONDS = 0.5
"""Seconds between two looks at whether there is something to tell."""


class Messenger(threading.Thread):
    """A thread beside the one that looks after the command.

    It blocks all signals, as the thread that starts it does: those are for the latter.

    Parameters
    ----------
    heartbeat
        Seconds between two signs of life.
    """

    def __init__(self, upstream: SecretUpstream, heartbeat: float) -> None:
        super().__init__(daemon=True)
        self.upstream = upstream
        self.heartbeat = heartbeat
        self._progress: tuple[float, str] | None = None
        self._stopped = threading.Event()

    def tell(self, fraction: float, text: str) -> None:
        """Pass progress on, at the next chance.

        What came before and is not passed on yet is left out.
        """
        self._progress = fraction, text

    def stop(self) -> None:
        """Say nothing more."""
        self._stopped.set()

    def run(self) -> None:
        """Speak until `stop`, or until the attempt is not wanted: then the process is asked to end."""
        beat = time.monotonic() + self.heartbeat
        while not self._stopped.wait(min(PAUSE_SECONDS, self.heartbeat)):
            progress, self._progress = self._progress, None
            if progress is not None:
                with contextlib.suppress(Unreachable, Refused):  # the next line will tell as much
                    self.upstream.post("progress", {"fraction": progress[0], "text": progress[1]})
            if time.monotonic() >= beat:
                beat = time.monotonic() + self.heartbeat
                try:
                    self.upstream.fetch_token()
                except Refused:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                except (Unreachable, KeyError, TypeError, ValueError):
                    continue  # the service may be away for hours

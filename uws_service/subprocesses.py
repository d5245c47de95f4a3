"""Ends processes that asyncio has started."""

from __future__ import annotations

import contextlib
import os
import signal
from asyncio.subprocess import Process


def kill(process: Process) -> None:
    """Send SIGKILL, unless it is known to have ended.

    asyncio's own ``kill`` asks first whether the process has ended, and so takes the exit status away from the thread
    that waits for it: a warning "Unknown child process", and 255 for a status (gh-127049, in Python 3.11).
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)

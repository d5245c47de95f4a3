"""The cgroup (version 2) of one command.

What is in it can't leave by forking, and ends with one write.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

PROCESSES = "cgroup.procs"


def enter(path: str) -> None:
    """Put this process, and all that it will fork, into a cgroup."""
    file = os.open(os.path.join(path, PROCESSES), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, b"0")
    finally:
        os.close(file)


def members(path: str) -> list[int]:
    """Return the processes in a cgroup.

    None if it is not there.
    """
    try:
        with open(os.path.join(path, PROCESSES), "rb") as file:
            return [int(line) for line in file]
    except OSError:
        return []


def was_out_of_memory(path: str) -> bool:
    """Return whether the kernel has killed a process of a cgroup because of its limit of memory."""
    with contextlib.suppress(OSError, ValueError), open(os.path.join(path, "memory.events"), "rb") as file:
        return any(line.startswith(b"oom_kill ") and int(line.split()[1]) > 0 for line in file)
    return False


def kill(path: str, seconds: float = 10.0) -> bool:
    """Kill all that is in a cgroup.

    Whether it is empty.
    """
    end = time.monotonic() + seconds
    while members(path):
        try:
            with open(os.path.join(path, "cgroup.kill"), "w") as file:
                file.write("1")
        except OSError:  # before Linux 5.14: who forks faster than this loop is met again
            for pid in members(path):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True

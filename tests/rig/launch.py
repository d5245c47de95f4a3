"""Starts one process inside a site's namespaces, or makes these namespaces; run as a program of its own.

A program, because namespaces can only be changed by a process with a single thread, which the tests' process is not.
It needs nothing but the standard library and is gone once the new process runs:

``launch.py new PIDFILE LOG SCRIPT COMMAND…``
    makes a mount, a network and a process namespace, runs the shell script SCRIPT in them, then COMMAND as the first
    process. When that one ends, the kernel ends all others of the namespaces and removes mounts and network interfaces.
``launch.py join PID PIDFILE LOG COMMAND…``
    runs COMMAND in the namespaces of process PID.

PIDFILE gets the new process's id and start time *before* the command starts, so that whoever stops a site later finds
every process of it, also if the starter was killed in between.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID = 0x20000, 0x40000000, 0x20000000
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, action: str) -> None:
    """Raise what the C library reports."""
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{action}: {os.strerror(error)}")


def start_time(pid: int, proc: int) -> str:
    """Return when a process started, in clock ticks.

    With the id it names one process for ever.
    """
    with open(os.open(f"{pid}/stat", os.O_RDONLY, dir_fd=proc)) as stat:
        return stat.read().rpartition(")")[2].split()[19]


def detach(log: str) -> None:
    """Begin a session with its output in a log file."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.closerange(3, 256)


def spawn(pidfile: str, log: str, command: list[str], script: str | None, proc: int) -> None:
    """Fork into the process namespace chosen before, record the child, and let it go ahead.

    ``fork`` gives the id that the child has in the namespace of the caller, and ``proc`` is that namespace's /proc.
    """
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go)
            if os.read(ready, 1) != b"g":  # the starter died before it had recorded this process
                os._exit(1)
            detach(log)
            if script is not None:
                subprocess.run(["/bin/sh", "-e", script], check=True)
            os.execvp(command[0], command)
        except BaseException as problem:
            print(f"{command[0]}: {problem}", file=sys.stderr, flush=True)
            os._exit(127)
    os.close(ready)
    with open(pidfile + ".new", "w") as file:
        file.write(f"{pid} {start_time(pid, proc)}\n")
    os.replace(pidfile + ".new", pidfile)
    os.write(go, b"g")


def main(arguments: list[str]) -> None:
    """See the head of this file."""
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    match arguments:
        case ["new", pidfile, log, script, *command]:
            check(libc.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID), "new namespaces")
            spawn(pidfile, log, command, script, proc)
        case ["join", pid, pidfile, log, *command]:
            # All opened first: once in the other mounts, /proc shows other numbers.
            handles = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in ("pid", "net", "mnt")]
            for handle in handles:
                check(libc.setns(handle, 0), "joining a namespace")
                os.close(handle)
            spawn(pidfile, log, command, None, proc)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])

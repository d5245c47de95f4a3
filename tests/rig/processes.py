"""Processes in a site's namespaces, each recorded by id and start time, so that only our own are ever signalled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.rig.errors import ClusterError
from tests.rig.paths import RIG_FOLDER

LAUNCH = [sys.executable, "-S", "-E", str(RIG_FOLDER / "launch.py")]


T = TypeVar("T")


def wait_for(
    purpose: str, condition: Callable[[], T], timeout: float, every: float = 0.05, unless: Callable[[], str] = str
) -> T:
    """Return what the condition gives once it is true.

    Raises
    ------
    ClusterError
        When the time is over, or as soon as ``unless`` gives a reason why waiting is vain.
    """
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if reason := unless():
            raise ClusterError(f"{purpose}: {reason}")
        if time.monotonic() > deadline:
            raise ClusterError(f"{purpose}: not within {timeout:g} s")
        time.sleep(every)


@dataclass(frozen=True)
class Recorded:
    """A process that may have ended.

    Its id and start time as recorded.
    """

    pid: int
    started: str

    @classmethod
    def read(cls, pidfile: Path) -> Recorded | None:
        """Return the process that a file names, if there is such a file."""
        try:
            pid, started = pidfile.read_text().split()
        except FileNotFoundError:
            return None
        return cls(int(pid), started)

    @property
    def alive(self) -> bool:
        """Return whether this very process runs.

        One that ended and only waits to be collected does not.
        """
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return fields[19] == self.started and fields[0] not in ("Z", "X")

    def send(self, number: int) -> None:
        """Signal this process and no other that got its id since."""
        if not self.alive:
            return
        # A handle of the process first: between the look and the signal it could end and its id be given anew.
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)

    def wait(self, timeout: float) -> bool:
        """Return whether it has ended within that time."""
        deadline = time.monotonic() + timeout
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def end(self, patience: float = 10) -> None:
        """Ask it to end.

        Kill it if it does not.
        """
        self.send(signal.SIGTERM)
        if not self.wait(patience):
            self.send(signal.SIGKILL)
            if not self.wait(10):
                raise ClusterError(f"process {self.pid} does not end")


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """Yield the words of every process's command line."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text(errors="replace").rstrip("\0").split("\0")
        except OSError:  # it has ended
            continue
        yield int(process.name), words


def record(pid: int, pidfile: Path) -> None:
    """Record a process that runs already."""
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    pidfile.write_text(f"{pid} {started}\n")


def start_first(pidfile: Path, log: Path, script: Path, command: Sequence[str]) -> Recorded:
    """Make new namespaces, run a shell script in them and then the command as their first process."""
    return _launch(["new", str(pidfile), str(log), str(script), *command], pidfile)


def start_inside(
    first: Recorded, pidfile: Path, log: Path, command: Sequence[str], env: Mapping[str, str] | None = None
) -> Recorded:
    """Run a command in the namespaces of a site's first process."""
    return _launch(["join", str(first.pid), str(pidfile), str(log), *command], pidfile, env)


def _launch(arguments: list[str], pidfile: Path, env: Mapping[str, str] | None = None) -> Recorded:
    clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **(env or {})}
    completed = subprocess.run([*LAUNCH, *arguments], env=clean, capture_output=True, text=True, timeout=60)
    process = Recorded.read(pidfile)
    if completed.returncode != 0 or process is None:
        raise ClusterError(f"could not start {arguments[-1]}: {completed.stderr.strip()}")
    return process

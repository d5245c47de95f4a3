"""Cgroups (version 2) for the commands of a local site, where this machine lets the service make them.

Each command gets one of its own below that of the service, with limits if the controllers may be used there. What the
machine does not give is listed, so that the service can warn at its start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from uws_service.agent import cgroup

CONTROLLERS = ("pids", "memory")
TASKS_OF_A_PROCESS = 4
"""The kernel counts threads; a command may have so many for each process that it may have."""


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Where the commands' cgroups are made.

    ``top`` is None if there can be none.
    """

    top: Path | None
    controllers: frozenset[str] = frozenset()

    @property
    def lacking(self) -> list[str]:
        """Return what can't be held to, in words for the operator."""
        if self.top is None:
            return ["no command ends for certain with its agent", *_WITHOUT.values()]
        return [words for name, words in _WITHOUT.items() if name not in self.controllers]

    def make(self, name: str, *, processes: int, memory: int) -> str | None:
        """Return the cgroup of one attempt, empty and with its limits."""
        if self.top is None:
            return None
        path = self.top / name
        try:
            path.mkdir(exist_ok=True)
            if "pids" in self.controllers:
                (path / "pids.max").write_text(str(processes * TASKS_OF_A_PROCESS))
            if "memory" in self.controllers and memory:
                (path / "memory.max").write_text(str(memory))
                with contextlib.suppress(OSError):
                    (path / "memory.swap.max").write_text("0")
        except OSError:
            return None
        return str(path)

    def kill(self, name: str) -> None:
        """Kill whatever is in the cgroup of an attempt."""
        if self.top is not None:
            cgroup.kill(str(self.top / name))

    def release(self) -> None:
        """Remove the cgroup of the site if no command has one any more."""
        if self.top is not None:
            with contextlib.suppress(OSError):
                self.top.rmdir()

    def remove(self, name: str) -> None:
        """Kill what is in it, and remove the cgroup of an attempt."""
        if self.top is None:
            return
        self.kill(name)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            try:
                (self.top / name).rmdir()
            except FileNotFoundError:
                return
            except OSError:  # the dead are still being buried
                time.sleep(0.01)
            else:
                return


_WITHOUT = {
    "pids": "the number of a command's processes is looked at now and then only",
    "memory": "the memory of a command is looked at now and then only, and files in /dev/shm do not count",
}


def prepare(work: Path) -> Cgroups:
    """Make the cgroup below which a site's commands will be, with what controllers there are."""
    group = own_cgroup()
    if group is None:
        return Cgroups(None)
    top = group / f"uws-{hashlib.sha256(os.fsencode(work)).hexdigest()[:12]}"
    try:
        top.mkdir(exist_ok=True)
        if not os.access(top / cgroup.PROCESSES, os.W_OK) or not _works(top):
            return Cgroups(None)
    except OSError:
        return Cgroups(None)
    enabled = frozenset(name for name in CONTROLLERS if _enable(group, name) and _enable(top, name))
    return Cgroups(top, enabled)


def own_cgroup() -> Path | None:
    """Return the folder of this process's cgroup of version 2; None without one."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    for line in mounts:
        fields, _, tail = line.partition(" - ")
        if path is not None and tail.split(" ")[0] == "cgroup2":
            _, _, _, root, mount, *_ = fields.split(" ")
            below = os.path.relpath(path, root)
            if not below.startswith(".."):
                return Path(mount) / below
    return None


def _works(top: Path) -> bool:
    """Return whether a process can be put there.

    Tried with a child, since a kernel may have many reasons to say no.
    """
    probe = top / f"probe-{os.getpid()}"
    probe.mkdir(exist_ok=True)
    try:
        script = 'echo 0 > "$1" && exec sleep 60'
        with subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", str(probe / cgroup.PROCESSES)], stderr=subprocess.DEVNULL
        ) as child:
            end = time.monotonic() + 5
            while child.poll() is None and time.monotonic() < end and child.pid not in cgroup.members(str(probe)):
                time.sleep(0.002)
            entered = child.pid in cgroup.members(str(probe))
            killed = cgroup.kill(str(probe), 2)
            child.kill()
        return entered and killed
    finally:
        with contextlib.suppress(OSError):
            probe.rmdir()


def _enable(folder: Path, controller: str) -> bool:
    """Let the cgroups below one use a controller.

    No processes may be in it then but in the root of all.
    """
    with contextlib.suppress(OSError):
        if controller in (folder / "cgroup.subtree_control").read_text().split():
            return True
        if controller not in (folder / "cgroup.controllers").read_text().split():
            return False
        for _ in range(2):
            try:
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")
                return True
            except OSError:
                leaf = folder / "uws-service"
                leaf.mkdir(exist_ok=True)
                cgroup.enter(str(leaf))  # this process stood in the way; if others do, there is no way
    return False

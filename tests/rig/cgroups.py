"""The control groups of a site.

One folder in every hierarchy, with the pods' below it; for versions 1 and 2.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from tests.rig.errors import ClusterError
from tests.rig.processes import wait_for

ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> Iterator[Path]:
    """Yield where control groups are mounted.

    One place with version 2, one per controller with version 1.
    """
    if (ROOT / "cgroup.controllers").exists():
        yield ROOT
        return
    for path in sorted(ROOT.iterdir()):
        # Links are second names of the same hierarchy.
        if path.is_dir() and not path.is_symlink() and (path / "cgroup.procs").exists():
            yield path


def make(label: str) -> None:
    """Make the folders.

    The kubelet wants them there, with the same rights as their parents.
    """
    for hierarchy in hierarchies():
        folder = hierarchy / label
        if (hierarchy / "cgroup.controllers").exists() and hierarchy == ROOT:
            controllers = (hierarchy / "cgroup.controllers").read_text().split()
            enabled = " ".join(f"+{name}" for name in controllers)
            (hierarchy / "cgroup.subtree_control").write_text(enabled)
            folder.mkdir(exist_ok=True)
            (folder / "cgroup.subtree_control").write_text(enabled)
            continue
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new one, and then no process may enter
            if (folder / name).exists():
                (folder / name).write_text((hierarchy / name).read_text())


def remove(label: str) -> None:
    """Remove the folders, from the innermost.

    The processes in them have been killed.
    """
    for hierarchy in hierarchies():
        top = hierarchy / label
        for parent, _, _ in os.walk(top, topdown=False):
            wait_for(f"removal of {parent}", functools.partial(_removed, Path(parent)), 30)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == 16:  # EBUSY: a process in it has not quite gone
            return False
        raise ClusterError(f"{folder} can't be removed: {error.strerror}") from error
    return True

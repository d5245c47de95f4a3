"""The work folder of an attempt on a machine of a batch system.

It goes with the agent. What an agent left that was killed goes with the next one on the machine: nobody holds the lock
of such a folder any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat

from uws_service.agent import folder as layout

PREFIX = "uws-work-"
_NEW = ".uws-new-"
"""A folder has this name until its lock is held, so that nobody takes it for a leftover."""


def make_work_folder(above: str, uid: str) -> tuple[str, int]:
    """Make a folder with those of an attempt, which only this user may enter.

    Returns its path, and the descriptor of its lock.
    """
    above = os.path.realpath(above)
    remove_leftovers(above)
    draft = os.path.join(above, _NEW + uid)
    os.mkdir(draft, 0o700)
    lock = os.open(os.path.join(draft, layout.ALIVE), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for name in (layout.INPUT, layout.OUTPUT, layout.SCRATCH, layout.LOG, layout.PROGRESS):
        os.mkdir(os.path.join(draft, name), 0o700)
    work = os.path.join(above, PREFIX + uid)
    os.rename(draft, work)
    return work, lock


def hold_folder(folder: str) -> None:
    """Keep a folder that a batch job's script has made from the next agent on the machine while this process lives."""
    if os.path.basename(folder).startswith(PREFIX):
        lock = os.open(os.path.join(folder, layout.ALIVE), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_work_folder(work: str, lock: int) -> None:
    """Remove the folder, and let its lock go."""
    shutil.rmtree(work, ignore_errors=True)
    os.close(lock)


def remove_leftovers(above: str) -> None:
    """Remove the folders of this user's agents that are no more."""
    with contextlib.suppress(OSError), os.scandir(above) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False) and _is_abandoned(entry.path):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(work: str) -> bool:
    """Return whether a folder is this user's, and its agent has ended."""
    try:
        if os.lstat(work).st_uid != os.getuid():
            return False
        file = os.open(os.path.join(work, layout.ALIVE), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return False
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it lives
        return False
    finally:
        os.close(file)
    return True

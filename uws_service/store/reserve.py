"""Room that is kept on the data folder's disk, so that jobs can be aborted and deleted when it is full."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

RESERVE_BYTES = 16 * 1024 * 1024


class Reserve:
    """Room for the few changes by which a full disk gets free again."""

    def __init__(self, folder: Path, size: int = RESERVE_BYTES) -> None:
        self.path = folder / "reserve"
        self.size = size

    def hold(self) -> bool:
        """Take the room, if the disk has as much again; whether it is held."""
        with contextlib.suppress(OSError):
            if self.path.exists() and self.path.stat().st_size == self.size:
                return True
            room = os.statvfs(self.path.parent)
            if room.f_bavail * room.f_frsize < 2 * self.size:
                return False
            file = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(file, 0, self.size)
                return True
            except OSError:
                self.path.unlink()
            finally:
                os.close(file)
        return False

    def release(self) -> bool:
        """Give the room up; whether there was any."""
        with contextlib.suppress(OSError):
            self.path.unlink()
            return True
        return False

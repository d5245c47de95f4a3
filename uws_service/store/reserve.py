"""Reserved room on the data folder's disk.

With it jobs can be aborted and deleted when the disk is full.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

RESERVE_BYTES = 16 * 1024 * 1024


class Reserve:
    """A file that can be deleted to make room."""

    def __init__(self, folder: Path, size: int = RESERVE_BYTES) -> None:
        self.path = folder / "reserve"
        self.size = size

    def hold(self) -> bool:
        """Create the file, if as much again stays free; return whether it exists."""
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
        """Delete the file; return whether it existed."""
        with contextlib.suppress(OSError):
            self.path.unlink()
            return True
        return False

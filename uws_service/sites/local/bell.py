"""The pipe by which agents tell the service that something has changed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

READ_BYTES = 65536


class Bell:
    """A named pipe in the work folder.

    `rung` is set whenever an agent has written into it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rung = asyncio.Event()
        self._file = -1

    def open(self) -> None:
        """Make the pipe, and listen."""
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self.path, 0o600)
        self._file = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._file, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._file, READ_BYTES)
        self.rung.set()

    def close(self) -> None:
        """Listen no more.

        Agents that ring then are not heard.
        """
        if self._file >= 0:
            asyncio.get_running_loop().remove_reader(self._file)
            os.close(self._file)
            self._file = -1

"""A buffer between a query process and a slower client.

Unread bytes stay in memory while they are few, and then in an unnamed file.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, ClassVar

MEMORY_BYTES = 4 * 1024**2
MAX_FILE_BYTES = 1024**3
"""Size of one answer's file; beyond it the writer waits for the reader."""
MAX_TOTAL_BYTES = 4 * 1024**3
"""Size of all files of this process."""
PIECE_BYTES = 256 * 1024


class Spool:
    """One answer.

    Parameters
    ----------
    folder
        Where its file lies, if it needs one.
    """

    total_file_bytes: ClassVar[int] = 0
    """Bytes in files, of all spools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ready: deque[bytes] = deque()
        self._ready_bytes = 0
        self._file: IO[bytes] | None = None
        self._written = self._read = 0
        self._error: BaseException | None = None
        self._complete = False
        self._changed = asyncio.Event()
        self._consumed = asyncio.Event()
        self._lock = asyncio.Lock()

    async def write(self, part: bytes) -> None:
        """Append a part; wait only while the buffer is full."""
        while self._written > self._read and self._is_full(len(part)):
            self._consumed.clear()
            await self._consumed.wait()
        async with self._lock:
            if self._written == self._read and self._ready_bytes + len(part) <= MEMORY_BYTES:
                self._ready.append(part)
                self._ready_bytes += len(part)
            else:
                if self._file is None:
                    self._file = await asyncio.to_thread(_new_file, self.folder)
                await asyncio.to_thread(_put, self._file.fileno(), part, self._written)
                self._written += len(part)
                Spool.total_file_bytes += len(part)
        self._changed.set()

    def _is_full(self, additional: int) -> bool:
        return self._written + additional > MAX_FILE_BYTES or Spool.total_file_bytes + additional > MAX_TOTAL_BYTES

    def end(self, error: BaseException | None = None) -> None:
        """Mark the end.

        An error is raised to the reader once it has read everything before it.
        """
        self._complete, self._error = True, error
        self._changed.set()

    async def start(self) -> None:
        """Wait for the first part or the end; raise an early error."""
        while not self._ready and not self._complete:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None and not self._ready:
            raise self._error

    def small_answer(self) -> bytes | None:
        """Return a complete small answer, or None."""
        if self._complete and self._error is None and self._written == self._read and len(self._ready) <= 1:
            return self._ready[0] if self._ready else b""
        return None

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield what was written, in order."""
        while True:
            if self._ready:
                part = self._ready.popleft()
                self._ready_bytes -= len(part)
            elif self._read < self._written:
                part = await self._from_file()
            elif self._complete:
                if self._error is not None:
                    raise self._error
                return
            else:
                self._changed.clear()
                await self._changed.wait()
                continue
            yield part

    async def _from_file(self) -> bytes:
        async with self._lock:
            assert self._file is not None
            number = self._file.fileno()
            part = await asyncio.to_thread(os.pread, number, min(PIECE_BYTES, self._written - self._read), self._read)
            self._read += len(part)
            if self._read == self._written:  # the reader has caught up: the file begins anew
                await asyncio.to_thread(os.ftruncate, number, 0)
                Spool.total_file_bytes -= self._written
                self._written = self._read = 0
        self._consumed.set()
        return part

    def close(self) -> None:
        """Delete the buffer."""
        if self._file is not None:
            self._file.close()
            self._file = None
            Spool.total_file_bytes -= self._written
            self._written = self._read = 0
        self._ready.clear()


def _new_file(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder)


def _put(number: int, part: bytes, offset: int) -> None:
    while part:
        count = os.pwrite(number, part, offset)
        part, offset = part[count:], offset + count

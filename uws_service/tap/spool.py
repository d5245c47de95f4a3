"""A buffer between a query process and a slower client.

Unread bytes stay in memory while they are few, and then in an unnamed file. All answers of a process have one bound of
memory and one of disk; when the disk's is reached, a caller who has more of it than another loses an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, ClassVar

from uws_service.domain.errors import ServiceUnavailable, StorageFull

MEMORY_BYTES = 4 * 1024**2
"""Bytes of one answer in memory."""
MAX_TOTAL_MEMORY_BYTES = 128 * 1024**2
"""Bytes in memory of all answers of this process; beyond it all parts go to files."""
MAX_FILE_BYTES = 1024**3
"""Size of one answer's file; beyond it the writer waits for the reader."""
MAX_TOTAL_BYTES = 4 * 1024**3
"""Size of all files of this process."""
READ_SECONDS = 60.0
"""For a client to read, before its answer may be given up for another caller's."""
ROOM_SECONDS = 2.0
"""Between two looks for room."""
PIECE_BYTES = 256 * 1024


class Spool:
    """One answer.

    Parameters
    ----------
    folder
        Where its file lies, if it needs one.
    caller
        Whom the answer is for.
    """

    total_file_bytes: ClassVar[int] = 0
    """Bytes in files, of all spools."""
    total_memory_bytes: ClassVar[int] = 0
    """Bytes in memory, of all spools."""
    _with_files: ClassVar[set[Spool]] = set()

    def __init__(self, folder: Path, caller: str = "") -> None:
        self.folder = folder
        self.caller = caller
        self._ready: deque[bytes] = deque()
        self._ready_bytes = 0
        self._file: IO[bytes] | None = None
        self._began_file = 0.0
        self._written = self._read = 0
        self._error: BaseException | None = None
        self._complete = False
        self._given_up = False
        self._changed = asyncio.Event()
        self._consumed = asyncio.Event()
        self._lock = asyncio.Lock()

    async def write(self, part: bytes) -> None:
        """Append a part.

        Wait only while the buffer is full.

        Raises
        ------
        ServiceUnavailable
            The answer was given up for others.
        """
        while self._written > self._read and self._is_full(len(part)):
            if not await self._make_room(len(part)):
                self._consumed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._consumed.wait(), ROOM_SECONDS)
        async with self._lock:
            self._require_room()
            if self._written == self._read and self._fits_memory(len(part)):
                self._ready.append(part)
                self._count_memory(len(part))
            else:
                await self._write_file(part)
        self._changed.set()

    async def _write_file(self, part: bytes) -> None:
        try:
            if self._file is None:
                self._file = await asyncio.to_thread(_new_file, self.folder)
                self._began_file = asyncio.get_running_loop().time()
                Spool._with_files.add(self)
            await asyncio.to_thread(_put, self._file.fileno(), part, self._written)
        except OSError as error:
            raise StorageFull(
                f"The answer can't be stored until it is taken: {error.strerror}.", retry_after=60
            ) from error
        self._written += len(part)
        Spool.total_file_bytes += len(part)

    def _fits_memory(self, additional: int) -> bool:
        total = Spool.total_memory_bytes + additional
        return self._ready_bytes + additional <= MEMORY_BYTES and total <= MAX_TOTAL_MEMORY_BYTES

    def _count_memory(self, size: int) -> None:
        self._ready_bytes += size
        Spool.total_memory_bytes += size

    def _require_room(self) -> None:
        if self._given_up:
            raise ServiceUnavailable("The answer was not taken in time, and other callers needed its room.")

    def _is_full(self, additional: int) -> bool:
        return self._written + additional > MAX_FILE_BYTES or Spool.total_file_bytes + additional > MAX_TOTAL_BYTES

    async def _make_room(self, additional: int) -> bool:
        """Give up an answer of the caller who has the most; False if that would be unfair."""
        if Spool.total_file_bytes + additional <= MAX_TOTAL_BYTES:
            return False  # it is this answer's own file that is full
        sizes: Counter[str] = Counter()
        for spool in Spool._with_files:
            sizes[spool.caller] += spool._written
        latest = asyncio.get_running_loop().time() - READ_SECONDS
        others = [
            spool
            for spool in Spool._with_files
            if sizes[spool.caller] > sizes[self.caller] and spool._written and spool._began_file < latest
        ]
        if not others:
            return False
        await max(others, key=lambda spool: (sizes[spool.caller], spool._written - spool._read))._give_up()
        return True

    async def _give_up(self) -> None:
        async with self._lock:  # nobody reads or writes now
            self._given_up = True
            self.close()
        self._changed.set()
        self._consumed.set()

    def end(self, error: BaseException | None = None) -> None:
        """Mark the end.

        An error is raised to the reader once it has read everything before it.
        """
        self._complete, self._error = True, error
        self._changed.set()

    async def start(self) -> None:
        """Wait for the first part or the end.

        Raise an early error.
        """
        while not self._ready and self._written == self._read and not self._complete:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None and not self._ready and self._written == self._read:
            raise self._error

    def small_answer(self) -> bytes | None:
        """Return a complete small answer, or None."""
        if self._complete and self._error is None and self._written == self._read and len(self._ready) <= 1:
            return self._ready[0] if self._ready else b""
        return None

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield what was written, in order."""
        while True:
            self._require_room()
            if self._ready:
                part = self._ready.popleft()
                self._count_memory(-len(part))
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
            self._require_room()
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
            Spool._with_files.discard(self)
            Spool.total_file_bytes -= self._written
            self._written = self._read = 0
        self._ready.clear()
        self._count_memory(-self._ready_bytes)


def _new_file(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder)


def _put(number: int, part: bytes, offset: int) -> None:
    while part:
        count = os.pwrite(number, part, offset)
        part, offset = part[count:], offset + count

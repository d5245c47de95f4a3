"""The service's side of looking into results: processes, and copies of tables on this machine's disk.

Whoever calls this has the right to read the result. Copies are found by the result's key and digest, and the oldest
ones go when there is no more room.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from uws_service.domain.errors import NotFound, ServiceUnavailable, TooLarge, UsageError, UwsError
from uws_service.tap.pool import Pool, PoolBusy, Process, QueryFailed
from uws_service.tap.readers import Unreadable
from uws_service.tap.tables_source import TablesSource
from uws_service.viewer.settings import ViewerSettings

SMALL_BYTES = 8 << 20
"""Files up to this size are read whole for their first page: later pages, plot and sky are there then."""
WAIT_SECONDS = 20.0
"""For a process to be free."""
REFUSAL_SECONDS = 300.0
"""For which a file that could not be read is not tried again."""
MAX_REFUSALS = 1000
AGE_SECONDS = 6 * 3600.0
"""After which a copy that nobody looks at goes."""


class Files(Protocol):
    """The files of jobs, by key."""

    folder: Path | None

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of a file."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A stored result."""

    key: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """Return the name of its copies."""
        return hashlib.sha256(f"{self.key}\n{self.sha256}\n{self.size}".encode()).hexdigest()[:40]


class ViewerPool(Pool):
    """Processes that read results."""

    def _program(self) -> tuple[list[str], dict[str, str]]:
        # Arrow's own allocator reserves more than a process may have.
        return ["uws_service.viewer.worker"], {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}

    def _ended(self, process: Process, error: Exception) -> UwsError:
        return Unreadable("Reading the result took more time or memory than there is for it; download it instead.")


@dataclass
class _State:
    """What is known of files for a while."""

    locks: dict[str, tuple[asyncio.Lock, int]] = field(default_factory=dict)
    refusals: OrderedDict[str, tuple[float, UwsError]] = field(default_factory=OrderedDict)


class Viewers:
    """Looks into results.

    Parameters
    ----------
    folder
        Where the copies lie; it belongs to this process alone.
    """

    def __init__(self, settings: ViewerSettings, folder: Path, files: Files) -> None:
        self.settings, self.files = settings, files
        self.folder = folder / str(os.getpid())
        self.pool = ViewerPool(TablesSource(), self.folder, max(1, settings.processes))
        self._state = _State()

    def prepare(self) -> None:
        """Make the folder; remove those of processes that are gone."""
        for other in self.folder.parent.glob("[0-9]*"):
            if not Path("/proc", other.name).exists() or other == self.folder:
                shutil.rmtree(other, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def close(self) -> None:
        """End the processes, and remove the copies."""
        await self.pool.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- what is shown ----------------------------------------------------------------------------------------

    async def contents(self, file: ResultFile, caller: str) -> dict[str, bool]:
        """Return whether there are a ``table`` and an ``image``.

        Raises
        ------
        UsageError
            There is neither, or the file can't be read.
        """
        return dict(await self._remembered(file, caller, "contents"))

    async def overview(self, file: ResultFile, caller: str) -> dict[str, Any]:
        """Return the overview of a table (`uws_service.tap.overview`), from a pass over all of it."""
        return dict(await self._remembered(file, caller, "copy"))

    async def first(self, file: ResultFile, caller: str, limit: int) -> dict[str, Any]:
        """Return the first rows as texts, with the columns; a large file is not read further."""
        if file.size <= SMALL_BYTES or self._present(file, "copy"):
            overview = await self.overview(file, caller)
            return {**overview, "rows": overview["rows"][:limit]}
        return dict(await self._ask(file, caller, "first", limit=limit))

    async def rows(
        self, file: ResultFile, caller: str, offset: int, limit: int, sort: str, *, descending: bool, typed: bool
    ) -> tuple[dict[str, Any], list[list[Any]]]:
        """Return the overview, and some rows: as texts, or in JSON's types.

        Raises
        ------
        UsageError
            The rows are behind those of the copy, or the table can't be sorted so.
        """
        overview = await self.overview(file, caller)
        if overview["copied"] < overview["count"] and (sort or offset + limit > overview["copied"]):
            raise UsageError(
                f"The table is large: its first {overview['copied']} rows can be shown, in their own order; "
                "download it for the others."
            )
        page = await self._ask(
            file, caller, "rows", offset=offset, limit=limit, sort=sort, descending=descending, typed=typed
        )
        return overview, page["rows"]

    async def picture(self, file: ResultFile, caller: str) -> bytes:
        """Return the first image of a FITS file as PNG."""
        await self._remembered(file, caller, "picture")
        return await asyncio.to_thread(self._path(file, ".png").read_bytes)

    # --- processes and copies ---------------------------------------------------------------------------------

    def _path(self, file: ResultFile, ending: str) -> Path:
        return self.folder / f"{file.name}{ending}"

    def _present(self, file: ResultFile, operation: str) -> bool:
        return self._path(file, f".{operation}.json").exists()

    async def _remembered(self, file: ResultFile, caller: str, operation: str) -> Any:
        """Return what an operation has made of a file, from the disk if it is there."""
        record = self._path(file, f".{operation}.json")
        async with self._lock(f"{file.name}.{operation}"):
            with contextlib.suppress(OSError, ValueError):
                content = await asyncio.to_thread(_loaded, record)
                for path in (record, self._path(file, ".arrow"), self._path(file, ".png")):
                    with contextlib.suppress(FileNotFoundError):
                        os.utime(path)
                return content
            await asyncio.to_thread(self._make_room)
            content = await self._ask(file, caller, operation)
            await asyncio.to_thread(record.write_text, json.dumps(content))
            return content

    async def _ask(self, file: ResultFile, caller: str, operation: str, **options: Any) -> Any:
        """Let a process do something with a file."""
        if file.size > self.settings.file:
            raise TooLarge(f"The result has {file.size} bytes; those of up to {self.settings.file} are looked into.")
        self._refuse_again(file, operation)
        request = {
            "operation": operation,
            "copy": str(self._path(file, ".arrow")),
            "picture": str(self._path(file, ".png")),
            "copy_size": self.settings.copy_size,
            "memory": self.settings.memory // 2,
            **options,
        }
        try:
            async with self._local(file) as path, self.pool.process(caller, WAIT_SECONDS) as process:
                process.limit(self.settings.seconds)
                await process.ask({**request, "path": str(path)})
                return json.loads(b"".join([part async for part in process.parts()]))
        except PoolBusy as error:
            raise ServiceUnavailable("Other results are being read now; try again.", retry_after=10) from error
        except (UsageError, QueryFailed) as error:
            if operation != "rows":
                self._state.refusals[f"{file.name}.{operation}"] = (time.monotonic(), error)
                while len(self._state.refusals) > MAX_REFUSALS:
                    self._state.refusals.popitem(last=False)
            raise

    def _refuse_again(self, file: ResultFile, operation: str) -> None:
        """Raise what was wrong with a file a moment ago: it would cost the same time once more."""
        refusal = self._state.refusals.get(f"{file.name}.{operation}")
        if refusal is not None and time.monotonic() - refusal[0] < REFUSAL_SECONDS:
            raise Unreadable(refusal[1].message)

    @asynccontextmanager
    async def _local(self, file: ResultFile) -> AsyncIterator[Path]:
        """Yield a path of the file: in the depot's folder, else of a draft that is fetched."""
        if self.files.folder is not None:
            path = self.files.folder / file.key
            if not path.is_file():
                raise NotFound("The file is no longer there.")
            yield path
            return
        draft = self._path(file, f".{os.urandom(4).hex()}.fetched")
        try:
            with draft.open("wb") as target:
                async for chunk in self.files.read(file.key):
                    await asyncio.to_thread(target.write, chunk)
            yield draft
        except OSError as error:
            raise ServiceUnavailable(f"The result can't be fetched: {error.strerror}.", retry_after=30) from error
        finally:
            draft.unlink(missing_ok=True)

    @asynccontextmanager
    async def _lock(self, name: str) -> AsyncIterator[None]:
        """Let one caller at a time read a file; the others get what it has read."""
        lock, waiting = self._state.locks.get(name, (asyncio.Lock(), 0))
        self._state.locks[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._state.locks[name]
            if waiting == 1:
                del self._state.locks[name]
            else:
                self._state.locks[name] = (lock, waiting - 1)

    def _make_room(self) -> None:
        """Remove copies that are old, and the oldest ones while there are too many."""
        entries = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        room = self.settings.cache - self.settings.copy_size
        for changed, size, path in sorted(entries):
            if total > max(room, 0) or time.time() - changed > AGE_SECONDS:
                # A copy without its record is made again; one that is mapped stays readable.
                path.with_name(f"{path.name.partition('.')[0]}.copy.json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                total -= size


def _loaded(record: Path) -> Any:
    return json.loads(record.read_text(encoding="utf-8"))

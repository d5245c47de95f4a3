"""Warm query processes of the service.

With them a synchronous query starts no program and writes no row to the database. Each process answers one query at a
time. One that takes too long is killed, as is one whose client has gone; the next query gets a new one.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from uws_service.domain.errors import ServiceUnavailable, UsageError, UwsError
from uws_service.subprocesses import kill
from uws_service.tap.frames import HEAD, Kind, json_frame, parse_head
from uws_service.tap.shares import FairPlaces
from uws_service.tap.tables_source import TablesSource

log = structlog.get_logger(__name__)
START_SECONDS = 60.0
"""Seconds that a new process has to load what it needs."""
GRACE_SECONDS = 10.0
"""Seconds beyond its own limit after which a query's process is killed."""


class QueryFailed(UwsError):
    """A query that failed.

    The client's fault in DALI's terms (D-045).
    """

    status = 422


class QueryBounded(UsageError):
    """A query that needs more time or memory than it has here."""


class PoolBusy(ServiceUnavailable):
    """All processes answer others."""


class Unreachable(ServiceUnavailable):
    """A process cannot reach its tables."""


class Process:
    """A warm process and the service's end of its socket."""

    def __init__(self, process: asyncio.subprocess.Process, reader: Any, writer: Any) -> None:
        self.process, self.reader, self.writer = process, reader, writer
        self.start_seconds = 0.0
        """How long the current query waited for the start of the process."""
        self.notes: tuple[str, ...] = ()
        """What reading the current query's uploads lost or changed."""
        self._watchdog: asyncio.TimerHandle | None = None

    def limit(self, seconds: float | None) -> None:
        """Kill the process after so many seconds, or never.

        Each call replaces the one before; None stands for never.
        """
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = asyncio.get_running_loop().call_later(seconds, self._expire) if seconds is not None else None

    def _expire(self) -> None:
        kill(self.process)

    async def ready(self) -> None:
        """Wait until the process is ready."""
        kind, _ = await self._read()
        if kind is not Kind.READY:
            raise ConnectionError(kind)

    async def ask(self, request: dict[str, Any]) -> None:
        """Send a query.

        Return when it has started, else raise its error.
        """
        self.writer.write(json_frame(Kind.QUERY, request))
        await self.writer.drain()
        kind, content = await self._read()
        if kind is Kind.FAULT:
            raise _fault(content)
        if kind is not Kind.BEGIN:
            raise ConnectionError(kind)
        self.notes = tuple(json.loads(content)) if content else ()

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the result.

        An error in the middle is raised.
        """
        while True:
            kind, content = await self._read()
            if kind is Kind.END:
                return
            if kind is Kind.FAULT:
                raise _fault(content)
            yield content

    async def _read(self) -> tuple[Kind, bytes]:
        kind, length = parse_head(await self.reader.readexactly(HEAD.size))
        return kind, await self.reader.readexactly(length)

    async def kill(self) -> None:
        """Kill the process."""
        self.writer.close()
        kill(self.process)
        await self.process.wait()


def _fault(content: bytes) -> UwsError:
    fault = json.loads(content)
    status = fault["status"]
    if status == ServiceUnavailable.status:
        return Unreachable(fault["message"], detail=fault["detail"], retry_after=30)
    if fault["bounded"]:
        return QueryBounded(fault["message"], detail=fault["detail"])
    kind = UsageError if 400 <= status < 500 else QueryFailed
    return kind(fault["message"], detail=fault["detail"])


class Pool:
    """Warm processes on one source, started on demand.

    Parameters
    ----------
    source
        Where the tables are.
    temporary
        Folder for what does not fit into their memory.
    size
        How many there are at most.
    """

    def __init__(self, source: TablesSource, temporary: Path, size: int) -> None:
        self.source, self.temporary, self.size = source, temporary, size
        self._idle: deque[Process] = deque()
        self._places = FairPlaces(size)
        self._all: set[Process] = set()

    @asynccontextmanager
    async def process(self, caller: str, seconds: float) -> AsyncIterator[Process]:
        """Yield a process for one query.

        It is killed unless the block ends well, with all of its answer read.
        """
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._places.place(caller, seconds))
            except TimeoutError:
                raise PoolBusy(
                    "All query processes are busy. Try again, or use /async, which waits in a queue.", retry_after=10
                ) from None
            began = asyncio.get_running_loop().time()
            process = self._idle_process() or await self._start()
            process.start_seconds = asyncio.get_running_loop().time() - began
            reusable = False
            try:
                yield process
                reusable = True
            except (UsageError, QueryFailed, Unreachable):
                reusable = True  # the process answered, and waits for the next request
                raise
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise self._ended(process, error) from error
            finally:
                process.limit(None)
                if reusable:
                    self._idle.append(process)
                else:
                    self._all.discard(process)
                    await asyncio.shield(process.kill())

    def _idle_process(self) -> Process | None:
        """Return an idle process, if any is alive.

        The kernel may have killed some of them for their memory meanwhile.
        """
        while self._idle:
            process = self._idle.pop()
            if process.process.returncode is None and not process.reader.at_eof():
                return process
            self._all.discard(process)
            process.writer.close()
        return None

    def _ended(self, process: Process, error: Exception) -> UwsError:
        log.error("a query process ended", code=process.process.returncode, error=repr(error))
        return QueryFailed("The query ended its process; it may have needed too much memory. Use /async for it.")

    def _program(self) -> tuple[list[str], dict[str, str]]:
        """Return the module with its options, and the variables that it needs beside the usual ones."""
        options = ["--folder", self.source.folder, "--postgresql", self.source.postgresql]
        options += ["--schemas", " ".join(self.source.schemas), "--temporary", str(self.temporary)]
        secret = {name: os.environ[name] for name in (self.source.postgresql,) if name in os.environ}
        return ["uws_service.tap.worker", *options], secret

    async def _start(self) -> Process:
        service_socket, process_socket = socket.socketpair()
        with process_socket:
            words, variables = self._program()
            inherited = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
            subprocess = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *words,
                "--socket",
                str(process_socket.fileno()),
                pass_fds=(process_socket.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name in inherited} | variables,
            )
        reader, writer = await asyncio.open_connection(sock=service_socket, limit=1 << 21)
        process = Process(subprocess, reader, writer)
        self._all.add(process)
        try:
            await asyncio.wait_for(process.ready(), START_SECONDS)
        except BaseException as error:
            self._all.discard(process)
            await asyncio.shield(process.kill())
            if isinstance(error, TimeoutError | ConnectionError | asyncio.IncompleteReadError):
                raise ServiceUnavailable("No query process can be started; the service's log says why.") from error
            raise
        return process

    async def close(self) -> None:
        """End all processes."""
        for process in list(self._all):
            await process.kill()
        self._all.clear()
        self._idle.clear()

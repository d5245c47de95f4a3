"""The service's warm query processes: a synchronous query costs no start of a program and no row in the database.

Each process answers one query at a time. One that takes longer than it may is killed, and so is one whose client has
gone away; the next query gets a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from uws_service.tap.frames import HEAD, Kind, json_frame, opened
from uws_service.tap.shares import FairPlaces
from uws_service.tap.tables_source import Place

log = structlog.get_logger(__name__)
START = 60.0
"""Seconds that a new process has to load what it needs."""
PATIENCE = 10.0
"""Seconds beyond its own limit after which a query's process is killed."""


class QueryFailed(UwsError):
    """The query itself failed: a client's fault in DALI's words (D-045)."""

    status = 422


class Unreachable(ServiceUnavailable):
    """The process says that it can't reach its tables."""


class Process:
    """One warm process and the service's end of its socket."""

    def __init__(self, process: asyncio.subprocess.Process, reader: Any, writer: Any) -> None:
        self.process, self.reader, self.writer = process, reader, writer
        self.start_seconds = 0.0
        """What the query that has the process now waited for its start; no fault of its own."""
        self._watchdog: asyncio.TimerHandle | None = None

    def limit(self, seconds: float | None) -> None:
        """Kill the process unless this is called again within so many seconds; None: never."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = asyncio.get_running_loop().call_later(seconds, self._expire) if seconds is not None else None

    def _expire(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def ready(self) -> None:
        """Return once it has loaded all it needs."""
        kind, _ = await self._read()
        if kind is not Kind.READY:
            raise ConnectionError(kind)

    async def ask(self, question: dict[str, Any]) -> None:
        """Send a question; returns when it is known to be answerable, else raises its error."""
        self.writer.write(json_frame(Kind.QUESTION, question))
        await self.writer.drain()
        kind, content = await self._read()
        if kind is Kind.FAULT:
            raise _fault(content)
        if kind is not Kind.BEGIN:
            raise ConnectionError(kind)

    async def parts(self) -> AsyncIterator[bytes]:
        """The result; an error in the middle ends it without its end."""
        while True:
            kind, content = await self._read()
            if kind is Kind.END:
                return
            if kind is Kind.FAULT:
                raise _fault(content)
            yield content

    async def _read(self) -> tuple[Kind, bytes]:
        kind, length = opened(await self.reader.readexactly(HEAD.size))
        return kind, await self.reader.readexactly(length)

    async def kill(self) -> None:
        """End it at once."""
        self.writer.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


def _fault(content: bytes) -> UwsError:
    told = json.loads(content)
    status = told["status"]
    if status == ServiceUnavailable.status:
        return Unreachable(told["message"], detail=told["detail"], retry_after=30)
    kind = UsageError if 400 <= status < 500 else QueryFailed
    return kind(told["message"], detail=told["detail"])


class Pool:
    """Warm processes on one place, started when they are first needed.

    Parameters
    ----------
    place
        Where the tables are.
    temporary
        Folder for what does not fit into their memory.
    size
        How many there are at most.
    """

    def __init__(self, place: Place, temporary: Path, size: int) -> None:
        self.place, self.temporary, self.size = place, temporary, size
        self._idle: deque[Process] = deque()
        self._places = FairPlaces(size)
        self._all: set[Process] = set()

    @asynccontextmanager
    async def process(self, caller: str, seconds: float) -> AsyncIterator[Process]:
        """A process of one's own; it is killed unless the block ends well, with all of its answer read."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._places.place(caller, seconds))
            except TimeoutError:
                raise ServiceUnavailable(
                    "All query processes are busy. Try again, or use /async, which waits in a queue.", retry_after=10
                ) from None
            began = asyncio.get_running_loop().time()
            one = self._living() or await self._started()
            one.start_seconds = asyncio.get_running_loop().time() - began
            done = False
            try:
                yield one
                done = True
            except (UsageError, QueryFailed, Unreachable):
                done = True  # the process has said so itself, and waits for the next question
                raise
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise self._died(one, error) from error
            finally:
                one.limit(None)
                if done:
                    self._idle.append(one)
                else:
                    self._all.discard(one)
                    await asyncio.shield(one.kill())

    def _living(self) -> Process | None:
        """One that waits; the machine may have ended some of them for its memory meanwhile."""
        while self._idle:
            one = self._idle.pop()
            if one.process.returncode is None and not one.reader.at_eof():
                return one
            self._all.discard(one)
            one.writer.close()
        return None

    def _died(self, one: Process, error: Exception) -> UwsError:
        log.error("a query process ended", code=one.process.returncode, error=repr(error))
        return QueryFailed("The query ended its process; it may have needed too much memory. Use /async for it.")

    async def _started(self) -> Process:
        ours, theirs = socket.socketpair()
        with theirs:
            words = [
                "--socket", str(theirs.fileno()), "--temporary", str(self.temporary), "--folder", self.place.folder,
                "--postgresql", self.place.postgresql, "--schemas", " ".join(self.place.schemas),
            ]  # fmt: skip
            kept = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", self.place.postgresql)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "uws_service.tap.worker",
                *words,
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name in kept},
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 21)
        one = Process(process, reader, writer)
        self._all.add(one)
        try:
            await asyncio.wait_for(one.ready(), START)
        except BaseException as error:
            self._all.discard(one)
            await asyncio.shield(one.kill())
            if isinstance(error, TimeoutError | ConnectionError | asyncio.IncompleteReadError):
                raise ServiceUnavailable("No query process can be started; the service's log says why.") from error
            raise
        return one

    async def close(self) -> None:
        """End all processes."""
        for one in list(self._all):
            await one.kill()
        self._all.clear()
        self._idle.clear()

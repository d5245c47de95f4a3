"""The way to a pool: calls to the process in which HTCondor's library runs.

That process is started at the first call, and anew after its end. A call that was under way then may have been carried
out; who asked is told so.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from uws_service.sites.executor import NotNow
from uws_service.subprocesses import kill

log = structlog.get_logger(__name__)

HELPER = Path(__file__).with_name("helper.py")
CALL_SECONDS = 60.0
"""A call that takes longer hangs; the library itself gives up after twenty seconds without an answer."""
START_PAUSE_SECONDS = 1.0
"""Between two starts of the process."""
LINE_BYTES = 64 * 2**20
"""Of one answer: a query of ten thousand jobs has about ten megabytes."""
NOTHING_SENT = frozenset({"Lookup", "Unknown"})


class HelperError(NotNow):
    """The library says no.

    ``kind`` is the class of its error.
    """

    def __init__(self, message: str, kind: str, *, sent: bool) -> None:
        super().__init__(message, sent=sent)
        self.kind = kind


class Helper:
    """One process with HTCondor's library.

    Parameters
    ----------
    site
        Name of the site, for messages.
    collector, schedd
        Where the pool is.
    configuration
        HTCondor's own settings; nothing of the machine's configuration counts.
    work
        Folder for files on their way.
    """

    def __init__(self, site: str, collector: str, schedd: str, configuration: Mapping[str, str], work: Path) -> None:
        self.site = site
        self._work = work
        self._arguments = (collector, schedd, str(work))
        variables = {f"_CONDOR_{name}": value for name, value in configuration.items()}
        passed = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "HOME") if name in os.environ}
        self._environment = {**passed, "CONDOR_CONFIG": "ONLY_ENV", **variables}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count()
        self._starting = asyncio.Lock()
        self._started_at = -START_PAUSE_SECONDS

    @property
    def pid(self) -> int | None:
        """Return the process's id, if it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def call(self, call: str, **arguments: Any) -> Any:
        """Return the answer to a call.

        Raises
        ------
        HelperError
            The library refuses, or the pool can't be reached.
        NotNow
            The process has ended, or does not answer.
        """
        process = await self._running()
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"id": number, "call": call, "arguments": arguments}).encode() + b"\n")
            await process.stdin.drain()
            return await asyncio.wait_for(answer, CALL_SECONDS)
        except TimeoutError:
            self._kill()
            raise NotNow(f"site {self.site}: no answer in {CALL_SECONDS:.0f} s") from None
        except ConnectionError:
            raise NotNow(f"site {self.site}: the process with HTCondor's library has ended") from None
        finally:
            self._answers.pop(number, None)

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None or self._reader is None:
                await asyncio.sleep(max(0.0, self._started_at + START_PAUSE_SECONDS - time.monotonic()))
                await self._start()
            assert self._process is not None
            return self._process

    async def _start(self) -> None:
        self._started_at = time.monotonic()
        await asyncio.to_thread(self._work.mkdir, 0o700, parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(HELPER),
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
            limit=LINE_BYTES,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                self._take(json.loads(line))
        except ValueError as error:  # a line that is too long, or no JSON
            log.warning("an answer of HTCondor's library can't be read", site=self.site, error=str(error))
            kill(process)
        finally:
            code = await process.wait()
            if self._process is process:
                self._reader = None
                log.warning("the process with HTCondor's library has ended", site=self.site, code=code)
                self._fail(NotNow(f"site {self.site}: the process with HTCondor's library has ended ({code})"))

    def _take(self, message: Mapping[str, Any]) -> None:
        answer = self._answers.get(int(message["id"]))
        if answer is None or answer.done():
            return
        if "error" in message:
            words, kind = f"site {self.site}: {message['error']}", str(message["kind"])
            answer.set_exception(HelperError(words, kind, sent=kind not in NOTHING_SENT))
        else:
            answer.set_result(message["value"])

    def _fail(self, error: NotNow) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)

    def _kill(self) -> None:
        if self._process is not None:
            kill(self._process)

    async def close(self) -> None:
        """End the process."""
        process, reader = self._process, self._reader
        self._process = self._reader = None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            kill(process)
            await process.wait()
        if reader is not None:
            await asyncio.gather(reader, return_exceptions=True)
        self._fail(NotNow(f"site {self.site}: it is being closed"))

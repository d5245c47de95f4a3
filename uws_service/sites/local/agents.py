"""The agents of this machine's attempts, as processes.

Started, found again, and followed to their end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import uws_service
from uws_service.agent import folder as layout
from uws_service.sites.local.fork_servers import ForkServer
from uws_service.sites.local.processes import Key

AGENT = Path(uws_service.__file__).parent / "agent" / "local.py"


class AgentProcesses:
    """The agents that run now.

    Parameters
    ----------
    python
        The interpreter that runs them.
    on_end
        Called with the key of an attempt whose agent has ended.
    """

    def __init__(self, python: str, on_end: Callable[[Key], None]) -> None:
        self.python = python
        self.on_end = on_end
        self._running: dict[Key, int] = {}  # handles that show their ends

    def __contains__(self, key: Key) -> bool:
        """Return whether an attempt's agent runs."""
        return key in self._running

    def keys(self) -> Iterable[Key]:
        """Return the attempts whose agents run."""
        return self._running.keys()

    async def start(self, key: Key, folder: Path, secrets: dict[str, Any] | None, server: ForkServer) -> None:
        """Start an agent that outlives this process: by a fork of the server, or else as a program.

        A second one for the same folder ends by itself.

        Tokens come by its standard input, out of memory: they are in no file, no argument and no environment.
        """
        with _memory(os.fsencode(folder)) as name, _memory(json.dumps(secrets or {}).encode()) as tokens:
            if not await server.fork(name, tokens, functools.partial(self._follow, key)):
                self._spawn(key, folder, tokens)

    def _spawn(self, key: Key, folder: Path, stdin: int) -> None:
        log = str(folder / "agent.log")
        pid = os.posix_spawn(
            self.python,
            [self.python, "-I", "-S", "-X", "utf8", str(AGENT), str(folder)],
            {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[signal.SIGTERM, signal.SIGINT],  # until the agent is ready for them
            setsigdef=[signal.SIGHUP, signal.SIGPIPE],
        )
        self._follow(key, os.pidfd_open(pid))

    def adopt(self, key: Key, folder: Path) -> None:
        """Follow an agent that an earlier service started, if it runs."""
        pid = layout.agent_pid(str(folder))
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            if layout.agent_pid(str(folder)) == pid:  # still the same process
                self._follow(key, handle)
            else:
                os.close(handle)

    def _follow(self, key: Key, handle: int) -> None:
        if key in self._running:  # a second one, which finds that and ends
            os.close(handle)
            return
        self._running[key] = handle
        asyncio.get_running_loop().add_reader(handle, self._ended, key)

    def _ended(self, key: Key) -> None:
        handle = self._running.pop(key)
        asyncio.get_running_loop().remove_reader(handle)
        with contextlib.suppress(ChildProcessError):  # those that were forked or adopted are not our children
            os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)
        os.close(handle)
        self.on_end(key)

    def release(self) -> None:
        """Follow none of them any more.

        They go on.
        """
        loop = asyncio.get_running_loop()
        for handle in self._running.values():
            loop.remove_reader(handle)
            os.close(handle)
        self._running.clear()


@contextlib.contextmanager
def _memory(content: bytes) -> Iterator[int]:
    """Yield the descriptor of a file in memory, at its beginning."""
    file = os.memfd_create("agent")
    try:
        os.write(file, content)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)

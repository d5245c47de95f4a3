"""The service's side of `uws_service.agent.fork_server`: processes that agents and commands are forked from.

One server has imported nothing but the agent: from it come the agents of commands that are programs. Each of the others
has imported the module of a command, such as TAP's. A server starts with the first attempt that wants it. Whatever goes
wrong with a server, its attempts are started as programs, which takes longer and is the same otherwise.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

import uws_service
from uws_service.agent.fork_server import FAILED, FORK, PACKET_BYTES, READY
from uws_service.agent.prepared import WORDS
from uws_service.domain.attempt import Launch
from uws_service.subprocesses import kill

log = structlog.get_logger(__name__)

SERVER = Path(uws_service.__file__).parent / "agent" / "fork_server.py"
START_SECONDS = 60.0
"""Seconds that a server has to import its module."""
FORK_SECONDS = 10.0
"""Seconds that a server has to fork."""
FAILURE_PAUSE_SECONDS = 60.0
"""A server that could not start is not started again for so long."""
IDLE_SECONDS = 900.0
"""A server with a module ends when it has had nothing to do for so long: it holds memory."""
_SETTLED = frozenset({"PATH", "HOME", "LANG", "TZ"})
_SETTLED_PREFIXES = ("LC_", "LD_", "PYTHON")

OnAgent = Callable[[int], None]
"""Takes a handle of a new agent."""


def module_of(launch: Launch, modules: Collection[str]) -> str:
    """Return the module that a launch's command is forked from; empty: the command is a program.

    A command with variables that Python or the loader looks at as it begins is a program too.
    """
    words = launch.command
    if tuple(words[:2]) != WORDS or len(words) < 3 or words[2] not in modules:
        return ""
    names = {*launch.environment, *launch.passed}
    if names & _SETTLED or any(name.startswith(_SETTLED_PREFIXES) for name in names):
        return ""
    return words[2]


class _Request(NamedTuple):
    """A request that has no answer yet."""

    on_agent: OnAgent
    answer: asyncio.Future[bool]


class ForkServer:
    """One server, which is started when it is needed.

    Parameters
    ----------
    python
        The interpreter.
    module
        What it imports; empty: the agent alone.
    environment
        Its environment: where commands are found, and nothing of the service's.
    """

    def __init__(self, python: str, module: str, environment: Mapping[str, str]) -> None:
        self.python, self.module = python, module
        self.environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._ready = asyncio.Event()
        self._requests: deque[_Request] = deque()
        self._start = asyncio.Lock()
        self._paused_until = 0.0
        self._idle: asyncio.TimerHandle | None = None

    async def fork(self, name: int, secrets: int, on_agent: OnAgent) -> bool:
        """Get an agent forked.

        False if it must be started in another way.

        ``name`` and ``secrets`` are descriptors of files: the work folder's name, and what the agent alone may know.
        An agent may come to be although the answer is False. So whoever starts another one relies on its claim.
        """
        if not await self._is_up():
            return False
        assert self._socket is not None
        answer = asyncio.get_running_loop().create_future()
        try:
            socket.send_fds(self._socket, [FORK], [name, secrets])
        except OSError as error:
            self._lose(f"it takes no request: {error.strerror}")
            return False
        self._requests.append(_Request(on_agent, answer))
        self._end_when_idle()
        try:
            async with asyncio.timeout(FORK_SECONDS):
                return await asyncio.shield(answer)
        except TimeoutError:
            self._lose(f"it did not answer within {FORK_SECONDS:.0f} s")
            return False

    async def _is_up(self) -> bool:
        """Start the server if there is none.

        Return whether there is one now.
        """
        async with self._start:
            if self._socket is not None:
                return True
            loop = asyncio.get_running_loop()
            if loop.time() < self._paused_until:
                return False
            try:
                await self._launch()
                async with asyncio.timeout(START_SECONDS):
                    await self._ready.wait()
            except (OSError, TimeoutError) as error:
                self._lose(f"it does not start: {error}")
            if self._socket is None:
                self._paused_until = loop.time() + FAILURE_PAUSE_SECONDS
            return self._socket is not None

    async def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        # With no module it needs no packages. With one it must find them, but nothing in the folder that it starts in.
        options = ["-P"] if self.module else ["-I", "-S"]
        with theirs:
            self._ready.clear()
            self._process = await asyncio.create_subprocess_exec(
                self.python, *options, "-X", "utf8", str(SERVER), *([self.module] if self.module else []),
                stdin=theirs.fileno(), stdout=2, env=self.environment, cwd="/", start_new_session=True,
            )  # fmt: skip
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours, self._read)

    def _read(self) -> None:
        """Take what the server says."""
        while self._socket is not None:
            try:
                packet, handles, _, _ = socket.recv_fds(self._socket, PACKET_BYTES, 1)
            except BlockingIOError:
                return
            except OSError:
                packet, handles = b"", []
            if packet == READY:
                self._ready.set()
            elif packet and self._requests:
                request = self._requests.popleft()
                if handles:  # without: no descriptor is free here, and the site is looked at now and then
                    request.on_agent(handles.pop())
                if not request.answer.done():
                    request.answer.set_result(packet != FAILED)
            for handle in handles:
                os.close(handle)
            if not packet:
                self._lose("it has ended")

    def _lose(self, reason: str) -> None:
        """Give up a server.

        The next request starts another one.
        """
        if self._socket is None:
            return
        log.warning("a fork server is lost", module=self.module, reason=reason)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            kill(self._process)
            self._process = None
        self._ready.set()
        while self._requests:
            answer = self._requests.popleft().answer
            if not answer.done():
                answer.set_result(False)

    def _end_when_idle(self) -> None:
        """End the server after a while without requests."""
        if self._idle is not None:
            self._idle.cancel()
        if self.module:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._disconnect)

    @property
    def pid(self) -> int | None:
        """Return its process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def close(self) -> None:
        """End the server; the agents go on."""
        process = self._process
        self._disconnect()
        if process is not None:
            await process.wait()


class ForkServers:
    """The servers of one site.

    Parameters
    ----------
    python
        The interpreter that runs them.
    paths
        The variables that say where commands and packages are found.
    modules
        The modules whose commands are forked.
    """

    def __init__(self, python: str, paths: Mapping[str, str], modules: Collection[str]) -> None:
        self.python, self.modules = python, frozenset(modules)
        # One thread: libraries that start more as they are imported could not be forked. A home that is none: no file
        # of a person's has any say.
        self.environment = {
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "HOME": "/nonexistent",
            "OPENBLAS_NUM_THREADS": "1",
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
            **paths,
        }
        self.servers: dict[str, ForkServer] = {}

    def of(self, launch: Launch) -> ForkServer:
        """Return the server that a launch's agent is forked from."""
        module = module_of(launch, self.modules)
        if module not in self.servers:
            self.servers[module] = ForkServer(self.python, module, self.environment)
        return self.servers[module]

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(server.close() for server in self.servers.values()))

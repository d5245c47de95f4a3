"""Uvicorn around the service.

One process, or several that share one socket.

The service itself is an ASGI application (`uws_service.web.app`); here are its process, its signals and what is said
when it can't start.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from uws_service.cli.common import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, Stop, complain, note
from uws_service.cli.connections import BoundedProtocol, most_blocked, raise_descriptor_limit
from uws_service.configuration import applications_of
from uws_service.domain.errors import UwsError
from uws_service.parts import make_data_folder
from uws_service.process_exit import leave_process
from uws_service.runtime import create_app
from uws_service.settings import Settings
from uws_service.store import Store
from uws_service.web.app import App

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

GRACE_SECONDS = 5
WORKER_ANSWER_SECONDS = 60
"""A worker that is silent for longer is replaced; one that only starts is silent for seconds on a loaded machine."""
UNSENT_BYTES = 128 * 1024
"""What the kernel holds for a client beyond what is on its way to it: readers that do not read hold no megabytes each,
and are noticed sooner."""


class Process:
    """The ASGI application of one process.

    Opens quietly, and answers its waiters when it is told to stop.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.failure: Exception | None = None

    def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._lifespan(scope, receive, send)
        return self.app(scope, receive, send)

    async def _lifespan(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        has_answered = False

        async def quiet(message: Message) -> None:
            nonlocal has_answered
            has_answered = True
            if message["type"] == "lifespan.startup.complete":
                _drain_on_signals(self.app)
                _reload_on_signal(self.app)
            if message["type"].endswith(".failed"):
                message = {"type": message["type"], "message": ""}  # we say in one line why
            await send(message)

        try:
            await self.app(scope, receive, quiet)
        except Exception as error:
            self.failure = error
            if not has_answered:
                await send({"type": "lifespan.startup.failed", "message": ""})


def _drain_on_signals(app: App) -> None:
    """Answer every WAIT before the server handles a signal (C-26)."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(app.drain)
            if callable(before):
                before(received, frame)

        signal.signal(number, handle)


def _reload_on_signal(app: App) -> None:
    """Read the applications again at SIGHUP.

    A service in a terminal still ends with it.
    """
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL or os.isatty(0):
        return
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def begin() -> None:
        task = loop.create_task(app.reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, begin)


def serve(
    settings: Settings, config: Path | None, overrides: Mapping[str, Any], *, host: str, port: int, workers: int
) -> int:
    """Serve until told to stop; the exit code."""
    signal.signal(signal.SIGTERM, _end)  # also meets the signal that the server raises again when it has stopped
    os.umask(0o077)  # whatever is written is for the service's user alone; its workers inherit that
    applications_of(settings)
    raise_descriptor_limit()
    listener = _listen(host, port)
    try:
        if workers == 1:
            return _serve_one(settings, listener)
        return _serve_many(settings, config, overrides, listener, workers)
    except (KeyboardInterrupt, _Ended):
        return EXIT_OK
    finally:
        listener.close()


class _Ended(BaseException):
    """SIGTERM came."""


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended


def _listen(host: str, port: int) -> socket.socket:
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise Stop(EXIT_USAGE, f"{host} is not an address to listen at: {error.strerror}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # each connection inherits it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise Stop(EXIT_FAILURE, f"can't listen at {host} port {port}: {error.strerror}") from None
    name, number = listener.getsockname()[:2]
    note(f"Serving at http://{f'[{name}]' if ':' in name else name}:{number}/")
    return listener


def _options(workers: int = 1) -> dict[str, Any]:
    return {
        "workers": workers,
        "lifespan": "on",
        "interface": "asgi3",
        "ws": "none",
        "access_log": False,
        "log_config": None,  # the service configures logging itself
        "proxy_headers": False,  # the service decides itself which proxies it trusts
        "server_header": False,
        "http": BoundedProtocol,
        "timeout_graceful_shutdown": GRACE_SECONDS,
        "timeout_worker_healthcheck": WORKER_ANSWER_SECONDS,
    }


def _serve_one(settings: Settings, listener: socket.socket) -> int:
    process = Process(create_app(_fitting(settings)))
    logging.getLogger("uvicorn.error").addFilter(_told_by_us)
    server = uvicorn.Server(uvicorn.Config(process, **_options()))
    try:
        server.run(sockets=[listener])
    except SystemExit:
        if process.failure is None:
            raise
    if process.failure is not None:
        raise process.failure
    return EXIT_OK if server.started else EXIT_FAILURE


def _fitting(settings: Settings) -> Settings:
    """Bound waiters and streams, together, by the number of connections."""
    limits = settings.limits
    bounded = {"blocked": min(limits.blocked, most_blocked())}
    return settings.model_copy(update={"limits": limits.model_copy(update=bounded)})


def _told_by_us(record: logging.LogRecord) -> bool:
    return "startup failed" not in record.getMessage()


def _serve_many(
    settings: Settings, config: Path | None, overrides: Mapping[str, Any], listener: socket.socket, workers: int
) -> int:
    # What can't work is found once, here, and the tables are made by one process only.
    if settings.database is None or settings.depot is None:
        make_data_folder(settings.data)
    asyncio.run(_try_store(settings))
    settings.work_folder.mkdir(parents=True, exist_ok=True)
    factory = partial(_worker, config, dict(overrides))
    _Workers(uvicorn.Config(factory, factory=True, **_options(workers)), sockets=[listener]).run()
    return EXIT_OK


class _Workers(Multiprocess):
    """The processes that answer requests.

    SIGHUP is for each of them. To start them anew, as uvicorn would, may leave none that drives the sites.
    """

    def handle_hup(self) -> None:
        for process in self.processes:
            if process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)


async def _try_store(settings: Settings) -> None:
    store = await Store.open(settings.database_url, create=settings.migrate_at_start)
    await store.close()


_controller_lock: list[IO[bytes]] = []


def _worker(config: Path | None, overrides: dict[str, Any]) -> _Worker:
    """Return the application of one of several processes.

    One of them, whichever is first, drives the sites.
    """
    settings = Settings.load(config, **overrides)
    if settings.controller and not _first(settings.work_folder / ".controller"):
        settings = settings.model_copy(update={"controller": False})
    worker = _Worker(create_app(_fitting(settings)))
    atexit.register(worker.end)
    return worker


def _first(path: Path) -> bool:
    """Return whether this process got the lock.

    It is kept until the process ends, then another process gets it.
    """
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return False
    _controller_lock.append(handle)
    return True


class _Worker(Process):
    """One of several processes.

    Says itself why it can't start, as nobody else could.
    """

    async def _lifespan(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        await super()._lifespan(scope, receive, send)
        if isinstance(self.failure, UwsError):
            complain(self.failure.message)
        elif self.failure is not None:
            complain(f"{type(self.failure).__name__}: {self.failure}")

    def end(self) -> None:
        """End the process, unless its exit code is to say that it could not start."""
        if self.failure is None:
            leave_process(EXIT_OK)

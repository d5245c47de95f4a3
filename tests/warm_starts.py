"""Services that start warm: a process has imported the command line once, and forks for each start.

The imports are most of a start's processor time, and the tests start many hundred services. What follows is what
``python -m uws_service serve`` does. Starts with other programs, or with settings that Python itself reads
(``PYTHONPATH``, …), are cold (`tests.server`).

``python -m tests.warm_starts``, with a socket as standard input, is that process. Each request is a packet of JSON with
two descriptors: the log, and a pipe to which the exit status is written.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REQUEST_BYTES = 1 << 20
PRELOADED = ("uws_service.cli.uvicorn_server", "uws_service.runtime", "alembic.command")


class WarmProcess:
    """A process that was forked for us, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return how it ended, or nothing while it runs."""
        return self._await(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends.

        Raises `subprocess.TimeoutExpired` after ``timeout`` seconds.
        """
        code = self._await(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(["uws-service", "serve"], timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """``kill -9``."""
        self.send_signal(signal.SIGKILL)

    def _await(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                return None
            self.returncode = int(os.read(self._status, 16) or b"-9")  # without a status the forking process was killed
            os.close(self._status)
        return self.returncode


class WarmStarts:
    """The process that forks, started when it is first asked for."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: int) -> WarmProcess:
        """Start ``python -m uws_service`` with arguments, in a folder."""
        request = json.dumps({"arguments": arguments, "environment": dict(environment), "folder": str(folder)}).encode()
        with self._lock:
            connection = self._connect()
            status, writing = os.pipe()
            socket.send_fds(connection, [request], [log, writing])
            os.close(writing)
            answer = connection.recv(32)
        if not answer:
            raise RuntimeError("the process that starts services has ended")
        return WarmProcess(int(answer), status)

    def _connect(self) -> socket.socket:
        if self._connection is None or self._process is None or self._process.poll() is not None:
            if self._connection is not None:
                self._connection.close()
            self._connection, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with other:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.warm_starts"],
                    stdin=other.fileno(),
                    cwd=ROOT,
                    env={key: value for key, value in os.environ.items() if not key.startswith("UWS_")},
                )
            atexit.register(self.close)
        return self._connection

    def close(self) -> None:
        """End the process.

        Services that it has started go on.
        """
        if self._connection is not None and self._process is not None:
            self._connection.close()
            self._process.wait(60)
            self._connection = self._process = None


def serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for each request.

    Return the request in the fork, and nothing here once the other end is closed.
    """
    children: dict[int, int] = {}
    wake, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    while True:
        readable, _, _ = select.select([connection.fileno(), wake], [], [])
        if wake in readable:
            os.read(wake, 512)
            _reap(children)
        if connection.fileno() not in readable:
            continue
        packet, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 2)
        if not packet:
            return None
        log, status = descriptors
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (wake, waking, status, *children.values()):
                os.close(descriptor)
            connection.close()
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            request: dict[str, Any] = json.loads(packet)
            return request
        os.close(log)
        children[pid] = status
        connection.send(str(pid).encode())


def _reap(children: dict[int, int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        descriptor = children.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it
            os.write(descriptor, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(descriptor)


def become(request: dict[str, Any]) -> None:
    """Run the command line, as ``python -m uws_service`` in that folder does."""
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = ["uws-service", *request["arguments"]]
    del sys.modules["uws_service.__main__"]
    runpy.run_module("uws_service", run_name="__main__", alter_sys=True)


def main() -> None:
    """Import, then fork for each request."""
    for module in (*PRELOADED, "uws_service.__main__"):
        __import__(module)
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("an import has started a thread, which a fork would not have")
    connection = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    gc.freeze()
    request = serve(connection)
    if request is not None:
        become(request)


if __name__ == "__main__":
    main()

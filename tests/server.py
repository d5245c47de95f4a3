"""A real service for tests.

The command line's ``serve`` in a process of its own, on a free port.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.sample_catalogue import put_into
from tests.warm_starts import WarmProcess, WarmStarts

ROOT = Path(__file__).resolve().parent.parent


PORTS = range(10_000, 32_768)
"""Below those that Linux gives to outgoing connections: a server that starts later would find such a port taken."""
WORKERS = 16
PROGRAM = ("-m", "uws_service", "serve")
_used_ports: set[int] = set()
_warm_starts = WarmStarts()
_chance = random.SystemRandom()  # Hypothesis seeds the other one, alike in all workers


def free_port() -> int:
    """Return a port of the loopback address that is free, and that no other test or worker gets meanwhile."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    while True:
        port = _chance.randrange(PORTS.start + worker, PORTS.stop, WORKERS)
        if port in _used_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _used_ports.add(port)
        return port


class Server:
    """Starts, stops and kills one service.

    Its data folder outlives it.

    Parameters
    ----------
    folder
        Where the data folder and the log lie.
    settings
        Environment variables ``UWS_…`` beside the defaults.
    host
        The address to listen on.
    config
        The text of a settings file, in which ``PORT`` stands for the port.
    program
        What Python runs.
    warm
        Whether it may be forked from a process that has done the imports (`tests.warm_starts`).
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        host: str = "127.0.0.1",
        config: str = "",
        program: Sequence[str] = PROGRAM,
        warm: bool = True,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.host = host
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.port}"
        self.config = config
        self.program = program
        self.warm = warm and program == PROGRAM and all(key.startswith("UWS_") for key in settings or ())
        self.executable = sys.executable
        self.settings = {"UWS_DATA": str(folder / "data"), **(settings or {})}
        self.log = folder / "service.log"
        self.process: subprocess.Popen[bytes] | WarmProcess | None = None

    def start(self, timeout: float = 180) -> None:
        """Start, and return once the service says that it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("UWS_")}
        command = [self.executable, *self.program, "--host", self.host, "--port", str(self.port)]
        if self.config:
            (self.folder / "service.yaml").write_text(self.config.replace("PORT", str(self.port)))
            command += ["--config", str(self.folder / "service.yaml")]
        environment = {**clean, "PYTHONPATH": str(ROOT), **self.settings}
        with self.log.open("ab") as log:
            if self.warm and self.executable == sys.executable:
                is_usual = self.settings["UWS_DATA"] == str(self.folder / "data")
                if is_usual and "UWS_BUILTIN_APPLICATIONS" not in self.settings:  # else no catalogue belongs there
                    put_into(self.folder / "data")
                self.process = _warm_starts.start(command[3:], environment, self.folder, log.fileno())
            else:
                self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended with {self.process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise RuntimeError(f"the service was not ready in {timeout} s:\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def stop(self) -> None:
        """End the service as an operator would.

        Kill it if it does not end.
        """
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(120)

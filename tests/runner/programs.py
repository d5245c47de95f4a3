"""A service, a runner at a site that only calls out, a way between them that can be cut, and an application."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.server import ROOT, Server, free_port
from uws_service.sites.remote.keys import digest_of, new_key

PATIENCE_SECONDS = 120
SITE = "far"
LEASE_SECONDS = 20

SOURCE = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
job = os.environ["UWS_JOB_ID"]
with open(folder / "runs", "a") as runs:
    print(job, os.getpid(), file=runs)
print("begun", flush=True)
while sys.argv[2] == "wait" and not (folder / job).exists():
    time.sleep(0.05)
print("the end")
if sys.argv[2] == "fail":
    sys.exit("no luck")
uploads = [path for path in pathlib.Path(os.environ["UWS_INPUT_DIR"]).rglob("*") if path.is_file()]
texts = [path.read_text() for path in uploads if path.name != "parameters.json"]
text = texts[0] if texts else "nothing"
pathlib.Path(os.environ["UWS_OUTPUT_DIR"], "answer").write_text(job + " " + text)
"""


class Program:
    """An application that appends a line to a file for each run, and ends when it is let."""

    def __init__(self, folder: Path, attempts: int = 3) -> None:
        self.folder = folder
        self.descriptor = folder / "ledger.yaml"
        description = {
            "name": "ledger",
            "title": "Writes down its runs",
            "description": "Appends its job's id to a file, and ends when it is let.",
            "command": ["python", "-c", SOURCE, str(folder), "{END}"],
            "parameters": [
                {"name": "END", "datatype": "char", "arraysize": "*", "options": ["now", "wait", "fail"],
                 "default": "now"},
                {"name": "TEXT", "file": True, "description": "A text to repeat."},
            ],
            "results": [{"id": "answer", "path": "answer", "media_type": "text/plain"}],
            "limits": {"attempts": attempts},
        }  # fmt: skip
        self.descriptor.write_text(json.dumps(description), encoding="utf-8")

    def runs(self) -> Counter[str]:
        """Return how often each job has run."""
        path = self.folder / "runs"
        return Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()

    def pid(self, job_id: str) -> int:
        """Return the process of a job's run."""
        lines = (self.folder / "runs").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.split()[0] == job_id)

    def release(self, job_id: str) -> None:
        """Let a job's command end."""
        (self.folder / job_id).touch()


class Wire:
    """A TCP proxy that can be cut: connections break, and new ones are refused.

    Parameters
    ----------
    port
        Where it leads, on this machine.
    host
        The address at which it listens.
    context
        Its certificate, if clients are to come by TLS.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.target = port
        self.port = free_port()
        self.context = context
        self.is_cut = False
        self._pairs: set[socket.socket] = set()
        self._listener = socket.create_server((host, self.port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        self.is_cut = True
        for end in list(self._pairs):
            with contextlib.suppress(OSError):  # its thread may close it meanwhile
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        self.is_cut = False

    def close(self) -> None:
        """End the proxy."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_cut:
                client.close()
                continue
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        try:
            client = self.context.wrap_socket(client, server_side=True) if self.context is not None else client
            server = socket.create_connection(("127.0.0.1", self.target), 10)
        except OSError:
            client.close()
            return
        self._pairs |= {client, server}
        with client, server, selectors.DefaultSelector() as ready:
            for end, sink in ((client, server), (server, client)):
                ready.register(end, selectors.EVENT_READ, sink)
            try:
                while not self.is_cut:
                    for key, _ in ready.select(0.2):
                        source: socket.socket = key.fileobj  # type: ignore[assignment]
                        content = source.recv(65536)
                        while isinstance(source, ssl.SSLSocket) and source.pending():
                            content += source.recv(65536)
                        if not content:
                            return
                        key.data.sendall(content)
            except OSError:
                pass
            finally:
                self._pairs -= {client, server}


class Runner:
    """A runner in a process of its own.

    Its folder outlives it.
    """

    def __init__(self, folder: Path, port: int, key: str, **settings: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "runner.log"
        (folder / "key").write_text(key)
        (folder / "key").chmod(0o600)
        self.config = folder / "runner.yaml"
        values = {
            "service": f"http://127.0.0.1:{port}",
            "site": SITE,
            "key_file": "key",
            "data": "data",
            "local": {"kind": "local", "slots": 8},
            "log_level": "debug",
            **settings,
        }
        self.config.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def work(self) -> Path:
        """Return the folder of the work folders."""
        return self.folder / "data" / "work" / SITE

    def start(self, within: Sequence[str] = ()) -> None:
        """Start it, ``within`` the beginning of a command; it calls the service when it can."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("UWS_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*within, sys.executable, "-m", "uws_service", "runner", "--config", str(self.config)],
                env={**clean, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip

    def text(self) -> str:
        """Return what it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self) -> None:
        """End it as an operator would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)


class Far:
    """A service with one site that only calls out, and that site's runner."""

    def __init__(
        self,
        folder: Path,
        program: Program,
        site: Mapping[str, Any] | None = None,
        runner: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.program = program
        self.key = new_key()
        own = {"name": SITE, "kind": "remote", "slots": 8, "keys": [digest_of(self.key)], **(site or {})}
        others = settings.pop("others", [])
        config = {"applications": [str(program.descriptor)], "builtin_applications": False, "sites": [own, *others],
                  **settings}  # fmt: skip
        self.server = Server(folder / "service", config=json.dumps(config))
        self.wire = Wire(self.server.port)
        self.runner = Runner(folder / "runner", self.wire.port, self.key, **(runner or {}))

    def close(self) -> None:
        """End everything, the jobs at the site too."""
        self.runner.kill()
        self.server.stop()
        self.wire.close()
        if self.runner.work.exists():
            end_jobs(self.program)


def end_jobs(program: Program) -> None:
    """Let every command end."""
    for job_id in program.runs():
        program.release(job_id)


@contextmanager
def far_site(folder: Path, **options: Any) -> Iterator[Far]:
    """Yield a started service and its runner."""
    (folder / "program").mkdir(exist_ok=True)
    far = Far(folder, Program(folder / "program"), **options)
    try:
        far.server.start()
        far.runner.start()
        yield far
    finally:
        far.close()


def until(check: Callable[[], Any], purpose: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the first true answer of a check.

    Fail when the time is over.
    """
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {purpose}"
        time.sleep(0.05)
    return value

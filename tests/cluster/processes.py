"""Processes that outlive who started them: recorded in a file, and never mistaken for others with the same number."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def started_at(pid: int) -> str | None:
    """The kernel's start time of a process; None if there is none (a zombie counts as none)."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] == "Z" else words[19]


_STARTED: list[subprocess.Popen[bytes]] = []
"""Kept, since they shall live on: a process object that is forgotten complains."""


class Processes:
    """The processes of one site.

    Parameters
    ----------
    folder
        Holds ``processes.json`` and the folder of logs.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "processes.json"
        self.logs = folder / "log"

    def _read(self) -> dict[str, tuple[int, str]]:
        try:
            return {name: (pid, began) for name, (pid, began) in json.loads(self.file.read_text()).items()}
        except (OSError, ValueError):
            return {}

    def _write(self, known: Mapping[str, tuple[int, str]]) -> None:
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(known))
        draft.replace(self.file)

    def pid(self, name: str) -> int | None:
        """The process of this name, if it lives."""
        pid, began = self._read().get(name, (0, ""))
        return pid if pid and started_at(pid) == began else None

    def names(self) -> list[str]:
        """All names that are recorded."""
        return list(self._read())

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """Start a process in a session of its own; its output is appended to a log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        _STARTED.append(process)
        began = started_at(process.pid)
        if began is None:
            raise RuntimeError(f"{name} ended at once: {self.tail(name)}")
        self._write({**self._read(), name: (process.pid, began)})
        return process.pid

    def send(self, name: str, kind: int) -> None:
        """Send a signal, if the process lives."""
        pid = self.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kind)

    def end(self, name: str, patience: float = 15.0, kind: int = signal.SIGTERM) -> None:
        """End a process, by force if it takes too long, and forget it."""
        self.send(name, kind)
        until = time.monotonic() + patience
        while (pid := self.pid(name)) is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > until:
                self.send(name, signal.SIGKILL)
            time.sleep(0.02)
        self._write({key: value for key, value in self._read().items() if key != name})

    def log(self, name: str) -> Path:
        """Where a process's output goes."""
        return self.logs / f"{name}.log"

    def tail(self, name: str, size: int = 3000) -> str:
        """The end of that."""
        path = self.log(name)
        return path.read_text(errors="replace")[-size:] if path.exists() else ""

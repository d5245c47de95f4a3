"""Work folders and agents without an executor.

They are started as the executor starts them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uws_service.agent import folder as layout
from uws_service.sites.local.agents import AGENT

MiB = 1024 * 1024


def eventually(condition: Callable[[], Any], seconds: float = 180) -> Any:
    """Return the first true value of a condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {condition}")


class Work:
    """A work folder and its agents."""

    def __init__(self, folder: Path, command: list[str], **changes: Any) -> None:
        self.folder = folder
        for name in (layout.INPUT, layout.OUTPUT, layout.SCRATCH, layout.LOG):
            (folder / name).mkdir(parents=True)
        self.spec: dict[str, Any] = {
            "job_id": "job",
            "number": 1,
            "command": command,
            "environment": {},
            "base_environment": {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"},
            "inputs": [],
            "results": [],
            "duration": 0,
            "memory": 0,
            "max_output": 10 * MiB,
            "disk": 0,
            "fetch": {"allow_private": False, "allow_hosts": [], "timeout": 10},
            "bell": str(folder / "bell"),
            **changes,
        }
        layout.write_json(str(folder / layout.SPEC), self.spec)

    def start(self) -> subprocess.Popen[bytes]:
        """Start an agent in its own process."""
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", str(AGENT), str(self.folder)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={"LANG": "C.UTF-8"},
        )

    def run(self, seconds: float = 180) -> dict[str, Any]:
        """Run an agent to its end.

        Return the status.
        """
        agent = self.start()
        try:
            assert agent.wait(seconds) == 0
        finally:
            agent.kill()
            agent.wait()
        return self.status

    @property
    def status(self) -> dict[str, Any]:
        """Return what the agent tells now."""
        return layout.read_json(str(self.folder / layout.STATUS)) or {}

    def write(self, path: str, content: str | bytes) -> Path:
        """Return a file in the input folder."""
        target = self.folder / layout.INPUT / path
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target


def result(path: str, *, id: str = "result", required: bool = True, media_type: str = "text/plain") -> dict[str, Any]:
    """Return an expected result of a spec."""
    return {"id": id, "path": path, "media_type": media_type, "required": required}


def alive(mark: str) -> list[int]:
    """Return processes with a mark in their command line."""
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in line and int(name) != os.getpid():
            pids.append(int(name))
    return pids


def python(code: str) -> list[str]:
    """Return a command that runs some Python."""
    return ["python", "-I", "-S", "-c", code]


def as_json(path: Path) -> Any:
    """Return the JSON value in a file."""
    return json.loads(path.read_text())

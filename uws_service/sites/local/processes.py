"""Work folders as the service sees them.

What they tell, and how to end and remove what is in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from uws_service.agent import confined
from uws_service.agent import folder as layout
from uws_service.domain.attempt import CommandError, Observation, Output, Reason, Seen, Usage
from uws_service.domain.record import StagedFile

Key = tuple[str, int]
"""Job id and number of an attempt."""
LOG_END_BYTES = 1024 * 1024
"""Bytes of a log that are shown while its command runs."""


def observation(key: Key, status: dict[str, Any]) -> Observation:
    """Return a status file as an observation.

    One that makes no sense is as good as none.
    """
    try:
        reason = status.get("reason")
        return Observation(
            *key,
            Seen(status.get("state", Seen.STARTING)),
            started=status.get("started"),
            ended=status.get("ended"),
            exit_code=status.get("exit_code"),
            reason=Reason(reason) if reason else None,
            message=status.get("message", ""),
            progress=status.get("progress"),
            progress_text=status.get("progress_text", ""),
            outputs=tuple(Output(**output) for output in status.get("outputs", ())),
            log_tail=status.get("log_tail", ""),
            usage=Usage(**status.get("usage", {})),
            warning=str(status.get("warning", "")),
            error=CommandError(**status["error"]) if status.get("error") else None,
            inputs=tuple(StagedFile(**entry) for entry in status.get("inputs", ())),
        )
    except (TypeError, ValueError):
        return Observation(*key, Seen.FAILED, reason=Reason.AGENT_LOST, message="The status file can't be read.")


def signal_agent(folder: Path, kind: signal.Signals) -> bool:
    """Send a signal to the process that holds the agent's lock, and to no other that may get its number."""
    pid = layout.agent_pid(str(folder))
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if layout.agent_pid(str(folder)) == pid:
                signal.pidfd_send_signal(handle, kind)
                return True
        finally:
            os.close(handle)
    return False


def log_end(folder: Path, name: str) -> bytes | None:
    """Return the end of a log, at most `LOG_END_BYTES` bytes."""
    try:
        return confined.read_tail(str(folder), name, LOG_END_BYTES)
    except OSError:
        return None


async def chunks_of(content: confined.Content) -> AsyncIterator[bytes]:
    """Yield the content of an open file, piece by piece."""
    while chunk := await asyncio.to_thread(content.read, 1024 * 1024):
        yield chunk


def kill_leftovers(folder: Path, seconds: float = 5.0) -> int:
    """Kill the processes of one work folder until none is found; returns how many were.

    Only needed when an agent was itself killed. The command's first process dies with its agent; what it forked into
    other sessions does not. Such processes are known by the name of their work folder in the environment that they
    inherited, or by working in that folder.
    """
    killed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        hits = sum(_kill_if_of(folder, int(name)) for name in os.listdir("/proc") if name.isdigit())
        if not hits:
            break
        killed += hits
        time.sleep(0.01)
    return killed


def _kill_if_of(folder: Path, pid: int) -> bool:
    if pid == os.getpid():
        return False
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)  # from here on nobody else can have this process id
        try:
            if _is_of(folder, pid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False


def _is_of(folder: Path, pid: int) -> bool:
    mark = b"UWS_OUTPUT_DIR=" + os.fsencode(folder / layout.OUTPUT)
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")  # empty for the dead
        if mark in environment:
            return True
        return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(folder)
    except OSError:
        return False


def remove(path: Path) -> None:
    """Remove a tree whatever the command did to it.

    Folders without rights, or nested a thousand deep.
    """

    def open_up(_function: object, name: str, _error: object) -> None:
        for folder in (os.path.dirname(name), name):
            with contextlib.suppress(OSError):
                _give_rights(folder)

    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(path, onerror=open_up)
    if path.exists():
        subprocess.run(["rm", "-rf", "--", str(path)], check=False, stderr=subprocess.DEVNULL)


def identity_of(path: Path) -> str:
    """Return the work folder's own name, which it gets once."""
    with contextlib.suppress(FileNotFoundError):
        if identity := path.read_text().strip():
            return identity
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w") as file:
        file.write(secrets.token_hex(16))
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    return path.read_text()


def _give_rights(folder: str) -> None:
    """Let its owner into a folder.

    A link in its place leads nowhere.
    """
    file = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.chmod(f"/proc/self/fd/{file}", 0o700)
    finally:
        os.close(file)

"""The work folder of one attempt.

Its files, its lock and its status; what the agent and the executor both know.

spec.json    everything about the attempt; written last, so that a folder without it was never handed over
started      made by whoever takes the attempt; nobody else may take it afterwards
alive        locked by the agent for as long as it lives (a record lock: the kernel tells whose it is)
status.json  what there is to tell, replaced as a whole
input/  output/  scratch/  progress   what the command sees
log/stdout  log/stderr                what the command says
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import struct
from typing import Any

from uws_service.agent import confined

SPEC, STATUS, STARTED, ALIVE = "spec.json", "status.json", "started", "alive"
INPUT, OUTPUT, SCRATCH, PROGRESS, LOG = "input", "output", "scratch", "progress", "log"
TOKEN = ".bearer_token"
"""In the input folder: the token that the application asks for by name."""
DATA = "data"
"""In a pod, beside the input folder: mounted files of storage areas, by the number of the input."""
STDOUT, STDERR = "log/stdout", "log/stderr"
LAUNCHER, USAGE = "uws-launch", "usage"
"""In a pod: the program that runs the command (``launch.c``), and the file in which it tells what that used."""

_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid


def write_json(path: str, value: Any) -> None:
    """Replace a file by a JSON text.

    Readers see the old one or the new one, never a part.
    """
    write_secret(path, json.dumps(value))


def read_json(path: str) -> dict[str, Any] | None:
    """Return the JSON object in a file.

    None if there is none, or nothing that makes sense.
    """
    try:
        value = json.loads(confined.read_small(os.path.dirname(path) or ".", os.path.basename(path)))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_secret(path: str, text: str) -> None:
    """Replace a file that only its owner may read.

    Readers see the old text or the new one.
    """
    draft = f"{path}.{os.urandom(8).hex()}"  # the command can't have put something in its place
    with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(draft, path)


def write_token(folder: str, token: str, mode: int = 0o600) -> None:
    """Leave a token for the command in its input folder."""
    path = os.path.join(folder, TOKEN)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w", encoding="ascii") as file:
        file.write(token)


def claim(folder: str) -> bool:
    """Take the attempt.

    False if somebody took it before, or if it can't be done (folder gone, disk full).
    """
    try:
        os.close(os.open(os.path.join(folder, STARTED), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError:
        return False
    return True


def is_claimed(folder: str) -> bool:
    """Return whether somebody took the attempt."""
    return os.path.exists(os.path.join(folder, STARTED))


def begin(folder: str) -> int | None:
    """Return the agent's entry.

    The lock's descriptor, or None if another agent is or was here.

    The lock comes before the mark, so a mark without a lock means an agent that has died.
    """
    if is_claimed(folder):
        return None
    try:
        lock = os.open(os.path.join(folder, ALIVE), os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return lock if claim(folder) else None


def agent_pid(folder: str) -> int | None:
    """Return the process that holds the agent's lock now, as the kernel says; None if there is none."""
    try:
        file = os.open(os.path.join(folder, ALIVE), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        entry = os.fstat(file)
        if not stat.S_ISREG(entry.st_mode) or entry.st_nlink != 1:
            return None  # the command's own, or a file that somebody else locks: nobody to send signals to
        request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, request))
    finally:
        os.close(file)
    return None if kind == fcntl.F_UNLCK else int(pid)


def ring(bell: str) -> None:
    """Tell the service, if it listens, that something has changed."""
    with contextlib.suppress(OSError):
        pipe = os.open(bell, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, b"!")
        finally:
            os.close(pipe)


def clean(text: bytes | str, limit: int) -> str:
    """Return text of a user's program made fit for documents: no control characters but line ends and tabs."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return "".join(c for c in words if (c.isprintable() and not "\ud800" <= c <= "\udfff") or c in "\n\t")[:limit]


def log_tail(folder: str, limit: int = 4096) -> str:
    """Return the end of what the command said.

    Of stderr, or of stdout if that is empty.
    """
    for name in (STDERR, STDOUT):
        try:
            tail = clean(confined.read_tail(folder, name, limit), limit)
        except OSError:
            continue
        if tail.strip():
            return tail
    return ""

"""What the command leaves behind: how much it is while it runs, and the results when it has ended."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from uws_service.agent import folder as layout

MAX_FILES = 100_000
"""More files than this are too much output, however small they are."""
MAX_MATCHES = 1_000
"""A pattern may give so many results."""
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")

Identity = tuple[int, int]
"""Device and inode."""


class StageOutError(Exception):
    """A result can't be given; the text says which and why."""


def measure(paths: Iterable[str], limit: int, most: int = MAX_FILES) -> tuple[int, int]:
    """Bytes and number of the files below some paths; counting ends once either is over its limit (0: no limit).

    Symbolic links are not followed. Whoever nests folders deeper than the system can name them has too many files.
    """
    total = count = 0
    ahead = list(paths)
    while ahead and count <= most and not (limit and total > limit):
        path = ahead.pop()
        try:
            entries = os.scandir(path)
        except NotADirectoryError:
            with contextlib.suppress(OSError):
                total += os.lstat(path).st_size
            count += 1
            continue
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return total, most + 1
            continue
        with entries:
            for entry in entries:
                count += 1
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
                if count > most or (limit and total > limit):
                    break
    return total, count


def collect_results(
    work: str, expected: Sequence[Mapping[str, Any]], *, incomplete: Collection[Identity] | None = None
) -> list[dict[str, Any]]:
    """The expected results that are there, with size and SHA-256.

    Parameters
    ----------
    work
        The work folder.
    expected
        Mappings with ``id``, ``path``, ``media_type`` and ``required``.
    incomplete
        Given when the command was stopped: files that were still being written then. They are left out, and nothing
        that is missing is an error (UWS 1.1 §2.1.4: results already made are kept).

    Raises
    ------
    StageOutError
        A required result is missing, or a result is not a regular file inside the output folder.
    """
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    for want in expected:
        try:
            paths = _matches(work, want["path"])
            if not paths and want["required"]:
                raise StageOutError(f"The command did not write the result {want['id']!r} ({want['path']}).")
            for path in paths:
                one = describe(work, path, want["media_type"], incomplete or ())
                if one is not None:
                    pattern = "*" in want["path"]
                    found.append({"id": _unique(_name(path) if pattern else want["id"], taken), **one})
        except StageOutError:
            if incomplete is None:
                raise
    return found


def describe_logs(work: str) -> list[dict[str, Any]]:
    """Both logs, as they are."""
    found = []
    for name, path in (("stdout", layout.STDOUT), ("stderr", layout.STDERR)):
        with contextlib.suppress(StageOutError):
            one = describe(work, os.path.join(work, path), "text/plain")
            found.append({"id": name, **(one or {})})
    return found


def _matches(work: str, pattern: str) -> list[str]:
    """The paths that a result's path or pattern stands for, in order."""
    parts = pattern.split("/")
    if pattern.startswith("/") or ".." in parts:
        raise StageOutError(f"The result path {pattern!r} leaves the output folder.")
    output = os.path.join(work, layout.OUTPUT)
    if "*" not in pattern:
        path = os.path.join(output, *parts)
        return [path] if os.path.lexists(path) else []
    escaped = "*".join(glob.escape(part) for part in pattern.split("*"))
    names = [name for name in glob.glob(escaped, root_dir=output) if not os.path.isdir(os.path.join(output, name))]
    if len(names) > MAX_MATCHES:
        raise StageOutError(f"{len(names)} files match {pattern!r}; at most {MAX_MATCHES} may.")
    return [os.path.join(output, name) for name in sorted(names)]


def describe(work: str, path: str, media_type: str, skip: Collection[Identity] = ()) -> dict[str, Any] | None:
    """Source, size and digest of one file; None if it is among those to skip."""
    import hashlib  # 3 ms that only the end of an attempt needs

    shown = os.path.relpath(path, work)
    real = os.path.realpath(path)
    # Only the work folder's own path is resolved: the command may have put a link in place of its output folder.
    base = os.path.join(os.path.realpath(work), shown.split("/")[0])
    if not real.startswith(base + "/"):
        raise StageOutError(f"{shown!r} is a link that leads out of its folder.")
    try:
        # Not blocking: a named pipe would wait for a writer for ever.
        file = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise StageOutError(f"{shown!r} can't be read: {error.strerror}.") from None
    try:
        entry = os.fstat(file)
        if not stat.S_ISREG(entry.st_mode):
            raise StageOutError(f"{shown!r} is not a regular file.")
        if (entry.st_dev, entry.st_ino) in skip:
            return None
        with open(file, "rb", closefd=False) as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise StageOutError(f"{shown!r} can't be read: {error.strerror}.") from None
    finally:
        os.close(file)
    source = os.path.relpath(real, os.path.realpath(work))
    return {"source": source, "media_type": media_type, "size": entry.st_size, "sha256": digest}


def _name(path: str) -> str:
    """A file's name as a result id: one URL segment that needs no escaping."""
    name = "".join(c if c in _SAFE else "_" for c in os.path.basename(path))
    return name if name.strip(".") else "_" * len(name)


def _unique(name: str, taken: set[str]) -> str:
    """The name, or the name with the first number that makes it unique."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    taken.add(candidate)
    return candidate

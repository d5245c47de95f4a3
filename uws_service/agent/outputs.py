"""What the command leaves behind.

How much it is while it runs, and the results when it has ended.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from uws_service.agent import confined
from uws_service.agent import folder as layout

MAX_FILES = 100_000
"""More files than this are too much output, however small they are."""
MAX_MATCHES = 1_000
"""A pattern may give so many results."""
MAX_LISTED = 8
MAX_LISTED_LENGTH = 60
MAX_LISTED_DEPTH = 2
"""So many names, each of so many characters, are told where a result is missing."""
MAX_NAME_LENGTH = 200
_ENDING_LENGTH = 40
"""Of a name that is shortened."""
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")

Identity = tuple[int, int]
"""Device and inode."""


class StageOutError(Exception):
    """A result can't be given.

    The text says which and why.
    """


class Found(NamedTuple):
    """A regular file of the work folder, open.

    What was checked of it is what its descriptor reads.
    """

    file: int
    source: str
    size: int
    sha256: str

    def content(self) -> confined.Content:
        """Return its bytes from the start, as many as were hashed."""
        return confined.Content(self.file, self.size)


Deliver = Callable[[dict[str, Any], Found], bool]
"""Called with what is to be told of a result, and the open file; False: it is left out."""


def measure(paths: Iterable[str], limit: int, max_files: int = MAX_FILES) -> tuple[int, int]:
    """Return bytes and number of the files below some paths; counting ends once either is over its limit (0: no limit).

    Symbolic links are not followed. Whoever nests folders deeper than the system can name them has too many files.
    """
    total = count = 0
    ahead = list(paths)
    while ahead and count <= max_files and not (limit and total > limit):
        path = ahead.pop()
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return total, max_files + 1
            if error.errno in (errno.ENOTDIR, errno.ELOOP):  # a file, or a link in its place
                with contextlib.suppress(OSError):
                    total += os.lstat(path).st_size
                count += 1
            continue
        with contextlib.closing(_Folder(folder)), os.scandir(folder) as entries:
            for entry in entries:
                count += 1
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append(os.path.join(path, entry.name))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
                if count > max_files or (limit and total > limit):
                    break
    return total, count


class _Folder:
    """A folder's descriptor, for `contextlib.closing`."""

    def __init__(self, file: int) -> None:
        self.file = file

    def close(self) -> None:
        os.close(self.file)


def collect_results(
    work: str,
    expected: Sequence[Mapping[str, Any]],
    *,
    incomplete: Collection[Identity] | None = None,
    deliver: Deliver | None = None,
) -> list[dict[str, Any]]:
    """Return the expected results that are there, with size and SHA-256.

    Parameters
    ----------
    work
        The work folder.
    expected
        Mappings with ``id``, ``path``, ``media_type`` and ``required``.
    incomplete
        Given when the command was stopped: files that were still being written then. They are left out, and nothing
        that is missing is an error (UWS 1.1 §2.1.4: results already made are kept).
    deliver
        Takes each file while it is open.

    Raises
    ------
    StageOutError
        A required result is missing, or a result is not a regular file inside the output folder.
    """
    results: list[dict[str, Any]] = []
    names: set[str] = set()
    for want in expected:
        try:
            paths = _matches(work, want["path"])
            if not paths and want["required"]:
                what = f"The command did not write the result {want['id']!r} ({want['path']})."
                raise StageOutError(f"{what} {files_there(work)}".rstrip())
            for path in paths:
                name = _unique(_name(path) if "*" in want["path"] else want["id"], names)
                entry = describe(work, path, {"id": name, "media_type": want["media_type"]}, incomplete or (), deliver)
                if entry is not None:
                    results.append(entry)
                    names.add(name)
        except StageOutError:
            if incomplete is None:
                raise
    return results


def files_there(work: str) -> str:
    """Return what lies in the output and the working folder, for the error of a result that does not.

    A folder that can't be read, as the working folder of a pod can't by its agent, is not spoken of.
    """
    sentences = []
    for words, name in (("output folder", layout.OUTPUT), ("working folder", layout.SCRATCH)):
        try:
            names = _some_files(os.path.join(work, name))
        except OSError:
            continue
        sentences.append(f"The {words} has: {', '.join(names)}." if names else f"The {words} is empty.")
    return " ".join(sentences)


def _some_files(path: str, above: int | None = None, depth: int = 0) -> list[str]:
    """Return a few of the files below a folder; links are not followed, whenever the command makes them."""
    names: list[str] = []
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    with contextlib.closing(_Folder(folder)), os.scandir(folder) as entries:
        for entry in sorted(itertools.islice(entries, MAX_MATCHES), key=lambda entry: entry.name):
            name = " ".join(layout.clean(entry.name, MAX_LISTED_LENGTH).split())
            if not entry.is_dir(follow_symlinks=False):
                names.append(name)
            elif depth < MAX_LISTED_DEPTH:
                with contextlib.suppress(OSError):
                    names += [f"{name}/{inner}" for inner in _some_files(entry.name, folder, depth + 1)]
            if len(names) > MAX_LISTED:
                return [*names[:MAX_LISTED], "…"]
    return names


def describe_logs(work: str) -> list[dict[str, Any]]:
    """Return both logs, as they are."""
    logs = []
    for name, path in (("stdout", layout.STDOUT), ("stderr", layout.STDERR)):
        with contextlib.suppress(StageOutError):
            entry = describe(work, os.path.join(work, path), {"id": name, "media_type": "text/plain"})
            logs.append(entry or {})
    return logs


def _matches(work: str, pattern: str) -> list[str]:
    """Return the paths that a result's path or pattern stands for, in order."""
    parts = pattern.split("/")
    if pattern.startswith("/") or ".." in parts:
        raise StageOutError(f"The result path {pattern!r} leaves the output folder.")
    output = os.path.join(work, layout.OUTPUT)
    if "*" not in pattern:
        path = os.path.join(output, *parts)
        return [path] if os.path.lexists(path) else []
    escaped = "*".join(glob.escape(part) for part in pattern.split("*"))
    matches = glob.glob(os.path.join(glob.escape(output), escaped))  # Python 3.9 has no `root_dir`
    names = [os.path.relpath(path, output) for path in matches if not os.path.isdir(path)]
    if len(names) > MAX_MATCHES:
        raise StageOutError(f"{len(names)} files match {pattern!r}; at most {MAX_MATCHES} may.")
    return [os.path.join(output, name) for name in sorted(names)]


def describe(
    work: str,
    path: str,
    fields: Mapping[str, Any],
    skip: Collection[Identity] = (),
    deliver: Deliver | None = None,
) -> dict[str, Any] | None:
    """Return the ``fields`` of a file with its source, size and digest; None if it is skipped or not delivered.

    One descriptor serves for looking, hashing and delivering. A link to another file of the same folder is followed
    here, once; the file itself is opened without following any.
    """
    relative = os.path.relpath(path, work)
    trusted = os.path.realpath(work)
    try:
        real = os.path.realpath(path)
    except OSError as error:  # what was a link a moment ago is none now
        raise StageOutError(f"{relative!r} can't be read: {error.strerror}.") from None
    # Only the work folder's own path is resolved: the command may have put a link in place of its output folder.
    if not real.startswith(os.path.join(trusted, relative.split("/")[0]) + "/"):
        raise StageOutError(f"{relative!r} is a link that leads out of its folder.")
    source = os.path.relpath(real, trusted)
    try:
        file = confined.open_below(trusted, source)
    except OSError as error:
        raise StageOutError(f"{relative!r} can't be read: {error.strerror}.") from None
    try:
        entry = os.fstat(file)
        if not stat.S_ISREG(entry.st_mode):
            raise StageOutError(f"{relative!r} is not a regular file.")
        if (entry.st_dev, entry.st_ino) in skip:
            return None
        open_file = Found(file, source, entry.st_size, confined.digest_of(file, entry.st_size))
        if os.fstat(file).st_size != entry.st_size:
            raise StageOutError(f"{relative!r} has grown while it was read.")
        described = {**fields, "source": source, "size": open_file.size, "sha256": open_file.sha256}
        return described if deliver is None or deliver(described, open_file) else None
    except confined.Changed as error:
        raise StageOutError(f"{relative!r} {error}.") from None
    finally:
        os.close(file)


def _name(path: str) -> str:
    """Return a file's name as a result id.

    One URL segment that needs no escaping.
    """
    name = "".join(c if c in _SAFE else "_" for c in os.path.basename(path))
    if len(name) > MAX_NAME_LENGTH:  # stores need room for more, such as the name of an upload on its way
        name = name[: MAX_NAME_LENGTH - _ENDING_LENGTH] + name[-_ENDING_LENGTH:]
    return name if name.strip(".") else "_" * len(name)


def _unique(name: str, names: Collection[str]) -> str:
    """Return the name, or the name with the first number that makes it unique."""
    candidate, number = name, 1
    while candidate in names:
        number += 1
        candidate = f"{name}-{number}"
    return candidate

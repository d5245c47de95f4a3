"""Open files that a command may have replaced.

No link is followed, no pipe is waited for.

The command can replace any part of a path between two system calls. So a file is opened once, by one path that the
kernel resolves below a folder without symbolic links (``openat2``; part by part where there is none), and all that is
then asked of it is asked of the descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_OPENAT2 = 437
"""Number of the system call, the same on all machines that Linux 5.6 and later know, but Alpha."""
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_RESOLVE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_POSSIBLE = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG})
"""An older kernel, or a container runtime whose filter does not know the call."""
TRIES = 8
"""So often a path is looked up again while folders are renamed under the lookup."""
SMALL_FILE_BYTES = 1 << 24
"""Most bytes of a file that is read as a whole."""

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    """What ``openat2`` is to do (``struct open_how``)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Changed(Exception):
    """A file has changed since it was opened.

    The text says in what.
    """


def open_below(folder: str, path: str, *, kernel: bool = True) -> int:
    """Open a file below a folder for reading.

    Parameters
    ----------
    folder
        Trusted; links in its own path are followed.
    path
        Relative, without ``..``.
    kernel
        False: part by part, as on a machine without ``openat2``.

    Raises
    ------
    OSError
        It is not there, may not be read, or a part of the path is a link (ELOOP) or no folder.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    top = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if kernel:
            descriptor = _by_kernel(top, path)
            if descriptor is not None:
                return descriptor
        return _by_parts(top, parts)
    finally:
        os.close(top)


def _by_kernel(top: int, path: str) -> int | None:
    how_to_open = _How(_READ, 0, _RESOLVE)
    size = ctypes.c_size_t(ctypes.sizeof(how_to_open))
    for _ in range(TRIES):
        call = ctypes.c_long(_OPENAT2), ctypes.c_long(top), os.fsencode(path), ctypes.byref(how_to_open), size
        descriptor = int(_libc.syscall(*call))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number in _NOT_POSSIBLE:
            return None
        if number not in (errno.EAGAIN, errno.EINTR):
            raise OSError(number, os.strerror(number), path)
    return None


def _by_parts(top: int, parts: list[str]) -> int:
    at = top
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=at)
            if at != top:
                os.close(at)
            at = below
        return os.open(parts[-1], _READ, dir_fd=at)
    finally:
        if at != top:
            os.close(at)


@contextmanager
def regular(folder: str, path: str) -> Iterator[int]:
    """Yield the descriptor of a regular file.

    OSError (EINVAL) for anything else that may lie there.
    """
    file = open_below(folder, path)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        yield file
    finally:
        os.close(file)


def read_small(folder: str, path: str, limit: int = SMALL_FILE_BYTES) -> bytes:
    """Return the content of a small regular file.

    OSError (EFBIG) beyond ``limit`` bytes.
    """
    with regular(folder, path) as file:
        content = os.pread(file, min(limit, os.fstat(file).st_size) + 1, 0)
    if len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content


def read_tail(folder: str, path: str, limit: int) -> bytes:
    """Return the last bytes of a regular file."""
    with regular(folder, path) as file:
        return os.pread(file, limit, max(0, os.fstat(file).st_size - limit))


class Content:
    """The bytes of an open file, up to its size then.

    Neither more nor less ever comes of it: a file that grows is cut there, and one that shrinks is `Changed`.
    """

    def __init__(self, file: int, size: int) -> None:
        self.file, self.size = file, size
        self.at = 0

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes; none at the end."""
        remaining = self.size - self.at
        count = remaining if count < 0 else min(count, remaining)
        if not count:
            return b""
        try:
            chunk = os.pread(self.file, count, self.at)
        except OSError as error:
            raise Changed(f"can't be read: {error.strerror}") from None
        if not chunk:
            raise Changed(f"was cut to {self.at} of {self.size} bytes while it was read")
        self.at += len(chunk)
        return chunk


def digest_of(file: int, size: int) -> str:
    """Return the SHA-256 of an open file, in hex.

    It is of the first bytes; `Changed` if there are fewer.
    """
    import hashlib  # 3 ms that only the end of an attempt needs

    digest = hashlib.sha256()
    content = Content(file, size)
    while chunk := content.read(1 << 18):
        digest.update(chunk)
    return digest.hexdigest()

"""Which files the command has closed, and when.

Told by the kernel (inotify), across containers of one pod.

A file that was closed well before the end was complete then; one that the end itself closed may be cut short. Without
inotify (no such system call, or no watches left) nothing counts as complete, which is the safe answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import time

_IN_MODIFY, _IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_CREATE, _IN_ISDIR = 0x2, 0x8, 0x80, 0x100, 0x40000000
_IN_ONLYDIR, _IN_DONT_FOLLOW = 0x1000000, 0x2000000
_MASK = _IN_MODIFY | _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_CREATE | _IN_ONLYDIR | _IN_DONT_FOLLOW
_HEAD = struct.Struct("iIII")
MOST_FOLDERS = 1000
MOST_FILES = 100_000
"""Of more names than this all are forgotten: then nothing counts as complete, and memory has a bound."""


class Watch:
    """Follows a folder and the folders in it."""

    def __init__(self, top: str) -> None:
        self.top = top
        self._handle = -1
        self._folders: dict[int, str] = {}
        self._closed: dict[str, float] = {}

    def start(self) -> None:
        """Begin to follow."""
        with contextlib.suppress(OSError, AttributeError):
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._handle = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            self._add(self.top)

    def _add(self, path: str) -> None:
        if self._handle < 0 or len(self._folders) >= MOST_FOLDERS:
            return
        number = self._libc.inotify_add_watch(self._handle, os.fsencode(path), _MASK)
        if number >= 0:
            self._folders[number] = path
            with contextlib.suppress(OSError), os.scandir(path) as entries:
                for entry in entries:  # made before the watch was there
                    if entry.is_dir(follow_symlinks=False):
                        self._add(entry.path)
                    else:  # if it is still open, its closing will be told
                        self._closed.setdefault(entry.path, time.monotonic())

    def read(self) -> None:
        """Take in what has happened since the last call."""
        while self._handle >= 0:
            try:
                events = os.read(self._handle, 1 << 16)
            except OSError:
                return
            offset = 0
            while offset < len(events):
                number, mask, _, length = _HEAD.unpack_from(events, offset)
                name = events[offset + _HEAD.size : offset + _HEAD.size + length].rstrip(b"\0")
                offset += _HEAD.size + length
                self._note(os.path.join(self._folders.get(number, self.top), os.fsdecode(name)), mask)

    def _note(self, path: str, mask: int) -> None:
        if mask & _IN_ISDIR:
            self._add(path)
        elif mask & (_IN_CLOSE_WRITE | _IN_MOVED_TO):
            if len(self._closed) >= MOST_FILES:
                self._closed.clear()
            self._closed[path] = time.monotonic()
        elif mask & _IN_MODIFY:
            self._closed.pop(path, None)

    def was_closed(self, path: str, before: float) -> bool:
        """Return whether a file was closed before an instant (monotonic) and not written since."""
        at = self._closed.get(path)
        return at is not None and at <= before

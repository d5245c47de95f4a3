"""A command that changes its files while they are read: ``python attacker.py FOLDER NAME SECRET [patient]``.

It goes on until it is killed. If it is patient, it lets its file be opened and checked, as inotify tells, and only then
puts a link to the secret in its place.

``FOLDER/NAME`` is by turns a regular file, a link to the secret, a pipe, a folder, a second name for another file, a
file that grows and one that is cut; ``FOLDER`` holds ``inner/NAME`` too, where ``inner`` itself becomes a link.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import select
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

OWN_BYTES = b"a result of the command itself\n"


def swap(make: Callable[[Path], object], target: Path) -> None:
    """Replace a path at once."""
    draft = target.parent / f".{target.name}.draft"
    with contextlib.suppress(OSError):
        if draft.is_dir() and not draft.is_symlink():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)
        make(draft)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif draft.is_dir() and not draft.is_symlink():
            target.unlink(missing_ok=True)
        draft.rename(target)


def main(folder: Path, name: str, secret: Path) -> None:
    size = secret.stat().st_size
    own_bytes = OWN_BYTES * (size // len(OWN_BYTES) + 1)
    other_file = folder / "other"
    other_file.write_bytes(own_bytes[:size])
    target, inner = folder / name, folder / "inner"

    def grow(path: Path) -> None:
        path.write_bytes(own_bytes[:size])
        path.rename(target)
        with target.open("ab") as file:
            for _ in range(20):
                file.write(OWN_BYTES)
                file.flush()

    def cut(path: Path) -> None:
        path.write_bytes(own_bytes[:size])
        path.rename(target)
        os.truncate(target, random.randrange(size))

    def folder_of_own(path: Path) -> None:
        path.mkdir()
        (path / name).write_bytes(own_bytes[:size])

    kinds: list[Callable[[Path], object]] = [
        lambda path: path.write_bytes(own_bytes[:size]),
        lambda path: path.symlink_to(secret),
        lambda path: path.write_bytes(own_bytes[:size]),
        lambda path: path.symlink_to(os.path.relpath(secret, folder)),
        lambda path: os.link(other_file, path),
        os.mkfifo,
        grow,
        cut,
        Path.mkdir,
    ]
    while True:
        for kind in random.sample(kinds, len(kinds)):
            swap(kind, target)
            swap(random.choice([folder_of_own, lambda path: path.symlink_to(secret.parent)]), inner)


def wait_patiently(folder: Path, name: str, secret: Path) -> None:
    (folder / "inner").mkdir()
    library = ctypes.CDLL(None)
    events = library.inotify_init1(os.O_NONBLOCK)
    own_bytes = (OWN_BYTES * (secret.stat().st_size // len(OWN_BYTES) + 1))[: secret.stat().st_size]
    while True:
        swap(lambda path: path.write_bytes(own_bytes), folder / name)
        watch = library.inotify_add_watch(events, os.fsencode(folder / name), 0x20)  # IN_OPEN
        if select.select([events], [], [], 5)[0]:
            swap(lambda path: path.symlink_to(secret), folder / name)
            select.select([], [], [], 0.05)  # as long as a checked file may be opened once more
        library.inotify_rm_watch(events, watch)
        with contextlib.suppress(BlockingIOError):
            os.read(events, 1 << 16)


if __name__ == "__main__":
    (wait_patiently if sys.argv[4:] else main)(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))

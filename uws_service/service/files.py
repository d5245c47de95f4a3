"""The files of jobs, as requests use them: uploads, results, logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol


class StoredFile(Protocol):
    """A file that was just stored."""

    @property
    def size(self) -> int:
        """Return its size in bytes."""

    @property
    def sha256(self) -> str:
        """Return the digest of its content, in hex."""


class FileInfo(Protocol):
    """A file that is there."""

    @property
    def size(self) -> int:
        """Return its size in bytes."""


class FilesHold(Protocol):
    """Marks a prefix as in use, for every process."""

    @property
    def prefix(self) -> str:
        """Return the prefix."""

    def begin(self) -> None:
        """Mark it from now on, with the first file that is stored there."""

    async def release(self) -> None:
        """Mark it no more."""


class Files(Protocol):
    """The files of jobs in the depot, by key."""

    folder: Path | None
    """The folder in which the keys are paths, if there is one."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_size: int) -> StoredFile:
        """Store a file as it comes.

        One of more than ``max_size`` bytes is refused, and nothing of it stays.
        """

    async def head(self, key: str) -> FileInfo | None:
        """Return the file of a key, or None."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of a file, or a range of them."""

    def hold(self, prefix: str) -> FilesHold:
        """Return what marks a prefix as in use, for every process."""

    def notice(self) -> str:
        """Return what does not work now.

        Empty if all is well.
        """

    async def delete_prefix(self, prefix: str) -> int:
        """Remove everything below a prefix.

        Return the number of files.
        """

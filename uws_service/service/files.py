"""The files of jobs, as requests use them: uploads, results, logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
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

    def held(self, prefix: str) -> AbstractAsyncContextManager[Callable[[], None]]:
        """Mark a prefix as in use while the block runs, for every process.

        The block calls its value with the first file that it stores there.
        """

    def notice(self) -> str:
        """Return what does not work now; empty if all is well."""

    async def delete_prefix(self, prefix: str) -> int:
        """Remove everything below a prefix; return the number of files."""

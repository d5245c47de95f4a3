"""What callers' requests do with the files of jobs: uploads, results, logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol


class StoredFile(Protocol):
    """A file that was just stored."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def sha256(self) -> str:
        """The digest of what was stored, in hex."""


class FileInfo(Protocol):
    """A file that is there."""

    @property
    def size(self) -> int:
        """Its bytes."""


class Files(Protocol):
    """The files of jobs, by key; the depot has them."""

    folder: Path | None
    """The folder in which the keys are paths, if there is one."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, max_size: int) -> StoredFile:
        """Store a file as it comes; more than ``max_size`` bytes are refused, and nothing of it stays."""

    async def head(self, key: str) -> FileInfo | None:
        """Return what is there of a key; None if nothing is."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes of a file, or a range of them, in chunks."""

    def held(self, prefix: str) -> AbstractAsyncContextManager[Callable[[], None]]:
        """While the block runs, show to every process that what lies below a prefix is in use.

        What it gives is called with the first file that is put there.
        """

    def notice(self) -> str:
        """Return what does not work at present; nothing if all is well."""

    async def delete_prefix(self, prefix: str) -> int:
        """Remove everything below a prefix; how many files that were."""

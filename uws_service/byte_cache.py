"""A cache bounded by bytes, not by the number of entries."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 300
"""Overhead of an entry: two objects and a place in a table."""


class ByteCache(Generic[K, V]):
    """Values by key, the oldest ones dropped first.

    Parameters
    ----------
    max_bytes
        Size of all entries together.
    max_entry_bytes
        Size beyond which an entry is not cached; a tenth of ``max_bytes`` by default.
    """

    __slots__ = ("_entries", "_size", "max_bytes", "max_entry_bytes")

    def __init__(self, max_bytes: int, max_entry_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self.max_entry_bytes = max_bytes // 10 if max_entry_bytes is None else max_entry_bytes
        self._entries: dict[K, tuple[V, int]] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Return the size of all entries in bytes."""
        return self._size

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Add a value, unless it is too large.

        ``size`` is in bytes, the key included.
        """
        self.drop(key)
        size += ENTRY_BYTES
        if size > self.max_entry_bytes:
            return
        while self._size + size > self.max_bytes:
            self.drop(next(iter(self._entries)))
        self._entries[key] = (value, size)
        self._size += size

    def drop(self, key: K) -> None:
        """Forget a key."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry[1]

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._size = 0

"""A cache that is bounded by the bytes that it holds, not by how many things it has."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 300
"""What each entry costs beside what it holds: two objects and a place in a table."""


class ByteCache(Generic[K, V]):
    """Values by key, the oldest ones dropped first.

    Parameters
    ----------
    most
        Bytes that all entries together may have.
    largest
        Bytes beyond which an entry is not kept; a tenth of ``most`` if it is not given.
    """

    __slots__ = ("_entries", "_held", "largest", "most")

    def __init__(self, most: int, largest: int | None = None) -> None:
        self.most = most
        self.largest = most // 10 if largest is None else largest
        self._entries: dict[K, tuple[V, int]] = {}
        self._held = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held(self) -> int:
        """Bytes of all entries."""
        return self._held

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value of so many bytes, its key included; one that is too large is not kept."""
        self.drop(key)
        size += ENTRY_BYTES
        if size > self.largest:
            return
        while self._held + size > self.most:
            self.drop(next(iter(self._entries)))
        self._entries[key] = (value, size)
        self._held += size

    def drop(self, key: K) -> None:
        """Forget a key."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._held -= entry[1]

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._held = 0

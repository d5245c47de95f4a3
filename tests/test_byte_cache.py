"""A cache that is bounded by bytes."""

from __future__ import annotations

from uws_service.byte_cache import ENTRY_BYTES, ByteCache


def test_bytes_are_bounded() -> None:
    """The bound holds for any values."""
    cache: ByteCache[int, bytes] = ByteCache(100_000)
    for number in range(1000):
        cache.put(number, bytes(number), number)
        assert cache.size <= 100_000
    assert cache.get(999) == bytes(999) and cache.get(0) is None and len(cache) > 50


def test_what_is_too_large_is_not_kept() -> None:
    """A large value displaces no other value."""
    cache: ByteCache[str, bytes] = ByteCache(100_000, 10_000)
    cache.put("small", b"1", 1)
    cache.put("grows", b"1", 1)
    cache.put("grows", bytes(20_000), 20_000)
    assert cache.get("grows") is None and cache.get("small") == b"1" and cache.size == 1 + ENTRY_BYTES


def test_small_entries_have_a_price() -> None:
    """A million of nothing is something."""
    cache: ByteCache[int, None] = ByteCache(1_000_000)
    for number in range(10_000):
        cache.put(number, None, 0)
    assert len(cache) <= 1_000_000 // ENTRY_BYTES
    cache.drop(9_999)
    cache.drop(9_999)
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)

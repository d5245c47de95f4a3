"""Sizes, durations and instants as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def in_bytes(size: float) -> str:
    """Return a size in decimal units, as networks count."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} PB" if size < 1000 else f"{size:,.0f} PB"


def in_memory(size: float) -> str:
    """Return a size in binary units, as memory is counted."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def in_time(seconds: float) -> str:
    """Return a duration to two digits or so."""
    if seconds < 1:
        return "less than a second"
    for unit, length, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def at_instant(instant_ms: int) -> str:
    """Return an instant in UTC to the minute."""
    return datetime.fromtimestamp(instant_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")

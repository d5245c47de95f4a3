"""The clock and the ids of jobs."""

from __future__ import annotations

import os
import threading
import time


def now_ms() -> int:
    """Return the present, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


_STOCK_BYTES = 4096
_lock = threading.Lock()
_stock = bytearray()


def _random_bytes(number: int) -> bytes:
    """Return bytes of the system's generator.

    They are fetched in larger portions, since each call goes to the kernel; a forked process has none of its parent's.
    """
    with _lock:
        if len(_stock) < number:
            _stock[:] = os.urandom(_STOCK_BYTES)
        taken = bytes(_stock[-number:])
        del _stock[-number:]
    return taken


def _begin_anew() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    _stock.clear()


os.register_at_fork(after_in_child=_begin_anew)


def new_id(now: int) -> str:
    """Return a new job id for an instant.

    It is a UUID version 7 in hex (RFC 9562 §5.7): ids grow with time and 74 bits can't be guessed. Hexadecimal digits
    need no escaping in a URL (U-009), and no client trips over them (C-35).
    """
    tail = int.from_bytes(_random_bytes(10), "big")
    random_a, random_b = tail >> 68, tail & ((1 << 62) - 1)
    return f"{now:012x}7{random_a:03x}{(0b10 << 62) | random_b:016x}"


def id_instant(job_id: str) -> int | None:
    """Return when an id was made, in milliseconds.

    None if it is no id of a job.
    """
    try:
        return int(job_id[:12], 16) if len(job_id) == 32 else None
    except ValueError:
        return None

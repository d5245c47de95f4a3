"""How long a test waits for what must happen.

So long that only a fault, never a busy machine, is over the limit.

A wait ends as soon as its condition holds, so a long limit costs nothing where all is well.
"""

from __future__ import annotations

from httpx2 import _config

SECONDS = 180.0


def pytest_configure() -> None:
    """Raise the five seconds that httpx2 waits by default, which a service on a busy machine may need."""
    limits = _config.DEFAULT_TIMEOUT_CONFIG
    limits.connect = limits.read = limits.write = limits.pool = SECONDS

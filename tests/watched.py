"""The service with a watch on its event loop.

Each long pause is a line in the file that WATCH names.

A line has the seconds of CPU time that the loop's own thread spent in one go, and the seconds that went by meanwhile.
The first does not depend on what else the machine does.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from uws_service import runtime
from uws_service.cli import main
from uws_service.web.app import App

TICK_SECONDS = 0.005
NOTED_SECONDS = 0.05


async def watch(path: Path) -> None:
    """Write down every pause, for ever."""
    while True:
        cpu, wall = time.thread_time(), time.monotonic()
        await asyncio.sleep(TICK_SECONDS)
        cpu, wall = time.thread_time() - cpu, time.monotonic() - wall - TICK_SECONDS
        if max(cpu, wall) > NOTED_SECONDS:
            with path.open("a") as file:
                file.write(f"{cpu:.3f} {wall:.3f}\n")


class WatchedApp(App):
    """Starts the watch with the service."""

    @asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:
        async with super()._lifespan(app):
            watching = asyncio.create_task(watch(Path(os.environ["WATCH"])))
            yield
            watching.cancel()


def longest_pauses(path: Path) -> tuple[float, float]:
    """Return the longest pause in CPU seconds of the loop's thread, and in seconds; then begin anew."""
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    pairs = [tuple(map(float, line.split())) for line in lines]
    return max((pair[0] for pair in pairs), default=0.0), max((pair[1] for pair in pairs), default=0.0)


if __name__ == "__main__":
    runtime.App = WatchedApp  # type: ignore[attr-defined]
    sys.exit(main())

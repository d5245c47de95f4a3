"""How long the service takes from its start until it is ready, and the command line until it has helped."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.bench.__main__ import Figure
from tests.server import ROOT, Server

STARTS, HELPS = 7, 15
READY_SECONDS, HELP_SECONDS = 1.0, 0.15
"""Targets."""


async def measure(folder: Path) -> list[Figure]:
    """Return medians.

    The first start of the service, which makes its database, counts apart.
    """
    return await asyncio.to_thread(_measured, folder)


def _measured(folder: Path) -> list[Figure]:
    bare: list[float] = []
    helped: list[float] = []
    for _ in range(HELPS):  # in turns
        bare.append(_run("-c", "pass"))
        helped.append(_run("-m", "uws_service", "--help"))
    server = Server(folder / "service", warm=False)
    (first, _), *starts = [_start(server) for _ in range(1 + STARTS)]
    ready = statistics.median(seconds for seconds, _ in starts)
    work = statistics.median(cpu for _, cpu in starts)
    return [
        Figure.most(
            "uws-service --help",
            statistics.median(helped),
            HELP_SECONDS,
            f"median of {HELPS}; Python alone {statistics.median(bare):.3f} s",
            "s",
        ),
        Figure.most(
            "service ready after its start",
            ready,
            READY_SECONDS,
            f"to the first 200 of /readyz, median of {STARTS}; {first:.2f} s with a database to make",
            "s",
        ),
        Figure.plain(
            "the same / Python alone",
            ready / statistics.median(bare),
            "how long a start takes if nothing else runs is the time of Python alone there, times this",
            "ratio",
        ),
        Figure.plain("processor time of a start", work, f"of the service's process, median of {STARTS}", "s"),
    ]


def _run(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return time.perf_counter() - began


def _start(server: Server) -> tuple[float, float]:
    """Return the seconds until the service is ready, and those of its processor time."""
    began = time.perf_counter()
    try:
        server.start()
        seconds = time.perf_counter() - began
        assert server.process is not None
        times = psutil.Process(server.process.pid).cpu_times()
        return seconds, float(times.user + times.system)
    finally:
        server.stop()

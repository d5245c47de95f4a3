"""`sleep 0` jobs through the local site, from POST to COMPLETED, a second; against the same command without us."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from tests.bench.__main__ import Figure
from tests.server import Server

JOBS, TURNS = 200, 4
RATIO = 0.7
"""Target."""


async def measure(folder: Path) -> list[Figure]:
    """Run 200 jobs, four at a time.

    The bare figure starts the same program 200 times, four at a time. Both in turns of 50: what else the machine does
    meets both alike.
    """
    output = folder / "out"
    output.mkdir()
    server = Server(folder / "service", warm=False)
    server.start()
    bare, ours = [], []
    try:
        with httpx2.Client(timeout=60) as http:
            _run_jobs(http, server.url, 4)  # the first ones start what later ones share
            for _ in range(TURNS):
                bare.append(await asyncio.to_thread(_run_programs, output, JOBS // TURNS))
                ours.append(await asyncio.to_thread(_run_jobs, http, server.url, JOBS // TURNS))
    finally:
        server.stop()
    rate, bare_rate = JOBS / sum(ours), JOBS / sum(bare)
    description = f"{rate:.1f} jobs/s against {bare_rate:.1f}/s of the bare program, four at a time"
    return [
        Figure.plain("sleep 0 jobs", rate, description, "jobs/s"),
        Figure.least("sleep 0 jobs, against the bare program", rate / bare_rate, RATIO, description),
    ]


def _run_programs(output: Path, count: int) -> float:
    """Return the seconds that bare programs take."""

    def program(_: int) -> None:
        subprocess.run(
            [sys.executable, "-m", "uws_service.apps.sleep", "--seconds=0"],
            check=True,
            capture_output=True,
            env={"UWS_OUTPUT_DIR": str(output), "UWS_INPUT_DIR": str(output), "PATH": "/usr/bin:/bin"},
        )

    began = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(program, range(count)))
    return time.perf_counter() - began


def _run_jobs(http: httpx2.Client, url: str, count: int) -> float:
    """Return the seconds from the first POST to the last COMPLETED."""
    began = time.perf_counter()
    jobs = [
        http.post(f"{url}/sleep/async", data={"SECONDS": "0", "PHASE": "RUN"}).headers["location"] for _ in range(count)
    ]
    for job in jobs:
        while (phase := http.get(f"{job}/phase").text) in ("QUEUED", "EXECUTING"):
            http.get(f"{job}?WAIT=5&PHASE={phase}")
        assert phase == "COMPLETED"
    return time.perf_counter() - began

"""`sleep 0` jobs through the local site, from POST to COMPLETED, a second; against the same command without us."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from tests.bench.__main__ import Figure
from tests.server import Server

JOBS = 200


async def measure(folder: Path) -> list[Figure]:
    """Run 200 jobs, four at a time.

    The bare figure starts the same program 200 times, four at a time.
    """
    output = folder / "out"
    output.mkdir()

    def program(_: int) -> None:
        subprocess.run(
            [sys.executable, "-m", "uws_service.apps.sleep", "--seconds=0"],
            check=True,
            capture_output=True,
            env={"UWS_OUTPUT_DIR": str(output), "UWS_INPUT_DIR": str(output), "PATH": "/usr/bin:/bin"},
        )

    began = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(program, range(JOBS)))
    bare = JOBS / (time.perf_counter() - began)
    server = Server(folder / "service")
    server.start()
    try:
        with httpx2.Client(timeout=60) as http:
            began = time.perf_counter()
            jobs = [
                http.post(f"{server.url}/sleep/async", data={"SECONDS": "0", "PHASE": "RUN"}).headers["location"]
                for _ in range(JOBS)
            ]
            for job in jobs:
                while (phase := http.get(f"{job}/phase").text) in ("QUEUED", "EXECUTING"):
                    http.get(f"{job}?WAIT=5&PHASE={phase}")
                assert phase == "COMPLETED"
            rate = JOBS / (time.perf_counter() - began)
    finally:
        server.stop()
    description = f"{rate:.1f} jobs/s against {bare:.1f}/s of the bare program, four at a time"
    return [
        Figure.plain("sleep 0 jobs", rate, description, "jobs/s"),
        Figure.plain("sleep 0 jobs, against the bare program", rate / bare, description, "ratio"),
    ]

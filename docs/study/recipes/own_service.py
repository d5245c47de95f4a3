"""This service, embedded: one process, its start, its memory, and a job that does nothing."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import httpx2
import psutil
from recipe import Show, main, resident

from tests.server import Server

JOBS = 5
SLEEP = {"SECONDS": "0", "PHASE": "RUN"}


def run_job(client: httpx2.Client) -> float:
    """Run a job of the application sleep; return the seconds from its submission until its end is known."""
    began = time.perf_counter()
    job = client.post("/sleep/async", data=SLEEP).headers["Location"]
    phase = "QUEUED"
    while phase in ("QUEUED", "EXECUTING"):
        client.get(job, params={"WAIT": "60", "PHASE": phase})  # answers as soon as the phase is another one
        phase = client.get(f"{job}/phase").text
    seconds = time.perf_counter() - began
    assert phase == "COMPLETED", phase
    return seconds


def measure(folder: Path, show: Show) -> None:
    """Start the service twice, run jobs, and show the figures."""
    server = Server(folder)
    try:
        began = time.perf_counter()
        server.start()
        show("ours.start", time.perf_counter() - began, "s with a database to make")
        server.stop()
        began = time.perf_counter()
        server.start()
        show("ours.restart", time.perf_counter() - began, "s")
        with httpx2.Client(base_url=server.url, timeout=90, trust_env=False) as client:
            run_job(client)  # the first one starts what later ones are forked from
            show("ours.job", statistics.median(run_job(client) for _ in range(JOBS)), "s, median of five")
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        show("ours.memory", resident([process]), "MiB")
        show("ours.memory_all", resident([process, *process.children(recursive=True)]), "MiB with what jobs start from")
    finally:
        server.stop()


if __name__ == "__main__":
    main(__doc__, measure)

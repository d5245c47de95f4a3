"""GET and creation of jobs beside a bare app.

It answers with the same bytes. Both databases are measured.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from tests import databases
from tests.bench.__main__ import Figure
from tests.bench.load import median_ratio, rate, request_bytes
from tests.server import Server, free_port

CREATE = b"SECONDS=0&RUNID=bench"
WRITERS = 64


@contextmanager
def bare_app(document: bytes) -> Iterator[tuple[str, psutil.Process]]:
    """Yield the URL of the bare app, and its process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare", str(port)], env={**os.environ, "BARE_DOCUMENT": document.hex()}
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                httpx2.get(f"{url}/a/async/b/phase")
                break
            except httpx2.TransportError:
                time.sleep(0.05)
        yield url, psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


async def measure(folder: Path) -> list[Figure]:
    """Measure both databases in the same run."""
    figures = []
    for name, url, targets in (
        ("SQLite", None, (0.8, 0.75, 0.2)),
        ("PostgreSQL", databases.new_postgresql(), (0.6, 0.6, 0.12)),
    ):
        settings = {"UWS_DATABASE": url, "UWS_AUTO_MIGRATE": "true"} if url else {}
        server = Server(folder / name, settings, warm=False)
        server.start()
        try:
            figures += await _one(server, name, targets)
        finally:
            server.stop()
    return figures


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _one(server: Server, name: str, targets: tuple[float, float, float]) -> list[Figure]:
    assert server.process is not None
    service = psutil.Process(server.process.pid)
    with httpx2.Client(timeout=60) as http:
        response = http.post(f"{server.url}/sleep/async", data={"SECONDS": "0", "PHASE": "RUN"})
        job = response.headers["location"]
        while http.get(f"{job}/phase").text != "COMPLETED":
            http.get(f"{job}?WAIT=5")
        document = http.get(job).content
    path = job.removeprefix(server.url)
    with bare_app(document) as (bare, bare_process):

        async def compared(
            label: str, target: float, method: str, tail: str, body: bytes, status: int, connections: int
        ) -> list[Figure]:
            cpu_times: dict[psutil.Process, list[float]] = {service: [], bare_process: []}

            async def load(root: str, path: str, process: psutil.Process) -> float:
                request = request_bytes(root + path + tail, method, body)
                began, before = time.perf_counter(), _processor_seconds(process)
                result = await rate(root, lambda _: request, expect=status, connections=connections)
                requests = result * (time.perf_counter() - began)
                cpu_times[process].append(1e6 * (_processor_seconds(process) - before) / requests)
                return result

            ratio, service_rate, reference = await median_ratio(
                lambda: load(server.url, path if method == "GET" else "/sleep/async", service),
                lambda: load(bare, path if method == "GET" else "/sleep/async", bare_process),
            )
            service_time, bare_time = (statistics.median(times) for times in cpu_times.values())
            rates = f"{service_rate:.0f}/s against {reference:.0f}/s of the bare app"
            description = f"{rates}, {connections} connections, median of 5"
            by_time = (
                f"processor time of the bare app against the service's: {bare_time:.0f} µs and {service_time:.0f} µs "
                "a request"
            )
            return [
                Figure.least(f"{label}, {name}", ratio, target, description),
                Figure.least(f"{label}, {name}, by processor time", bare_time / service_time, target, by_time),
            ]

        phase, job_target, create = targets
        return [
            *await compared("GET phase", phase, "GET", "/phase", b"", 200, 16),
            *await compared("GET job", job_target, "GET", "", b"", 200, 16),
            *await compared("POST job, durable", create, "POST", "", CREATE, 303, WRITERS),
        ]

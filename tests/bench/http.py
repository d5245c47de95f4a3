"""GET and creation of jobs beside a bare app.

It answers with the same bytes. Both databases are measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests import databases
from tests.bench.__main__ import Figure
from tests.bench.load import median_ratio, rate, request_bytes
from tests.server import Server, free_port

CREATE = b"SECONDS=0&RUNID=bench"
WRITERS = 64


@contextmanager
def bare_app(document: bytes) -> Iterator[str]:
    """Yield the URL of the bare app."""
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
        yield url
    finally:
        process.kill()
        process.wait()


async def measure(folder: Path) -> list[Figure]:
    """Measure both databases in the same run."""
    figures = []
    for name, url, factor in (
        ("SQLite", None, 1.0),
        ("PostgreSQL", databases.new_postgresql(), 0.5),
    ):
        settings = {"UWS_DATABASE": url, "UWS_AUTO_MIGRATE": "true"} if url else {}
        server = Server(folder / name, settings)
        server.start()
        try:
            figures += await _one(server, name, factor)
        finally:
            server.stop()
    return figures


async def _one(server: Server, name: str, factor: float) -> list[Figure]:
    with httpx2.Client(timeout=60) as http:
        response = http.post(f"{server.url}/sleep/async", data={"SECONDS": "0", "PHASE": "RUN"})
        job = response.headers["location"]
        while http.get(f"{job}/phase").text != "COMPLETED":
            http.get(f"{job}?WAIT=5")
        document = http.get(job).content
    path = job.removeprefix(server.url)
    with bare_app(document) as bare:

        async def compared(
            label: str, target: float, method: str, tail: str, body: bytes, status: int, connections: int
        ) -> Figure:
            def load(root: str, path: str) -> Awaitable[float]:
                request = request_bytes(root + path + tail, method, body)
                return rate(root, lambda _: request, expect=status, connections=connections)

            ratio, service_rate, reference = await median_ratio(
                lambda: load(server.url, path if method == "GET" else "/sleep/async"),
                lambda: load(bare, path if method == "GET" else "/sleep/async"),
            )
            rates = f"{service_rate:.0f}/s against {reference:.0f}/s of the bare app"
            description = f"{rates}, {connections} connections, median of 5"
            return Figure.least(f"{label}, {name}", ratio, target, description)

        return [
            await compared("GET phase", 0.5 * factor, "GET", "/phase", b"", 200, 16),
            await compared("GET job", 0.35 * factor, "GET", "", b"", 200, 16),
            await compared("POST job, durable", 0.05, "POST", "", CREATE, 303, WRITERS),
        ]

"""10,000 requests that block in one process.

How fast each wakes up, and what it costs in memory.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from pathlib import Path

import httpx2

from tests.bench.__main__ import Figure
from tests.bench.load import _read_answer, request_bytes
from tests.server import Server

WAITERS = 10_000
ABORTS_PER_SECOND = 200.0
"""Phase changes a second while the waiters are woken."""


def rss_kib(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


async def measure(folder: Path) -> list[Figure]:
    """Measure one waiter for each job.

    Then a tenth of the jobs are aborted one by one, at a steady rate.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 60_000), hard))
    server = Server(folder, {"UWS_LIMITS__WAIT": "600"}, warm=False)
    server.start()
    try:
        return await _measured(server)
    finally:
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _measured(server: Server) -> list[Figure]:
    async with httpx2.AsyncClient(timeout=60) as http:

        async def create() -> str:
            answer = await http.post(f"{server.url}/sleep/async")
            return str(answer.headers["location"])

        jobs: list[str] = []
        for _ in range(0, WAITERS, 50):
            jobs += await asyncio.gather(*(create() for _ in range(50)))
        pid = server.process.pid if server.process else 0
        before = rss_kib(pid)
        woken: dict[str, float] = {}
        connections = []

        async def wait(job: str) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            connections.append(writer)
            writer.write(request_bytes(f"{job}?WAIT=600&PHASE=PENDING"))
            status, body = await _read_answer(reader)
            woken[job] = time.perf_counter()
            assert status == 200 and b"ABORTED" in body, (status, body[:300])

        waiting: dict[str, asyncio.Task[None]] = {}
        for begin in range(0, WAITERS, 200):
            waiting |= {job: asyncio.create_task(wait(job)) for job in jobs[begin : begin + 200]}
            await asyncio.sleep(0.02)
        while (blocked := await _blocked(http, server)) < WAITERS:
            print(f"  {blocked} waiters block", flush=True)
            await asyncio.sleep(0.5)
        memory = (rss_kib(pid) - before) / WAITERS
        delays = []
        selection = jobs[:: WAITERS // 1000]
        for job in selection:
            answered = await http.post(f"{job}/phase", data={"PHASE": "ABORT"})
            assert answered.status_code == 303
            changed = time.perf_counter()
            await asyncio.wait_for(asyncio.shield(waiting[job]), 30)
            delays.append(max(woken[job] - changed, 0.0))
            await asyncio.sleep(max(0.0, 1 / ABORTS_PER_SECOND - (time.perf_counter() - changed)))
        delays.sort()
        for writer in connections:
            writer.close()
        for task in waiting.values():
            task.cancel()
        await asyncio.gather(*waiting.values(), return_exceptions=True)
    description = f"{WAITERS} waiters blocked, {len(selection)} aborted one by one; from ABORT's answer to the waiter's"
    return [
        Figure.plain("WAIT wake-up p50", statistics.median(delays) * 1e3, description, "ms"),
        Figure.most("WAIT wake-up p99", delays[int(len(delays) * 0.99)] * 1e3, 250, description, "ms"),
        Figure.most("memory per waiter", memory, 40, "growth of the service's memory, connections included", "KiB"),
    ]


async def _blocked(http: httpx2.AsyncClient, server: Server) -> int:
    metrics = (await http.get(f"{server.url}/metrics")).text
    for line in metrics.splitlines():
        if line.startswith("uws_waiters "):
            return int(float(line.split()[1]))
    return 0

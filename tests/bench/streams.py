"""10,000 streams of events in one process.

What each costs, idle and awake.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import time
from pathlib import Path

import httpx2

from tests.bench.__main__ import Figure
from tests.bench.load import request_bytes
from tests.bench.waiters import ABORTS_PER_SECOND, rss_kib
from tests.server import Server

STREAMS = 10_000
IDLE_SECONDS = 30.0


async def measure(folder: Path) -> list[Figure]:
    """Measure one stream for each job, idle for two heartbeats.

    Then a tenth of the jobs are aborted one by one, at a steady rate.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 60_000), hard))
    server = Server(folder, {"UWS_LIMITS__STREAMS": "20000", "UWS_LIMITS__STREAMS_EACH": "20000"}, warm=False)
    server.start()
    try:
        return await _measured(server)
    finally:
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _measured(server: Server) -> list[Figure]:
    async with httpx2.AsyncClient(timeout=60) as http:

        async def create() -> str:
            answer = await http.post(f"{server.url}/sleep/async")
            return str(answer.headers["location"])

        jobs: list[str] = []
        for _ in range(0, STREAMS, 50):
            jobs += await asyncio.gather(*(create() for _ in range(50)))
        pid = server.process.pid if server.process else 0
        before = rss_kib(pid)
        arrivals: dict[str, float] = {}
        opened = asyncio.Semaphore(0)

        async def follow(job: str) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=4096)
            try:
                writer.write(request_bytes(f"{job}/events"))
                await reader.readuntil(b'"phase":"PENDING"')
                opened.release()
                await reader.readuntil(b'"phase":"ABORTED"')
                arrivals[job] = time.perf_counter()
            finally:
                writer.close()

        following: dict[str, asyncio.Task[None]] = {}
        for begin in range(0, STREAMS, 200):
            following |= {job: asyncio.create_task(follow(job)) for job in jobs[begin : begin + 200]}
            await asyncio.sleep(0.02)
        for _ in range(STREAMS):
            await opened.acquire()
        memory = (rss_kib(pid) - before) / STREAMS
        spent, began = cpu_seconds(pid), time.perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        load = (cpu_seconds(pid) - spent) / (time.perf_counter() - began)
        delays = []
        for job in jobs[:: STREAMS // 1000]:
            answered = await http.post(f"{job}/phase", data={"PHASE": "ABORT"})
            assert answered.status_code == 303
            changed = time.perf_counter()
            await asyncio.wait_for(asyncio.shield(following[job]), 30)
            delays.append(max(arrivals[job] - changed, 0.0))
            await asyncio.sleep(max(0.0, 1 / ABORTS_PER_SECOND - (time.perf_counter() - changed)))
        delays.sort()
        for task in following.values():
            task.cancel()
        await asyncio.gather(*following.values(), return_exceptions=True)
    description = f"{STREAMS} streams open, {len(delays)} jobs aborted one by one; from ABORT's answer to the event"
    idle = f"of a core, {STREAMS} streams over {IDLE_SECONDS:.0f} s without an event, heartbeats included"
    return [
        Figure.plain("event delay p50", statistics.median(delays) * 1e3, description, "ms"),
        Figure.most("event delay p99", delays[int(len(delays) * 0.99)] * 1e3, 250, description, "ms"),
        Figure.most("memory per stream", memory, 40, "growth of the service's memory, connections included", "KiB"),
        Figure.plain("processor time of idle streams", load, idle, "cores"),
    ]

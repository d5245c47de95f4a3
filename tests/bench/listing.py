"""GET of the job list with LAST=100, with 1,000 and with 1,000,000 jobs in the store."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import httpx2

from tests.bench.__main__ import Figure
from tests.server import Server
from uws_service.domain.ids import new_id
from uws_service.domain.job import Job, Phase
from uws_service.store import Store

PHASES = (Phase.COMPLETED,) * 8 + (Phase.ERROR, Phase.ABORTED)


async def fill(url: str, count: int) -> None:
    """Write that many finished jobs."""
    store = await Store.open(url, create=True)
    start = time.time_ns() // 1_000_000 - 10 * count
    limit = asyncio.Semaphore(2000)

    async def one(number: int) -> None:
        at = start + 10 * number
        async with limit:
            await store.create(
                Job(
                    id=new_id(at),
                    application="sleep",
                    owner=None,
                    phase=PHASES[number % len(PHASES)],
                    created=at,
                    duration=60,
                    destruction=at + 10**11,
                ),
                actor="bench",
            )

    for begin in range(0, count, 20_000):
        await asyncio.gather(*(one(number) for number in range(begin, min(begin + 20_000, count))))
    await store.close()


async def measure(folder: Path) -> list[Figure]:
    """Measure a small and a large store."""
    servers = {}
    for count in (1_000, 1_000_000):
        server = Server(folder / str(count), warm=False)
        (folder / str(count) / "data").mkdir(parents=True)
        began = time.monotonic()
        await fill(f"sqlite:///{folder / str(count) / 'data' / 'uws.db'}", count)
        print(f"  {count} jobs written in {time.monotonic() - began:.0f} s", flush=True)
        server.start()
        servers[count] = server
    figures = []
    try:
        for name, path, bound in (
            ("list LAST=100", "/sleep/async?LAST=100", 1.5),
            ("list PHASE=ERROR&LAST=100", "/sleep/async?PHASE=ERROR&LAST=100", 1.5),
            ("/jobs", "/jobs", 1.5),
            ("/jobs, two phases", "/jobs?PHASE=ERROR&PHASE=ABORTED", 1.5),
            ("/jobs, the oldest of an application", "/jobs?APPLICATION=sleep&SORT=created", 1.5),
            # A page looks at 2,000 jobs: at all of the small store, and at twice as many of the large one.
            ("/jobs, a text that none has", "/jobs?TEXT=nothing", 3.0),
        ):
            times: dict[int, list[float]] = {count: [] for count in servers}
            with httpx2.Client(timeout=60) as http:
                for _ in range(300):
                    for count, server in servers.items():
                        began = time.perf_counter()
                        assert http.get(f"{server.url}{path}").status_code == 200
                        times[count].append(time.perf_counter() - began)
            small, large = (statistics.median(times[count]) for count in (1_000, 1_000_000))
            description = (
                f"median {large * 1e3:.2f} ms at 1,000,000 jobs, {small * 1e3:.2f} ms at 1,000; 300 each in turns"
            )
            figures.append(Figure.most(name, large / small, bound, description))
    finally:
        for server in servers.values():
            server.stop()
    return figures

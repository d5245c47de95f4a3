"""A day's load: jobs through their whole life, beside many that wait and many that list; ``make soak-day``.

Each job is made and run by one request, waited for, read with its result, and later deleted, so that the store ought to
stay as large as it is. They run ``sleep 0`` at the local site: a real process each. ``UWS_DAY_JOBS`` (1,000,000),
``UWS_DAY_WAITERS`` (10,000), ``UWS_DAY_LISTERS`` (100) and ``UWS_DAY_DATABASES`` (``sqlite postgresql``) make it
smaller.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg

from tests import databases
from tests.bench import day_chart
from tests.bench.__main__ import ROOT, Figure
from tests.bench.load import _read_answer, request_bytes
from tests.server import Server

JOBS = int(os.environ.get("UWS_DAY_JOBS", "1000000"))
WAITERS = int(os.environ.get("UWS_DAY_WAITERS", "10000"))
LISTERS = int(os.environ.get("UWS_DAY_LISTERS", "100"))
DATABASES = os.environ.get("UWS_DAY_DATABASES", "sqlite postgresql").split()
WORKERS = 16
"""Jobs that are in flight at once."""
RETAINED = min(5_000, max(50, JOBS // 20))
"""Ended jobs that are there at a time."""
LIST_SECONDS = 5.0
"""Between two looks of a list reader."""
SAMPLES = 120
"""Points of the chart."""
MIN_RATE = 100.0
MOST_GROWTH = 1.1
"""Of memory and store in the last tenth, against the third tenth, when what is kept is there."""


@dataclass(frozen=True)
class Sample:
    """What was seen at a time."""

    seconds: float
    jobs: int
    rate: float
    """Jobs a second since the last sample."""
    list_ms: float
    """The median of the lists since then."""
    memory_mib: float
    """Of the service's main process."""
    store_mib: float


@dataclass
class Day:
    """The load on one service."""

    server: Server
    database: str | None
    jobs: int
    ended: int = 0
    created: int = 0
    """Jobs that were made."""
    lists: list[float] = field(default_factory=list)
    all_lists: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    retained: deque[str] = field(default_factory=deque)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server.port)

    async def work(self) -> None:
        """Take jobs through their life, one after the other."""
        reader, writer = await self.connect()

        async def ask(url: str, method: str = "GET", body: bytes = b"") -> tuple[int, bytes, str]:
            writer.write(request_bytes(url, method, body))
            head = await reader.readuntil(b"\r\n\r\n")
            lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            length = int(lines.get(b"content-length", b"0"))
            content = await reader.readexactly(length) if length else b""
            return int(head[9:12]), content, lines.get(b"location", b"").decode()

        while self.created < self.jobs:
            self.created += 1
            status, content, job = await ask(f"{self.server.url}/sleep/async", "POST", b"SECONDS=0&PHASE=RUN")
            if status != 303:
                raise RuntimeError(f"{status}: {content[:300]!r}")
            phase = b"QUEUED"
            while phase in (b"QUEUED", b"EXECUTING"):
                await ask(f"{job}?WAIT=60&PHASE={phase.decode()}")
                _, phase, _ = await ask(f"{job}/phase")
            if phase != b"COMPLETED":
                raise RuntimeError(f"{job}: {phase!r}: {(await ask(f'{job}/error'))[1][:500]!r}")
            _, document, _ = await ask(job)
            result, _, _ = await ask(f"{job}/results/result")
            if b"COMPLETED" not in document or result != 200:
                raise RuntimeError(f"{job}: the result: {result}")
            self.ended += 1
            self.retained.append(job)
            while len(self.retained) > RETAINED:
                status, content, _ = await ask(self.retained.popleft(), "DELETE")
                if status != 303:
                    raise RuntimeError(f"{status}: {content[:300]!r}")
        writer.close()

    async def wait(self) -> None:
        """Block on a job that is never run, again and again."""
        reader, writer = await self.connect()
        try:
            writer.write(request_bytes(f"{self.server.url}/sleep/async", "POST", b"SECONDS=0"))
            head = await reader.readuntil(b"\r\n\r\n")
            job = next(line[10:].decode() for line in head.split(b"\r\n") if line.lower().startswith(b"location: "))
            while True:
                writer.write(request_bytes(f"{job}?WAIT=600&PHASE=PENDING"))
                status, body = await _read_answer(reader)
                if status != 200:
                    raise RuntimeError(f"{status}: {body[:300]!r}")
        finally:
            writer.close()

    async def list(self, number: int) -> None:
        """Look at the newest jobs now and then."""
        await asyncio.sleep(LIST_SECONDS * number / LISTERS)
        reader, writer = await self.connect()
        try:
            while True:
                began = time.perf_counter()
                writer.write(request_bytes(f"{self.server.url}/sleep/async?LAST=100"))
                status, body = await _read_answer(reader)
                if status != 200:
                    raise RuntimeError(f"{status}: {body[:300]!r}")
                self.lists.append(1000 * (time.perf_counter() - began))
                await asyncio.sleep(LIST_SECONDS)
        finally:
            writer.close()

    async def watch(self) -> None:
        """Take samples, evenly over the jobs."""
        assert self.server.process is not None
        process = psutil.Process(self.server.process.pid)
        began = last = time.perf_counter()
        ended = 0
        while True:
            await asyncio.sleep(0.2)
            if self.ended - ended < max(1, self.jobs // SAMPLES) and self.ended < self.jobs:
                continue
            now = time.perf_counter()
            lists, self.lists = self.lists, []
            self.all_lists += lists
            self.samples.append(
                Sample(
                    now - began,
                    self.ended,
                    (self.ended - ended) / (now - last),
                    statistics.median(lists) if lists else (self.samples[-1].list_ms if self.samples else 0.0),
                    process.memory_info().rss / 2**20,
                    await asyncio.to_thread(self.store_bytes) / 2**20,
                )
            )
            if self.ended >= self.jobs:
                return
            last, ended = now, self.ended

    def store_bytes(self) -> int:
        """Return the size of the database."""
        if self.database is None:
            return sum(path.stat().st_size for path in (self.server.folder / "data").glob("*.db*"))
        with psycopg.connect(self.database) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert row is not None
            return int(row[0])

    async def run(self) -> None:
        """Begin with those who wait, then run all jobs beside them and the lists."""
        beside = []
        for begin in range(0, WAITERS, 200):
            beside += [asyncio.create_task(self.wait()) for _ in range(begin, min(begin + 200, WAITERS))]
            await asyncio.sleep(0.5)
        beside += [asyncio.create_task(self.list(number)) for number in range(LISTERS)]
        work = [asyncio.create_task(self.work()) for _ in range(WORKERS)]
        watch = asyncio.create_task(self.watch())
        try:
            finished, _ = await asyncio.wait([*beside, *work, watch], return_when=asyncio.FIRST_EXCEPTION)
            for task in finished:
                task.result()
        finally:
            for task in (*beside, *work, watch):
                task.cancel()
            await asyncio.gather(*beside, *work, watch, return_exceptions=True)


async def _until_done(day: Day) -> None:
    """Run a day.

    Those who wait and list would go on for ever.
    """
    running = asyncio.create_task(day.run())
    while not running.done() and not (day.samples and day.ended >= day.jobs):
        await asyncio.wait([running], timeout=0.5)
    if running.done():
        running.result()
        return
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def measure(folder: Path) -> list[Figure]:
    """Measure each database, and draw both."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 60_000), hard))
    figures: list[Figure] = []
    days: dict[str, Day] = {}
    for name in DATABASES:
        url = databases.new_postgresql() if name == "postgresql" else None
        settings = {"UWS_LIMITS__WAIT": "600", **({"UWS_DATABASE": url, "UWS_AUTO_MIGRATE": "true"} if url else {})}
        server = Server(folder / name, settings)
        server.start()
        try:
            days[name] = Day(server, url, JOBS)
            await _until_done(days[name])
        finally:
            server.stop()
        figures += _figures(name, days[name])
    chart = ROOT / "build" / "day.svg"
    chart.parent.mkdir(exist_ok=True)
    chart.write_text(day_chart.drawn({name: day.samples for name, day in days.items()}, WAITERS, LISTERS))
    print(f"written: {chart.relative_to(ROOT)}")
    return figures


def _figures(name: str, day: Day) -> list[Figure]:
    samples = day.samples
    tenth = max(1, len(samples) // 10)
    early, late = samples[2 * tenth : 3 * tenth] or samples[:1], samples[-tenth:]

    def growth(value: str) -> float:
        before = statistics.median(getattr(sample, value) for sample in early)
        return float(statistics.median(getattr(sample, value) for sample in late) / before) if before else 1.0

    rate = samples[-1].jobs / samples[-1].seconds
    about = f"{day.jobs} jobs, {WAITERS} waiters, {LISTERS} list readers, {urlsplit(day.server.url).scheme}, {name}"
    slowest = statistics.quantiles(day.all_lists, n=20)[-1] if len(day.all_lists) > 1 else 0.0
    return [
        Figure.least(f"jobs of a day, {name}", rate, MIN_RATE, about, "jobs/s"),
        Figure.plain(f"95 % of lists answered within, {name}", slowest, about, "ms"),
        Figure.most(f"memory at the end against its beginning, {name}", growth("memory_mib"), MOST_GROWTH, about),
        Figure.most(f"store at the end against its beginning, {name}", growth("store_mib"), MOST_GROWTH, about),
        Figure.most(f"lists at the end against their beginning, {name}", growth("list_ms"), 1.5, about),
    ]

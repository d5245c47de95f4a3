"""Measure jobs at batch systems against raw ones.

And a runner's site against its own kind; in turns, in one run.

A raw job is created, released and watched by the same driver, and runs a Python that does nothing.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.batch.condor import CondorPool
from tests.batch.service import BatchServer
from tests.batch.slurm import SlurmCluster
from tests.batch.tree import build, refresh
from tests.bench.__main__ import Figure
from tests.runner.programs import Program, far_site
from tests.server import Server
from uws_service.domain.ids import now_ms
from uws_service.sites.batch.driver import BatchJob, BatchSpec, BatchState, BatchSystem
from uws_service.sites.batch.settings import BatchSite
from uws_service.sites.batch.watch import Watch
from uws_service.sites.htcondor.settings import HTCondorSite
from uws_service.sites.htcondor.system import Pool
from uws_service.sites.slurm.rest import RestClient
from uws_service.sites.slurm.settings import SlurmSite
from uws_service.sites.slurm.system import SlurmSystem

ROUNDS = 7
CROWD = 40
CROWDS = 3
IDLE = 1000
SUBMISSIONS = 16
RUNNER_ROUNDS = 15
NOWHERE = "http://127.0.0.1:1"


@dataclass
class Raw:
    """A batch system, its raw use, and what keeps its jobs from starting."""

    name: str
    system: CondorPool | SlurmCluster
    site: BatchSite
    raw: BatchSystem
    hold_back: Callable[[], Any]


async def measure(folder: Path) -> list[Figure]:
    """Return rates and times of trivial jobs, and what a look at many idle ones costs."""
    await asyncio.to_thread(lambda: refresh(build()))
    figures = [*await _pool(folder / "htcondor"), *await _cluster(folder / "slurm")]
    return [*figures, *await _runner(folder / "runner")]


async def _pool(folder: Path) -> list[Figure]:
    with CondorPool("bench") as pool:
        site = HTCondorSite(**pool.settings(agent_url=NOWHERE))
        raw = Pool(site, "raw", folder / "raw")
        return await _batch(folder, Raw("HTCondor", pool, site, raw, lambda: _stop_negotiator(pool)))


def _stop_negotiator(pool: CondorPool) -> None:
    pool.tool("condor_off", "-daemon", "negotiator")


async def _cluster(folder: Path) -> list[Figure]:
    with SlurmCluster("bench", nodes=1) as cluster:
        site = SlurmSite(**cluster.settings(agent_url=NOWHERE))
        raw = SlurmSystem(site, "raw", RestClient(site))
        return await _batch(folder, Raw("Slurm", cluster, site, raw, lambda: None))


async def _batch(folder: Path, bench: Raw) -> list[Figure]:
    """Return the figures of one batch system."""
    settings = bench.system.settings(margin=CROWD)
    try:
        with BatchServer(folder / "service", bench.system, settings, applications=()) as server:
            async with httpx2.AsyncClient(timeout=180) as http:
                await _ours(http, server.url, 1)  # the first one of each is not counted
                await _bare(bench.raw, 1)
                pairs = [(await _ours(http, server.url, 1), await _bare(bench.raw, 1)) for _ in range(ROUNDS)]
                crowds = [(await _ours(http, server.url, CROWD), await _bare(bench.raw, CROWD)) for _ in range(CROWDS)]
        bench.hold_back()
        processor, elapsed = await _idle(bench)
    finally:
        await bench.raw.close()
    ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    crowd, bare_crowd = (statistics.median(column) for column in zip(*crowds, strict=True))
    words = f"{ours:.2f} s from RUN to COMPLETED against {bare:.2f} s of a raw job, median of {ROUNDS}"
    rates = f"{CROWD / crowd:.2f} jobs/s against {CROWD / bare_crowd:.2f} raw, {CROWD} jobs, median of {CROWDS}"
    look = f"CPU of one look at {IDLE} idle attempts in the service's process; it lasts {elapsed * 1000:.0f} ms"
    return [
        Figure.most(f"trivial job at {bench.name}", ours / bare, 1.15, words),
        Figure.least(f"jobs through {bench.name}", bare_crowd / crowd, 0.9, rates),
        Figure.most(f"look at {bench.name}", processor * 1000, 50, look, "ms"),
    ]


async def _ours(http: httpx2.AsyncClient, url: str, count: int) -> float:
    """Return seconds from RUN to the last COMPLETED."""
    began = time.perf_counter()
    data = {"PHASE": "RUN", "TEXT": "true"}
    answers = await asyncio.gather(*(http.post(f"{url}/script/async", data=data) for _ in range(count)))
    for answer in answers:
        await _completed(http, answer.headers["location"])
    return time.perf_counter() - began


async def _completed(http: httpx2.AsyncClient, job: str) -> None:
    while (phase := (await http.get(f"{job}/phase")).text) != "COMPLETED":
        assert phase in ("QUEUED", "EXECUTING"), phase
        await http.get(f"{job}?WAIT=10&PHASE={phase}")


def _spec() -> BatchSpec:
    files = {"agent.pyz": b"pass", "attempt.json": b"{}"}
    words = ("/usr/bin/python3", "-I", "agent.pyz")
    return BatchSpec((uuid.uuid4().hex, 1), "raw", words, files, "raw", "", cpu=1, memory=64 * 2**20)


async def _submit(raw: BatchSystem, count: int, *, release: bool) -> None:
    at_once = asyncio.Semaphore(SUBMISSIONS)

    async def submit() -> None:
        async with at_once:
            spec = _spec()
            handle = await raw.submit_held(spec)
            if release:
                await raw.release(handle, spec)

    await asyncio.gather(*(submit() for _ in range(count)))


async def _bare(raw: BatchSystem, count: int) -> float:
    """Return seconds from the submission of raw jobs to the end of the last."""
    began = time.perf_counter()
    await _submit(raw, count, release=True)
    jobs = await raw.query()
    while len(jobs) < count or any(job.state is not BatchState.ENDED for job in jobs):
        jobs = await _look_again(raw)
    seconds = time.perf_counter() - began
    await asyncio.gather(*(raw.forget(job.handle) for job in jobs))
    while jobs:
        jobs = await _look_again(raw)
    return seconds


async def _look_again(raw: BatchSystem) -> list[BatchJob]:
    await asyncio.sleep(0.1)
    return await raw.query()


async def _idle(bench: Raw) -> tuple[float, float]:
    """Return seconds of CPU and of time that a look at many jobs that wait takes."""
    await _submit(bench.raw, IDLE, release=False)
    watch = Watch(bench.site, bench.raw, now_ms)
    # They are being handed over, and nothing that is left from a crash and to be removed.
    watch.submitting |= {job.key for job in await bench.raw.query()}
    processor: list[float] = []
    elapsed: list[float] = []
    for _ in range(ROUNDS):
        began, clock = time.process_time(), time.perf_counter()
        await watch.look()
        processor.append(time.process_time() - began)
        elapsed.append(time.perf_counter() - clock)
        await watch.stop()
    assert len(watch.jobs) == IDLE
    return statistics.median(processor), statistics.median(elapsed)


# -- the runner ----------------------------------------------------------------------------------------------------


async def _runner(folder: Path) -> list[Figure]:
    """Return what a runner adds to a trivial job of the kind that it drives."""
    (folder / "near").mkdir(parents=True)
    (folder / "far").mkdir()
    with ExitStack() as until_end:
        far = until_end.enter_context(far_site(folder / "far"))
        program = Program(folder / "near")
        config = {"applications": [str(program.descriptor)], "builtin_applications": False}
        near = Server(folder / "near" / "service", config=json.dumps(config))
        near.start()
        until_end.callback(near.stop)
        async with httpx2.AsyncClient(timeout=60) as http:
            durations: dict[str, list[float]] = {near.url: [], far.server.url: []}
            for number in range(RUNNER_ROUNDS + 1):
                for url, seconds in durations.items():
                    duration = await _timed(lambda url=url: _one(http, url))  # type: ignore[misc]
                    if number:  # the first one of each is not counted
                        seconds.append(duration)
    near_seconds, far_seconds = (statistics.median(seconds) for seconds in durations.values())
    words = f"{far_seconds * 1000:.0f} ms from RUN to COMPLETED against {near_seconds * 1000:.0f} ms at a local site"
    added = (far_seconds - near_seconds) * 1000
    return [Figure.most("a runner adds", added, 100, f"{words}, medians of {RUNNER_ROUNDS}", "ms")]


async def _timed(act: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await act()
    return time.perf_counter() - began


async def _one(http: httpx2.AsyncClient, url: str) -> None:
    answer = await http.post(f"{url}/ledger/async", data={"PHASE": "RUN"})
    await _completed(http, answer.headers["location"])

"""Submission in two phases.

Whatever is cut off between any two calls, an attempt runs once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.sites.batch.paper_system import Killed, PaperDriver, PaperSystem
from uws_service.depot import Depot
from uws_service.domain.attempt import Launch, Observation, Reason, Seen
from uws_service.sites.batch.driver import BatchState
from uws_service.sites.batch.executor import BatchExecutor
from uws_service.sites.batch.settings import BatchSite
from uws_service.sites.executor import NotNow

JOB = "0192f0c1a2b37abc8def0123456789ab"
KEY = (JOB, 1)
CALLS = ["submit>", "submit<", "find>", "find<", "discard>", "discard<", "release>", "release<"]


def launch(job_id: str = JOB) -> Launch:
    return Launch(
        job_id=job_id,
        number=1,
        application="a",
        owner="me",
        command=("true",),
        image="",
        environment={},
        parameters="{}",
        inputs=(),
        results=(),
        duration=0,
        cpu=1,
        memory=10**8,
        max_output=10**6,
    )


class PaperSite(BatchSite):
    """The settings of a site whose system is on paper."""

    kind: str = "paper"


def executor(system: PaperSystem, folder: Path, hook: Callable[[str], None] = lambda name: None) -> BatchExecutor:
    site = PaperSite(name="paper", agent_url="http://127.0.0.1:1", poll=0.2, margin=5)
    return BatchExecutor(site, PaperDriver(system, hook), Depot.open(str(folder / "depot")), lambda *_: "ticket")


@asynccontextmanager
async def looking(service: BatchExecutor) -> AsyncIterator[BatchExecutor]:
    """Start a service, and end it."""
    await service.start()
    try:
        await until(lambda: service.health().reachable)
        yield service
    finally:
        await service.stop()


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110 - conditions of a system on paper, which sets no events
            await asyncio.sleep(0.01)


async def seen_by(service: BatchExecutor) -> dict[str, Observation]:
    return {observation.job_id: observation for observation in await service.observe()}


async def persist(service: BatchExecutor, system: PaperSystem) -> None:
    """Do what a controller does: hand over what is not seen, as often as it takes."""
    async with asyncio.timeout(60):
        while not any(job.state is not BatchState.HELD for job in system.jobs.values()):
            if JOB not in await seen_by(service):
                try:
                    await service.submit(launch())
                except NotNow:
                    await asyncio.sleep(0.3)  # as a controller does
            await asyncio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.parametrize("at", CALLS)
async def test_a_crash_anywhere(at: str, tmp_path: Path) -> None:
    """The service dies at a call; the next one brings the attempt to exactly one run, and leaves nothing else."""
    system = PaperSystem()

    def die(name: str) -> None:
        if name == at:
            raise Killed

    dying = executor(system, tmp_path, die)
    if at.startswith("discard"):  # it is called for a rival alone
        system.create(KEY)
    with pytest.raises(Killed):
        await dying.submit(launch())
    async with looking(executor(system, tmp_path)) as service:
        await persist(service, system)
        system.begin_all()
        await until(lambda: all(job.state is BatchState.RUNNING for job in system.jobs.values()))
        assert system.runs == [KEY] and len(system.jobs) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(10))
async def test_two_services_at_once(seed: int, tmp_path: Path) -> None:
    """Two services that both believe to drive the site submit one attempt; it begins once at most at a time."""
    chance = random.Random(seed)
    system = PaperSystem()

    def stumble(name: str) -> None:
        if chance.random() < 0.1 and name not in ("query>", "query<"):
            raise NotNow(f"{name} was lost")
        if chance.random() < 0.2:
            system.begin_all()
        states = [job.state for job in system.jobs.values()]
        assert states.count(BatchState.QUEUED) + states.count(BatchState.RUNNING) <= 1

    services = [executor(system, tmp_path, stumble) for _ in range(2)]
    async with looking(services[0]) as first, looking(services[1]) as second:
        await asyncio.gather(persist(first, system), persist(second, system))
        system.begin_all()
        await until(lambda: KEY in first.watch.jobs and first.watch.jobs == second.watch.jobs)
        await until(lambda: len(system.jobs) == 1)
        assert system.runs == [KEY]


@pytest.mark.anyio
async def test_what_was_left_held_is_removed(tmp_path: Path) -> None:
    """A job that nobody can release any more is neither shown nor kept."""
    system = PaperSystem()
    system.create(KEY)
    async with looking(executor(system, tmp_path)) as service:
        assert await seen_by(service) == {}
        await until(lambda: not system.jobs)


@pytest.mark.anyio
async def test_what_vanishes_was_deleted(tmp_path: Path) -> None:
    """A job that somebody else has removed is told from one that the service has cancelled."""
    system = PaperSystem()
    async with looking(executor(system, tmp_path)) as service:
        await service.submit(launch())
        assert (await seen_by(service))[JOB].seen is Seen.STARTING
        await until(lambda: KEY in service.watch.jobs)
        system.begin_all()
        await until(lambda: service.watch.jobs[KEY][0].state is BatchState.RUNNING)
        system.remove("1.0")
        await until(lambda: KEY not in service.watch.jobs)
        observation = (await seen_by(service))[JOB]
        assert observation.seen is Seen.FAILED and observation.reason is Reason.DELETED and observation.gone
        await service.forget(*KEY)
        assert await seen_by(service) == {}


@pytest.mark.anyio
async def test_what_reported_is_left_to_end(tmp_path: Path) -> None:
    """An agent that has reported is not killed while it ends."""
    system = PaperSystem()
    async with looking(executor(system, tmp_path)) as service:
        await service.submit(launch())
        system.begin_all()
        await until(lambda: KEY in service.watch.jobs and service.watch.jobs[KEY][0].state is BatchState.RUNNING)
        await service.forget(*KEY)
        assert await seen_by(service) == {} and "1.0" in system.jobs
        system.end("1.0")
        await until(lambda: not system.jobs)


@pytest.mark.anyio
async def test_a_bulk_never_stands_whole_in_the_queue(tmp_path: Path) -> None:
    """There is room for what has begun and a margin."""
    system = PaperSystem()
    async with looking(executor(system, tmp_path)) as service:
        assert service.capacity == 5
        for number in range(5):
            await service.submit(launch(f"{number:032x}"))
        await until(lambda: len(service.watch.jobs) == 5)
        assert service.capacity == 5
        system.begin("1.0")
        system.begin("2.0")
        await until(lambda: service.capacity == 7)


@pytest.mark.anyio
async def test_cancel_of_a_job_that_waits(tmp_path: Path) -> None:
    system = PaperSystem()
    async with looking(executor(system, tmp_path)) as service:
        await service.submit(launch())
        await service.kill(*KEY)
        await until(lambda: not system.jobs and KEY in service.watch.vanished)
        observation = (await seen_by(service))[JOB]
        assert observation.seen is Seen.FAILED and observation.gone
        assert system.runs == []

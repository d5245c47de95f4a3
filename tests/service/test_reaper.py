"""The reaper on a real store and depot."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.s3 import KEY, SECRET, S3Server
from tests.store.samples import attempt, job
from uws_service.applications import Application, ResultSpec
from uws_service.depot import Depot, renewal
from uws_service.domain.attempt import AttemptState
from uws_service.domain.errors import ServiceUnavailable
from uws_service.domain.ids import new_id, now_ms
from uws_service.domain.job import Phase
from uws_service.service.reaper import Reaper
from uws_service.store import Store

pytestmark = pytest.mark.anyio
NOW = 10_000
KEEPS = Application("app", "t", "d", ("run",), results=(ResultSpec("result", "r", "text/csv"),), archive=True)


def reaper(store: Store, depot: Depot, *, archive: bool = True) -> Reaper:
    return Reaper(
        store,
        depot,
        {"app": replace(KEEPS, archive=archive)},
        interval=1,
        orphan_interval=1,
        orphan_age=1,
        event_retention=1,
        clock=lambda: NOW,
    )


async def content() -> AsyncIterator[bytes]:
    yield b"content"


@pytest.fixture
async def depot(tmp_path: Path) -> Depot:
    opened = Depot.open(str(tmp_path / "depot"))
    for name in ("a", "b"):
        await opened.put(f"jobs/{name}/results/r", content(), max_size=100)
    return opened


def away() -> Depot:
    """Open a depot that nobody serves."""
    return Depot.open("s3://bucket/x?endpoint=http://127.0.0.1:9", access_key_id="k", secret_access_key="s")


@pytest.mark.parametrize("archive", [True, False])
async def test_files_go_when_the_depot_is_back(store: Store, depot: Depot, archive: bool) -> None:
    """Jobs end without their depot (U-054, U-132, U-133)."""
    await store.create(job("a", phase=Phase.COMPLETED), actor="me", attempt=attempt(state=AttemptState.CLOSED))
    await store.create(job("b", destruction=NOW + 1), actor="me")
    broken = reaper(store, away(), archive=archive)
    await broken.reap()
    ended = await store.get("a")
    if archive:
        assert ended is not None and ended.phase is Phase.ARCHIVED and ended.results == () and ended.destruction is None
    else:
        assert ended is None
    with pytest.raises(ServiceUnavailable):
        await broken.sweep()
    assert await depot.head("jobs/a/results/r") is not None
    if ended is not None:  # an archived job may be deleted before its files are gone
        await store.delete(ended, actor="me")
    working = reaper(store, depot, archive=archive)
    await working.reap()
    await working.sweep()
    assert await depot.head("jobs/a/results/r") is None and await depot.head("jobs/b/results/r") is not None
    assert await store.garbage.removable(10) == [] and (await store.get("b")) is not None


async def test_a_job_that_runs_is_stopped_first(store: Store, depot: Depot) -> None:
    """Only ended jobs are archived (U-133)."""
    running = attempt(state=AttemptState.RUNNING)
    await store.create(job("a", phase=Phase.EXECUTING), actor="me", attempt=running)
    cleaner = reaper(store, depot)
    for _ in range(2):
        await cleaner.reap()
        await cleaner.sweep()
        stopped = await store.get("a")
        assert stopped is not None and stopped.phase is Phase.ABORTED and stopped.error is not None
        assert [attempt.wanted for attempt in await store.attempts.of("a")] == [False]
        assert await depot.head("jobs/a/results/r") is not None
    await store.attempts.save(replace(running, state=AttemptState.CLOSED, ended=NOW))
    await cleaner.reap()
    await cleaner.sweep()
    archived = await store.get("a")
    assert archived is not None and archived.phase is Phase.ARCHIVED
    assert await depot.head("jobs/a/results/r") is None


# -- objects of no job ---------------------------------------------------------------------------------------------

YEAR = 365 * 86_400


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Depot]:
    """Return a function that opens the shared depot."""

    def opened() -> Depot:
        if request.param == "folder":
            depot = Depot.open(str(tmp_path / "shared"))
        else:
            server: S3Server = request.getfixturevalue("s3")
            depot = Depot.open(server.url_of(f"reaper-{id(tmp_path)}"), access_key_id=KEY, secret_access_key=SECRET)
        depot.renewal = renewal(1)
        return depot

    return opened


def searching(store: Store, depot: Depot, clock: Callable[[], int] = now_ms) -> Reaper:
    return Reaper(store, depot, {}, interval=1, orphan_interval=1, orphan_age=1, event_retention=1, clock=clock)


async def searched(reaper: Reaper, seconds: float) -> None:
    """Search again and again for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await reaper.search_orphans()
        await asyncio.sleep(0.1)


async def test_a_form_that_is_open_in_another_process(store: Store, shared: Callable[[], Depot]) -> None:
    """Files of an open form are no orphans."""
    other_depot = shared()
    job_id = new_id(now_ms() - 3_600_000)
    cleaner = searching(store, shared())
    hold = other_depot.hold(f"jobs/{job_id}/uploads/x")
    hold.begin()
    await other_depot.put(f"jobs/{job_id}/uploads/x-0", content(), max_size=100)
    await searched(cleaner, 5)
    assert await other_depot.head(f"jobs/{job_id}/uploads/x-0") is not None
    await hold.release()
    end = time.monotonic() + 60
    while await other_depot.head(f"jobs/{job_id}/uploads/x-0") is not None:  # its process was killed
        assert time.monotonic() < end
        await searched(cleaner, 0.5)


async def test_a_clock_that_jumps(store: Store, shared: Callable[[], Depot]) -> None:
    """Wrong clocks make no orphans."""
    depot = shared()
    job_id = new_id(now_ms() - 1000)
    ahead = 0
    cleaner = searching(store, shared(), clock=lambda: now_ms() + ahead)
    hold = depot.hold(f"jobs/{job_id}/uploads/x")
    hold.begin()
    await depot.put(f"jobs/{job_id}/uploads/x-0", content(), max_size=100)
    for ahead in (0, YEAR * 1000):
        if ahead and depot.folder is not None:  # a folder's clock is the machine's: all that is there gets old
            for path in (depot.folder / "jobs" / job_id).rglob("*"):
                os.utime(path, (time.time() - YEAR,) * 2)
            os.utime(depot.folder / "jobs" / job_id, (time.time() - YEAR,) * 2)
        await searched(cleaner, 3)
        assert await depot.head(f"jobs/{job_id}/uploads/x-0") is not None
    await hold.release()


async def test_young_objects_of_an_old_id(store: Store, shared: Callable[[], Depot]) -> None:
    """The age of the object counts."""
    depot = shared()
    job_id = new_id(now_ms() - YEAR)
    cleaner = searching(store, depot)
    cleaner.orphan_age = 3600
    await depot.put(f"jobs/{job_id}/uploads/x-0", content(), max_size=100)
    await searched(cleaner, 3)
    assert await depot.head(f"jobs/{job_id}/uploads/x-0") is not None

"""The reaper on a real store and depot: the end of jobs, also while the depot is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.store.samples import attempt, job
from uws_service.applications import Application, ResultSpec
from uws_service.depot import Depot
from uws_service.domain.attempt import AttemptState
from uws_service.domain.errors import ServiceUnavailable
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
    """A depot that nobody serves."""
    return Depot.open("s3://bucket/x?endpoint=http://127.0.0.1:9", access_key_id="k", secret_access_key="s")


@pytest.mark.parametrize("archive", [True, False])
async def test_files_go_when_the_depot_is_back(store: Store, depot: Depot, archive: bool) -> None:
    """U-054, U-132, U-133: the job's end is recorded, its files are removed later; those of others stay."""
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
    assert await store.garbage(10) == [] and (await store.get("b")) is not None


async def test_a_job_that_runs_is_stopped_first(store: Store, depot: Depot) -> None:
    """U-133: an archived job must have ended; nothing is removed under a command that still runs."""
    running = attempt(state=AttemptState.RUNNING)
    await store.create(job("a", phase=Phase.EXECUTING), actor="me", attempt=running)
    one = reaper(store, depot)
    for _ in range(2):
        await one.reap()
        await one.sweep()
        stopped = await store.get("a")
        assert stopped is not None and stopped.phase is Phase.ABORTED and stopped.error is not None
        assert [attempt.wanted for attempt in await store.attempts("a")] == [False]
        assert await depot.head("jobs/a/results/r") is not None
    await store.save_attempt(replace(running, state=AttemptState.CLOSED, ended=NOW))
    await one.reap()
    await one.sweep()
    archived = await store.get("a")
    assert archived is not None and archived.phase is Phase.ARCHIVED
    assert await depot.head("jobs/a/results/r") is None

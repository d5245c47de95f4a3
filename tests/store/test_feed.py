"""The change feed wakes waiters of changed jobs alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import psycopg
import pytest

from tests.store.samples import job
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job, Phase
from uws_service.domain.jobinfo import JobInfo
from uws_service.store import Store

pytestmark = pytest.mark.anyio
LONG = 180.0
"""Seconds; whoever waits in these tests is woken or has failed."""


@pytest.fixture
async def following(store: Store) -> AsyncIterator[Store]:
    await store.feed.start()
    yield store
    await store.feed.stop()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + LONG
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def change(store: Store, before: Job, run_id: str = "changed") -> Job:
    return await store.save(before, replace(before, run_id=run_id), kind=EventKind.PARAMETERS, actor="me")


async def waits(store: Store, awaited: Job) -> asyncio.Task[None]:
    """Start a task that waits for a change."""
    task = asyncio.create_task(store.feed.wait_change(awaited.id, awaited.version, LONG))

    async def registered() -> bool:
        return task.done() or awaited.id in store.feed._waiters

    await until(registered)
    await asyncio.sleep(0.05)  # its look at the row is over, so that only the feed can wake it
    assert not task.done()
    return task


@pytest.mark.parametrize("writer", ["own", "peer"])
async def test_woken_by_a_change(following: Store, peer: Store, writer: str) -> None:
    """Waiters of other jobs are not woken."""
    job_a, _ = await following.create(job("mine"), actor="me")
    job_b, _ = await following.create(job("yours"), actor="me")
    first, second, quiet = await waits(following, job_a), await waits(following, job_a), await waits(following, job_b)
    began = time.monotonic()
    await change(following if writer == "own" else peer, job_a)
    await asyncio.wait_for(asyncio.gather(first, second), LONG)
    assert time.monotonic() - began < 60  # the poll of the feed itself needs a second at most
    assert not quiet.done()
    await peer.delete(job_b, actor="me")
    await asyncio.wait_for(quiet, LONG)
    assert following.feed._waiters == {}


async def test_a_change_before_the_wait_is_not_missed(following: Store) -> None:
    """A wait for an older version returns at once."""
    before, _ = await following.create(job(), actor="me")
    after = await change(following, before)
    await asyncio.wait_for(following.feed.wait_change("a", before.version, LONG), 60)
    await following.delete(after, actor="me")
    await asyncio.wait_for(following.feed.wait_change("a", after.version, LONG), 60)


async def test_time_over(following: Store) -> None:
    """A wait without a change ends in time."""
    before, _ = await following.create(job(), actor="me")
    await following.feed.wait_change("a", before.version, 0.01)
    await following.feed.wait_any(0.01)
    assert following.feed._waiters == {} and following.feed._anybody == set()


async def test_progress_wakes_nobody(following: Store) -> None:
    """INFO is a change without an event."""
    before, _ = await following.create(job(), actor="me")
    task = await waits(following, before)
    after = await following.save(before, replace(before, info=JobInfo(progress=0.5)), kind=EventKind.INFO, actor="c")
    await change(following, after)
    await asyncio.wait_for(task, LONG)
    kinds = [event.kind for event in await following.history.of("a")]
    assert kinds == ["CREATED", "PARAMETERS"]


async def test_anybody(following: Store, peer: Store) -> None:
    """Controllers wait for events of any job."""
    task = asyncio.create_task(following.feed.wait_any(LONG))
    await asyncio.sleep(0)
    await peer.create(job(), actor="me")
    await asyncio.wait_for(task, LONG)


async def test_more_events_than_a_page(following: Store, peer: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of changes wakes every waiter."""
    monkeypatch.setattr("uws_service.store.feed.PAGE_SIZE", 7)
    jobs = [(await following.create(job(f"j{number}"), actor="me"))[0] for number in range(40)]
    tasks = [await waits(following, item) for item in jobs[::5]]
    await asyncio.gather(*(change(peer, item) for item in jobs))
    await asyncio.wait_for(asyncio.gather(*tasks), LONG)


async def test_stop_wakes_everybody(store: Store) -> None:
    """A stopped feed wakes all waiters."""
    await store.feed.start()
    before, _ = await store.create(job(), actor="me")
    task = await waits(store, before)
    anybody = asyncio.create_task(store.feed.wait_any(LONG))
    await asyncio.sleep(0)
    await store.feed.stop()
    await asyncio.wait_for(asyncio.gather(task, anybody), 60)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_transaction_that_commits_late(following: Store, url: str) -> None:
    """A lower number may commit after a higher one (PostgreSQL)."""
    late, _ = await following.create(job("late"), actor="me")
    early, _ = await following.create(job("early"), actor="me")
    task, quick = await waits(following, late), await waits(following, early)
    async with await psycopg.AsyncConnection.connect(url) as slow:
        await slow.execute(
            "INSERT INTO event (job_id, at, kind, phase, version, actor, origin) "
            "VALUES ('late', 1, 'SET', 'PENDING', 2, 'slow', '')"
        )
        await change(following, early)
        await asyncio.wait_for(quick, LONG)
        assert not task.done()
        await slow.commit()
        await asyncio.wait_for(task, LONG)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_listener_comes_back(following: Store, peer: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener reconnects and misses nothing (PostgreSQL)."""
    before, _ = await following.create(job(), actor="me")
    task = await waits(following, before)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        watched = "datname = current_database() AND pid != pg_backend_pid()"
        listening = f"SELECT pid FROM pg_stat_activity WHERE {watched} AND query LIKE 'LISTEN%'"

        async def listeners() -> set[int]:
            return {row[0] for row in await (await admin.execute(listening)).fetchall()}

        async def one_listens() -> bool:
            return bool(await listeners())

        await until(one_listens)
        pids = await listeners()
        await admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {watched}")
        await change(peer, before)
        await asyncio.wait_for(task, LONG)

        async def another_listens() -> bool:
            return bool(await listeners() - pids)

        await until(another_listens)
        # With the slow poll out of the way only a notification can wake.
        monkeypatch.setattr("uws_service.store.feed.POLL_POSTGRESQL_SECONDS", 10 * LONG)
        await change(following, (await following.get("a")) or before)  # the poll that is under way goes by
        await asyncio.sleep(1.2)
        current = await following.get("a")
        assert current is not None
        task = await waits(following, current)
        await change(peer, current)
        await asyncio.wait_for(task, LONG)


async def test_a_thousand_waiters(following: Store, peer: Store) -> None:
    """Each waiter is woken for its job."""
    before, _ = await following.create(job(), actor="me")
    tasks = [asyncio.create_task(following.feed.wait_change("a", before.version, LONG)) for _ in range(1000)]

    async def all_wait() -> bool:
        return len(following.feed._waiters.get("a", ())) == 1000

    await until(all_wait)
    await peer.save(before, replace(before, phase=Phase.ABORTED), kind=EventKind.PHASE, actor="me")
    await asyncio.wait_for(asyncio.gather(*tasks), LONG)

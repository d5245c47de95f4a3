"""Outages of the database."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from tests import databases
from tests.store.samples import attempt, job
from uws_service.domain.errors import ServiceUnavailable, StorageFull
from uws_service.domain.events import EventKind
from uws_service.domain.jobinfo import JobInfo
from uws_service.store import Store
from uws_service.store.database import Query
from uws_service.store.sqlite import SQLite

pytestmark = pytest.mark.anyio


async def healed(store: Store) -> None:
    """Until the store answers and writes again."""
    deadline = time.monotonic() + 180
    while True:
        try:
            await store.ping()
            await store.owners.release_lease("nothing", "nobody")
            return
        except ServiceUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@pytest.fixture
def server() -> Iterator[databases.PostgreSQLServer]:
    """Start a server that the test can stop."""
    server = databases.PostgreSQLServer()
    yield server
    server.remove()


async def test_postgresql_goes_away(server: databases.PostgreSQLServer) -> None:
    """The store recovers from an outage."""
    store = await Store.open(server.url, create=True)
    await store.feed.start()
    before, _ = await store.create(job(), actor="me")
    waiter = asyncio.create_task(store.feed.wait_change("a", before.version, 120))
    await asyncio.sleep(0.1)
    server.stop()
    for _ in range(2):
        with pytest.raises(ServiceUnavailable) as failure:
            await store.get("a")
        assert failure.value.retry_after
        with pytest.raises(ServiceUnavailable):
            await store.save(
                before, replace(before, run_id="lost"), kind=EventKind.PARAMETERS, actor="me", attempts=[attempt()]
            )
    assert not waiter.done()
    server.start()
    await healed(store)
    assert await store.get("a") == before
    assert await store.attempts.of("a") == [] and len(await store.history.of("a")) == 1
    await store.save(before, replace(before, run_id="new"), kind=EventKind.PARAMETERS, actor="me")
    await asyncio.wait_for(waiter, 60)
    await store.feed.stop()
    await store.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_postgresql_drops_connections(url: str) -> None:
    """Idle connections that were cut are replaced."""
    store = await Store.open(url, create=True)
    current, _ = await store.create(job(), actor="me")
    for number in range(3):
        await asyncio.gather(*(store.get("a") for _ in range(20)))
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
        assert await store.get("a") == current
        current = await store.save(current, replace(current, run_id=str(number)), kind=EventKind.PARAMETERS, actor="me")
    assert len(await store.history.of("a")) == 4
    await store.close()


@pytest.fixture
async def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """Open a store on SQLite with a short lock time-out."""
    connect = SQLite._connect

    def impatient(self: SQLite) -> sqlite3.Connection:
        connection = connect(self)
        connection.execute("PRAGMA busy_timeout=100")
        return connection

    monkeypatch.setattr(SQLite, "_connect", impatient)
    store = await Store.open(databases.new_sqlite(tmp_path), create=True)
    yield store
    await store.close()


def file_of(store: Store) -> str:
    assert isinstance(store._database, SQLite)
    return store._database.path


async def test_sqlite_that_another_process_holds(lite: Store) -> None:
    """A locked database refuses writers, not readers."""
    before, _ = await lite.create(job(), actor="me")
    holder = sqlite3.connect(file_of(lite), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceUnavailable, match="locked"):
        await lite.save(before, replace(before, run_id="lost"), kind=EventKind.PARAMETERS, actor="me")
    assert await lite.get("a") == before
    holder.execute("ROLLBACK")
    holder.close()
    assert (await lite.save(before, replace(before, run_id="new"), kind=EventKind.PARAMETERS, actor="me")).version == 2


async def test_sqlite_without_room(lite: Store) -> None:
    """A full disk rolls back and raises StorageFull."""
    before, _ = await lite.create(job(), actor="me")
    limit = sqlite3.connect(file_of(lite), isolation_level=None)
    pages = limit.execute("PRAGMA page_count").fetchone()[0]
    limit.close()

    async def confine(to: int) -> None:
        await lite._database.write(lambda tx: tx.rows(Query(text(f"PRAGMA max_page_count={to}")), {}))

    await confine(pages + 2)
    large = replace(before, info=JobInfo(message="x" * 1_000_000))
    with pytest.raises(StorageFull) as failure:
        await lite.save(before, large, kind=EventKind.PARAMETERS, actor="me", attempts=[attempt()])
    assert failure.value.retry_after
    assert await lite.get("a") == before and await lite.attempts.of("a") == []
    await confine(1_000_000)  # the writer's connection was opened anew, without the bound; this one is generous
    assert (await lite.save(before, large, kind=EventKind.PARAMETERS, actor="me")).version == 2

"""Reads that share a statement.

Each shows what was committed before it was asked for.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests import databases
from tests.store.samples import job
from uws_service.domain.errors import ServiceUnavailable
from uws_service.domain.events import EventKind
from uws_service.domain.job import Phase
from uws_service.store import Store
from uws_service.store.batched import MAX_KEYS, BatchedReads
from uws_service.store.database import Params, Query, Row
from uws_service.store.queries import GLANCES

pytestmark = pytest.mark.anyio
CHANGES = 60


async def test_each_reader_has_its_own_row(store: Store) -> None:
    """More readers at once than fit into one statement; ids that there are not, some of which databases refuse."""
    names = [f"j{number}" for number in range(MAX_KEYS + 50)]
    await store.create_many([(job(name, owner=name), None, ()) for name in names], actor="me")
    absent = ["", "no such", "nul \0", "ü", "x" * 100_000, "'; DROP TABLE job; --", "{}", 'a","b']
    glances = await asyncio.gather(*(store.glance(name) for name in [*names, *absent, *names]))
    owners = [glance.owner if glance is not None else None for glance in glances]
    assert owners == [*names, *(None for _ in absent), *names]


async def test_no_reader_sees_an_old_row(store: Store, peer: Store) -> None:
    """Whoever asks after a change, at either process, sees it, however many others read at the time."""
    current, _ = await store.create(job(), actor="me")
    stopped = False

    async def read_on(reader: Store) -> int:
        newest = 0
        while not stopped:
            glance = await reader.glance("a")
            assert glance is not None and glance.version >= newest
            newest = glance.version
            await asyncio.sleep(0)  # a read of SQLite lets nobody else go on
        return newest

    readers = [asyncio.create_task(read_on(reader)) for reader in (store, peer) for _ in range(20)]
    for number in range(CHANGES):
        writer = (store, peer)[number % 2]
        current = await writer.save(
            current, replace(current, destruction=number), kind=EventKind.DESTRUCTION, actor="me"
        )
        glances = await asyncio.gather(*(reader.glance("a") for reader in (store, peer) for _ in range(5)))
        assert {glance.version for glance in glances if glance is not None} == {current.version}
    stopped = True
    assert max(await asyncio.gather(*readers)) <= current.version == CHANGES + 1
    await peer.delete(current, actor="me")
    assert await store.glance("a") is None and await peer.glance("a") is None


class Slow:
    """A database whose reads end when they are let go, to see which of them share a statement."""

    duplicate = ValueError

    def __init__(self, database: Store) -> None:
        self.store = database
        self.statements: list[list[str]] = []
        self.semaphore = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def read(self, query: Query, params: Params) -> list[Row]:
        rows = [*await self.store._database.read(query, params)]
        self.statements.append(sorted(params["keys"]))
        self.semaphore.release()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return rows


@pytest.fixture
async def postgresql(tmp_path: Path) -> Store:
    """Return a store on PostgreSQL, where reads are batched."""
    return await Store.open(databases.new_postgresql(), create=True)


async def test_no_answer_of_a_statement_that_was_sent_before(postgresql: Store) -> None:
    """A reader who comes while a statement is on its way waits for the next one, which shows the change."""
    store = postgresql
    before, _ = await store.create(job(), actor="me")
    slow = Slow(store)
    reads = BatchedReads(slow, GLANCES)  # type: ignore[arg-type]
    early = [asyncio.create_task(reads.get("a")) for _ in range(3)]
    await slow.semaphore.acquire()
    second = asyncio.create_task(reads.get("a"))
    await slow.semaphore.acquire()
    await store.save(before, replace(before, phase=Phase.ABORTED), kind=EventKind.PHASE, actor="me")
    late = [asyncio.create_task(reads.get(name)) for name in ("a", "a", "b")]
    cancelled = asyncio.create_task(reads.get("a"))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert slow.statements == [["a"], ["a"]]
    slow.gate.set()
    assert [row[0] for row in await asyncio.gather(*early, second) if row is not None] == [1, 1, 1, 1]
    assert await asyncio.gather(*late) == [(2, "app", None, "ABORTED")] * 2 + [None]
    assert slow.statements[2:] == [["a", "b"]]
    slow.error = ServiceUnavailable("away", retry_after=1)
    outcomes = await asyncio.gather(*(reads.get(name) for name in ("a", "b")), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ServiceUnavailable] * 2
    slow.error = None
    assert await reads.get("a") == (2, "app", None, "ABORTED")
    await store.close()

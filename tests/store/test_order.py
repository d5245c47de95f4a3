"""Events are released in the order of their numbers, whatever order their transactions commit in."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.samples import job
from uws_service.domain.events import JobEvent
from uws_service.store import Store
from uws_service.store.order import MAX_GAP, Order

LONG = 180.0


def event(seq: int) -> JobEvent:
    return JobEvent(seq, f"j{seq}", 1, seq, "PHASE", "QUEUED", "app", "")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        for pause in itertools.repeat(0.01):
            if condition():
                return
            await asyncio.sleep(pause)


def numbers(events: Sequence[JobEvent]) -> list[int]:
    return [item.seq for item in events]


def test_a_number_that_is_late() -> None:
    """E-003: what came after it is held back, and comes behind it."""
    order = Order(has_gaps=True)
    assert numbers(order.add([event(1), event(3), event(4)], 0.0)) == [1]
    assert order.horizon == 1
    assert numbers(order.add([event(2)], 0.0)) == [2, 3, 4]
    assert order.horizon == 4 and not order.gaps
    assert order.add([event(2), event(4)], 0.0) == []  # not twice


def test_a_number_that_never_comes() -> None:
    """A gap is given up once all transactions that could fill it have ended."""
    order = Order(has_gaps=True)
    order.add([event(2)], 0.0)
    order.set_bound(100)
    assert order.close(99, -1.0) == []
    order.add([event(4)], 5.0)  # a gap of its own, which nobody has looked at yet
    assert numbers(order.close(100, -1.0)) == [2]
    order.set_bound(200)
    assert order.close(150, 4.0) == []
    assert numbers(order.close(150, 5.0)) == [4]  # it has been there for too long


def test_where_it_begins() -> None:
    order = Order(has_gaps=True)
    order.begin(10, [6, 7, 10], 0.0)
    assert order.horizon == 7 and set(order.gaps) == {8, 9}
    assert order.add([event(8)], 0.0) == [event(8)]
    plain = Order(has_gaps=False)
    plain.begin(10, [], 0.0)
    assert numbers(plain.add([event(12)], 0.0)) == [12]


def test_a_hole_as_after_a_restart_of_the_database() -> None:
    order = Order(has_gaps=True)
    order.add([event(50_000)], 0.0)
    assert len(order.gaps) == MAX_GAP


@given(st.permutations(range(1, 13)), st.sets(st.integers(1, 12)))
def test_any_order(arrival: list[int], rolled_back: set[int]) -> None:
    order = Order(has_gaps=True)
    released: list[int] = []
    for seq in arrival:
        if seq not in rolled_back:
            released += numbers(order.add([event(seq)], 0.0))
        assert all(seq <= order.horizon for seq in released)
    order.set_bound(1)
    released += numbers(order.close(1, -1.0))
    assert released == [seq for seq in range(1, 13) if seq not in rolled_back]


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_late_and_rolled_back_transactions(store: Store, url: str) -> None:
    """Listeners get the late one first (PostgreSQL); one that is rolled back holds nobody up for long."""
    heard: list[JobEvent] = []
    store.feed.listen(heard.extend)
    insert = (
        "INSERT INTO event (job_id, at, kind, phase, version, actor, origin, application, owner_key) "
        "VALUES (%s, 1, 'PHASE', 'PENDING', 2, 'slow', '', 'app', '')"
    )

    async def until_heard(count: int) -> None:
        await until(lambda: len(heard) >= count)

    await store.feed.start()
    try:
        async with (
            await psycopg.AsyncConnection.connect(url) as late,
            await psycopg.AsyncConnection.connect(url) as never,
        ):
            for connection, name in ((late, "late"), (never, "never")):
                await connection.execute("SELECT pg_current_xact_id()")  # as every writer: rows first, then the event
                await connection.execute(insert, (name,))
            await store.create(job("quick"), actor="me")
            await until(lambda: bool(store.feed._order.gaps))
            assert heard == []
            await late.commit()
            await until_heard(1)
            await asyncio.sleep(0.3)
            assert [item.job_id for item in heard] == ["late"]
            await never.rollback()
            began = asyncio.get_running_loop().time()
            await until_heard(2)
            assert asyncio.get_running_loop().time() - began < 20  # GAP_SECONDS is 30
        assert [item.job_id for item in heard] == ["late", "quick"]
    finally:
        await store.feed.stop()

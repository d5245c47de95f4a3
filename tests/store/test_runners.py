"""Sessions of runners, orders for them, and their reports."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import bindparam, update

from tests.store.samples import attempt, job
from uws_service.domain.errors import Conflict
from uws_service.store import Store
from uws_service.store.attempts import Take
from uws_service.store.database import Query
from uws_service.store.runners import FORGET, KILL, RUN, Fenced, RunnerReport, RunnerState, Session
from uws_service.store.tables import RunnerRow

pytestmark = pytest.mark.anyio
TTL_MS, LOST_MS = 60_000, 3_600_000
JOB = "0192f0c1a2b37abc8def0123456789ab"
KEY = JOB, 1
FIRST, SECOND = "a" * 32, "b" * 32


def session(runner: str, *, bound: bool = True) -> Session:
    return Session(runner, f"host-{runner[0]}", bound, "{}")


def report(sequence: int = 1, **changes: Any) -> RunnerReport:
    values: dict[str, Any] = {"done": {}, "reports": {}, "absent": (), "present": None, **changes}
    return RunnerReport(sequence, **values)


async def opened(store: Store, runner: str = FIRST, *, bound: bool = True) -> RunnerState:
    state = await store.runners.open("far", session(runner, bound=bound), TTL_MS, LOST_MS)
    assert isinstance(state, RunnerState)
    return state


async def let_pass(store: Store, milliseconds: int) -> None:
    """Move a session into the past."""
    table: Any = RunnerRow.__table__.c  # type: ignore[attr-defined]
    less: Any = bindparam("less")
    statement = update(RunnerRow).where(table.site == bindparam("key"))
    query = Query(statement.values(until=table.until - less, contact=table.contact - less))
    await store._database.write(lambda tx: tx.change(query, {"key": "far", "less": milliseconds}))


async def begin_attempt(store: Store) -> None:
    """Put an attempt at the site."""
    waiting = attempt(JOB, site="far")
    await store.create(job(JOB), actor="me", attempt=waiting)
    assert await store.attempts.begin(waiting, Take("far", 1))


async def test_one_runner_at_a_time(store: Store, peer: Store) -> None:
    state = await opened(store)
    refusal = await peer.runners.open("far", session(SECOND), TTL_MS, LOST_MS)
    assert isinstance(refusal, str) and "host-a" in refusal
    await store.runners.renew("far", FIRST, state.epoch, TTL_MS)
    await let_pass(store, TTL_MS + 1)
    later = await opened(peer, SECOND)
    assert later.epoch == state.epoch + 1
    with pytest.raises(Fenced):
        await store.runners.renew("far", FIRST, state.epoch, TTL_MS)
    with pytest.raises(Fenced):
        await store.runners.report("far", FIRST, state.epoch, report(), TTL_MS)


async def test_same_folder_comes_back_at_once(store: Store) -> None:
    """A restart gets the site at once, and its earlier session is over."""
    state = await opened(store)
    later = await opened(store)
    assert later.epoch == state.epoch + 1
    with pytest.raises(Fenced):
        await store.runners.report("far", FIRST, state.epoch, report(), TTL_MS)
    await store.runners.release("far", FIRST, state.epoch)  # of the earlier one: nothing happens
    assert isinstance(await store.runners.open("far", session(SECOND), TTL_MS, LOST_MS), str)
    await store.runners.release("far", FIRST, later.epoch)
    await opened(store, SECOND)


@pytest.mark.parametrize("bound", [True, False])
async def test_jobs_of_a_machine_keep_the_site(store: Store, bound: bool) -> None:
    """Another machine can't go on with processes; it can with what is in a cluster."""
    await begin_attempt(store)
    await opened(store, bound=bound)
    await let_pass(store, TTL_MS + 1)
    answer = await store.runners.open("far", session(SECOND, bound=bound), TTL_MS, LOST_MS)
    assert isinstance(answer, str) == bound
    await let_pass(store, LOST_MS)
    await opened(store, SECOND, bound=bound)


async def test_orders_stay_open_until_they_are_done(store: Store, peer: Store) -> None:
    state = await opened(store)
    assert await store.runners.run("far", KEY, '{"inputs": []}')
    assert not await store.runners.run("far", KEY, '{"inputs": []}')
    (order,) = await peer.runners.orders("far", 0, 10)
    assert (order.job_id, order.number, order.verb) == (JOB, 1, RUN)
    assert await store.runners.end("far", KEY, KILL)
    assert not await store.runners.end("far", KEY, KILL)
    (kill,) = await peer.runners.orders("far", 0, 10)
    assert kill.verb == KILL and kill.order > order.order
    assert not await peer.runners.orders("far", kill.order, 10)
    await store.runners.report("far", FIRST, state.epoch, report(done={KEY: order.order}), TTL_MS)
    assert await store.runners.orders("far", 0, 10) == [kill]  # the older order closes nothing
    await store.runners.report("far", FIRST, state.epoch, report(done={KEY: kill.order}), TTL_MS)
    assert not await store.runners.orders("far", 0, 10)
    assert await store.runners.end("far", KEY, FORGET)
    assert not await store.runners.end("far", KEY, KILL)
    (forget,) = await store.runners.orders("far", 0, 10)
    assert forget.launch is None
    await store.runners.report("far", FIRST, state.epoch, report(done={KEY: forget.order}), TTL_MS)
    assert not await store.runners.attempts("far")


async def test_reports_of_attempts_that_nobody_sent(store: Store) -> None:
    """They make no row, at this site or another."""
    state = await opened(store)
    await store.runners.run("other", KEY, "{}")
    foreign = await store.runners.report("far", FIRST, state.epoch, report(reports={KEY: "{}"}), TTL_MS)
    assert foreign == [KEY]
    assert not await store.runners.attempts("far")
    assert (await store.runners.attempts("other"))[0].report is None


async def test_absent_only_when_the_order_is_done(store: Store) -> None:
    """What is just being handed over is not taken for lost."""
    state = await opened(store)
    await store.runners.run("far", KEY, "{}")
    (order,) = await store.runners.orders("far", 0, 10)
    await store.runners.report("far", FIRST, state.epoch, report(1, present=()), TTL_MS)
    assert not (await store.runners.attempts("far"))[0].absent
    await store.runners.report("far", FIRST, state.epoch, report(2, done={KEY: order.order}), TTL_MS)
    await store.runners.report("far", FIRST, state.epoch, report(3, absent=[KEY]), TTL_MS)
    assert (await store.runners.attempts("far"))[0].absent
    assert await store.runners.run("far", KEY, "{}")  # it is ordered once more
    assert len(await store.runners.orders("far", order.order, 10)) == 1


async def test_late_reports_are_refused(store: Store) -> None:
    state = await opened(store)
    await store.runners.report("far", FIRST, state.epoch, report(5), TTL_MS)
    with pytest.raises(Conflict):
        await store.runners.report("far", FIRST, state.epoch, report(4), TTL_MS)
    await store.runners.report("far", FIRST, state.epoch, report(5), TTL_MS)  # one whose answer was lost


async def test_complete_until_the_site_is_not_seen(store: Store) -> None:
    state = await opened(store)
    assert not state.complete
    await store.runners.report("far", FIRST, state.epoch, report(1, present=()), TTL_MS)
    seen = await store.runners.state("far")
    assert seen is not None and seen.complete
    await store.runners.report("far", FIRST, state.epoch, report(2, problem="no answer"), TTL_MS)
    blind = await store.runners.state("far")
    assert blind is not None and not blind.complete and blind.problem == "no answer"


async def test_state_without_a_runner(store: Store) -> None:
    assert await store.runners.state("far") is None

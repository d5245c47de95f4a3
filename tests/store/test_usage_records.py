"""Records in the store.

Each way in which attempts end, methods, partitions, the migration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import sqlalchemy

from tests.accounting.histories import METER
from tests.store.samples import attempt, job
from uws_service.domain.attempt import AttemptState, Reason, Usage
from uws_service.domain.events import EventKind
from uws_service.domain.job import Phase
from uws_service.domain.usage_record import UsageRecord, month_of
from uws_service.store import Store
from uws_service.store.database import Joint, Params, Query, Row, Transaction
from uws_service.store.schema import _engine, is_postgresql

pytestmark = pytest.mark.anyio
S = AttemptState


async def records(store: Store) -> list[UsageRecord]:
    months = await store.usage.months()
    return [record for month in months async for page in store.usage.month(month) for record in page]


async def test_every_end_has_its_record(store: Store) -> None:
    """Closed by its site, lost and retried, given up while it waited, deleted with its job: once each."""
    store.attempts.meter = METER
    for name in ("done", "lost", "waiting", "deleted"):
        created, _ = await store.create(job(name, phase=Phase.QUEUED), actor="me", attempt=attempt(name, gpus=2))
        if name == "deleted":
            await store.delete(created, actor="me")
        elif name == "waiting":
            await store.save(
                created, created, kind=EventKind.INFO, actor="me", attempts=[replace(attempt(name), wanted=False)]
            )
        else:
            running = attempt(name, state=S.RUNNING, started=5000, site="north", gpus=2)
            await store.attempts.save(running)
            reason = Reason.NODE_LOST if name == "lost" else None
            closed = replace(running, state=S.CLOSED, wanted=False, ended=9000, reason=reason, usage=Usage(4.0))
            following = [attempt(name, 2)] if name == "lost" else []
            stored = await store.get(name)
            assert stored is not None
            await store.save(stored, stored, kind=EventKind.INFO, actor="me", attempts=[closed, *following])
            await store.attempts.save(closed)
    outcome = {record.id: (record.reason, record.waste, record.is_job) for record in await records(store)}
    assert outcome == {
        "done-1": ("", "", True),
        "lost-1": ("NodeLost", "infrastructure", True),
        "waiting-1": ("Aborted", "aborted", False),
        "deleted-1": ("Aborted", "aborted", False),
    }
    done = next(record for record in await records(store) if record.job_id == "done")
    assert (done.gpus, done.gpu_ms, done.wall_s, done.kind, done.month) == (2, 8000, 4, "local", month_of(9000))


async def test_what_agents_measured_counts(store: Store) -> None:
    """Also if who records the end does not know of it."""
    await store.attempts.save(attempt(state=S.RUNNING, started=1000))
    await store.attempts.claim("a", 1, "pod")
    from uws_service.domain.attempt import Report

    await store.attempts.report("a", 1, "pod", Report(cpu=7.5, peak_memory=123))
    await store.attempts.save(attempt(state=S.CLOSED, wanted=False, started=1000, ended=9000, usage=Usage(8.0)))
    (record,) = await records(store)
    assert (record.cpu_ms, record.peak_memory) == (7500, 123)
    await store.attempts.late_usage("a", 1, "pod", 9.0, 200)  # it is recorded already
    assert await records(store) == [record]


async def test_a_refused_change_leaves_no_record(store: Store) -> None:
    """One transaction: no end without a record, no record without an end."""
    from uws_service.store import StaleJob

    created, _ = await store.create(job("a", phase=Phase.QUEUED), actor="me", attempt=attempt())
    closed = attempt(state=S.CLOSED, wanted=False, ended=9000)
    with pytest.raises(StaleJob):
        await store.save(replace(created, version=9), created, kind=EventKind.INFO, actor="me", attempts=[closed])
    assert await records(store) == []


async def test_methods(store: Store) -> None:
    """N-009: what later versions estimate with does not touch what is stored."""
    await store.usage.declare_methods(METER.methods())
    changed = {name: "{}" for name in METER.methods()}
    await store.usage.declare_methods(changed)
    assert await store.usage.methods() == METER.methods()


async def test_partitions(store: Store, url: str) -> None:
    """Each month has its own on PostgreSQL, made ahead; records of other months are kept and found too."""
    store.attempts.meter = METER
    await store.attempts.save(attempt("old", state=S.CLOSED, wanted=False, ended=9000))
    await store.usage.prepare_partitions(197001, 2)  # the first has a record already
    await store.usage.prepare_partitions(197001, 2)
    instant = 32 * 86_400_000
    await store.attempts.save(attempt("new", state=S.CLOSED, wanted=False, ended=instant))
    assert await store.usage.months() == [197001, 197002]
    if is_postgresql(url):
        engine = _engine(url)
        with engine.connect() as connection:
            statement = "SELECT tableoid::regclass::text, job_id FROM usage_record"
            places = {row[1]: row[0] for row in connection.execute(sqlalchemy.text(statement))}
        engine.dispose()
        assert places == {"old": "usage_record_other", "new": "usage_record_197002"}
    assert await store.usage.delete_month(197002) == 1


@pytest.mark.parametrize("half_lives", [0, 1, 3, 5000])
async def test_uses_decay(store: Store, half_lives: int) -> None:
    """Shares count what was used lately; what is very old counts for nothing, and is no error."""
    store.attempts.half_life_ms = 1000.0
    for number, ended in ((1, 10_000), (2, 10_000 + 1000 * half_lives), (3, 9000)):
        running = attempt("a", number, state=S.RUNNING, owner="ada", group="/g", cpu_requested=2.0)
        await store.attempts.save(running)
        await store.attempts.save(replace(running, state=S.CLOSED, wanted=False, ended=ended, usage=Usage(8.0)))
    (use,) = await store.queue.uses()
    assert use.amount == pytest.approx(16 * 2.0**-half_lives + 32)
    assert use.at == 10_000 + 1000 * half_lives


async def test_sums_of_a_month_come_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of the whole month, without the attempts that never started, whatever the size of a page."""
    store.attempts.meter = METER
    for number in range(7):
        running = attempt(f"j{number}", state=S.RUNNING, started=5000 if number else None, site="north")
        await store.attempts.save(replace(running, owner=f"o{number % 3}"))
        closed = replace(running, owner=f"o{number % 3}", state=S.CLOSED, wanted=False, ended=9000, usage=Usage(4.0))
        await store.attempts.save(closed)
    month = month_of(9000)
    measures = ("attempts", "wall_s")
    expected = {
        part.key: {name: part.values[name] for name in measures}
        for part in await store.usage.sums(
            ["owner"], months=(month, month), instants=(0, 10**12), filters={"started": (True,)}
        )
    }
    for size in (1, 2, 100):
        monkeypatch.setattr("uws_service.store.usage.SUMS_PAGE", size)
        pages = [page async for page in store.usage.month_sums(month, ["owner"], measures)]
        assert all(len(page) <= size for page in pages) and len(pages) == -(-3 // size)
        assert {part.key: dict(part.values) for page in pages for part in page} == expected
    assert {key: values["attempts"] for key, values in expected.items()} == {("o0",): 2, ("o1",): 2, ("o2",): 2}


async def test_an_end_is_one_statement_beside_the_look(store: Store) -> None:
    """On PostgreSQL record, attempt and use are sent together: a round trip more is felt at each end of an attempt."""
    store.attempts.meter = METER
    running = attempt("one", state=S.RUNNING, started=5000, site="north")
    await store.attempts.save(running)
    closed = replace(running, state=S.CLOSED, wanted=False, ended=9000, usage=Usage(4.0))
    sent: list[str] = []

    class Watched:
        """A transaction that notes what is sent."""

        def __init__(self, tx: Transaction) -> None:
            self.tx = tx

        def rows(self, query: Query, params: Params) -> Sequence[Row]:
            sent.append("rows")
            return self.tx.rows(query, params)

        def change(self, query: Query, params: Params) -> int:
            sent.append("change")
            return self.tx.change(query, params)

        def together(self, joint: Joint, params: Params) -> None:
            sent.append("together")
            self.tx.together(joint, params)

    await store._database.write(lambda tx: store.attempts.put(Watched(tx), closed))
    assert sent == ["rows", "together"]
    (record,) = await records(store)
    assert (record.id, record.wall_s) == ("one-1", 4)
    (use,) = await store.queue.uses()
    assert use.amount > 0

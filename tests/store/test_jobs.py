"""Jobs in the store."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.store.queues import next_attempts
from tests.store.samples import CLOSED_ATTEMPT, FULL, attempt, job
from uws_service.domain.attempt import AttemptState
from uws_service.domain.errors import ConfigurationError, IdempotencyConflict
from uws_service.domain.events import EventKind
from uws_service.domain.job import Parameter, Phase, Result
from uws_service.domain.jobinfo import JobInfo
from uws_service.store import StaleJob, Store

pytestmark = pytest.mark.anyio


async def listed(store: Store, page: int = 1000, **filters: Any) -> list[str]:
    filters = {"owner": None, **filters}
    return [ref.id async for refs in store.list_jobs("app", page=page, **filters) for ref in refs]


async def test_every_field_comes_back(store: Store, peer: Store) -> None:
    """Every field survives, hard values included."""
    assert await store.create(FULL, actor="me", attempt=CLOSED_ATTEMPT) == (FULL, True)
    for reader in (store, peer):
        assert await reader.get("full") == FULL
        assert await reader.attempts.of("full") == [CLOSED_ATTEMPT]
        glance = await reader.glance("full")
        assert glance == (1, "app", FULL.owner, Phase.ERROR)
    assert await store.get("no such") is None and await store.glance("no such") is None
    assert await store.attempts.of("no such") == [] and await store.history.of("no such") == []


async def test_history(store: Store) -> None:
    """Each change leaves one event; INFO leaves none."""
    first, _ = await store.create(job(), actor="me", origin="198.51.100.7")
    second = await store.save(
        first, replace(first, phase=Phase.QUEUED), kind=EventKind.PHASE, actor="me", detail={"a": [1, "ü"]}
    )
    third = await store.save(
        second, replace(second, info=JobInfo(progress=0.5)), kind=EventKind.INFO, actor="controller"
    )
    await store.delete(third, actor="other")
    events = await store.history.of("a")
    assert [(item.kind, item.phase, item.version, item.actor) for item in events] == [
        ("CREATED", "PENDING", 1, "me"),
        ("PHASE", "QUEUED", 2, "me"),
        ("DELETED", "QUEUED", 4, "other"),
    ]
    assert events[0].origin == "198.51.100.7" and events[1].detail == {"a": [1, "ü"]} and events[0].detail == {}
    assert [item.seq for item in events] == sorted({item.seq for item in events})
    assert await store.history.trim(events[-1].at + 1) == 3
    assert await store.history.of("a") == []


async def test_of_two_writers_one_wins(store: Store, peer: Store) -> None:
    """A refused change writes neither event nor attempt."""
    before, _ = await store.create(job(), actor="me")

    async def write(writer: Store, number: int) -> str:
        after = replace(before, phase=Phase.QUEUED, run_id=str(number))
        try:
            await writer.save(before, after, kind=EventKind.PHASE, actor=str(number), attempts=[attempt(number=number)])
        except StaleJob:
            return "stale"
        return str(number)

    outcomes = await asyncio.gather(*(write((store, peer)[number % 2], number) for number in range(1, 11)))
    (winner,) = [item for item in outcomes if item != "stale"]
    after = await store.get("a")
    assert after is not None and (after.version, after.run_id) == (2, winner)
    assert [item.number for item in await store.attempts.of("a")] == [int(winner)]
    assert [item.actor for item in await store.history.of("a")] == ["me", winner]


async def test_delete_against_change(store: Store, peer: Store) -> None:
    """A deletion and a change exclude each other."""
    for number in range(10):
        before, _ = await store.create(job(f"j{number}"), actor="me", attempt=attempt(f"j{number}"))
        outcomes = await asyncio.gather(
            store.delete(before, actor="deleter"),
            peer.save(before, replace(before, run_id="changed"), kind=EventKind.PARAMETERS, actor="changer"),
            return_exceptions=True,
        )
        assert len([item for item in outcomes if isinstance(item, StaleJob)]) == 1, outcomes
        deleted = outcomes[0] is None
        assert (await store.get(before.id) is None) == deleted
        assert (await store.garbage.referenced([before.id])) == {before.id}
        assert [item.wanted for item in await store.attempts.of(before.id)] == [not deleted]
        with pytest.raises(StaleJob):
            await store.delete(before, actor="again")


async def test_nothing_is_half_written(store: Store) -> None:
    """A failed attempt rolls the whole change back."""
    before, _ = await store.create(job(), actor="me")
    broken = attempt(created=None)
    with pytest.raises(Exception, match=r"(?i)null"):
        await store.save(
            before, replace(before, phase=Phase.QUEUED), kind=EventKind.PHASE, actor="me", attempts=[broken]
        )
    with pytest.raises(Exception, match=r"(?i)null"):
        await store.create(job("b"), actor="me", attempt=broken)
    assert await store.get("a") == before and await store.get("b") is None
    assert len(await store.history.of("a")) == 1 and await store.history.of("b") == []
    assert (await store.save(before, replace(before, run_id="x"), kind=EventKind.PARAMETERS, actor="me")).version == 2


async def test_one_key_makes_one_job(store: Store, peer: Store) -> None:
    """Concurrent requests with the same key create a single job."""

    async def create(writer: Store, number: int) -> tuple[str, bool]:
        saved, fresh = await writer.create(
            job(f"j{number}"), actor="me", idempotency=("key", "same"), attempt=attempt(f"j{number}")
        )
        return saved.id, fresh

    outcomes = await asyncio.gather(*(create((store, peer)[number % 2], number) for number in range(12)))
    assert len({saved for saved, _ in outcomes}) == 1
    assert [fresh for _, fresh in outcomes].count(True) == 1
    assert await listed(store) == [outcomes[0][0]]
    assert len(await next_attempts(store, "local", 100, 5000)) == 1


async def test_a_key_is_for_one_request_of_one_owner(store: Store) -> None:
    """A key belongs to a request, owner and application."""
    await store.create(job("a"), actor="me", idempotency=("key", "one"))
    with pytest.raises(IdempotencyConflict):
        await store.create(job("b"), actor="me", idempotency=("key", "two"))
    assert await store.get("b") is None
    assert (await store.create(job("c", owner="x"), actor="x", idempotency=("key", "two")))[1]
    assert (await store.create(job("d", application="other"), actor="me", idempotency=("key", "two")))[1]
    for number in range(2):  # without a key each request is one of its own
        assert (await store.create(job(f"e{number}"), actor="me"))[1]
    first = await store.get("a")
    assert first is not None
    await store.delete(first, actor="me")
    assert (await store.create(job("f"), actor="me", idempotency=("key", "two")))[1]  # free again with the job


async def test_lists(store: Store) -> None:
    """Lists are filtered and ordered (U-051…U-057)."""
    saved = []
    for number in range(24):
        phase = (Phase.PENDING, Phase.EXECUTING, Phase.ARCHIVED, Phase.COMPLETED)[number % 4]
        # Three jobs have each instant, so that pages end between equal ones.
        item = job(f"{(number * 7) % 24:02}", created=1000 + number // 3, phase=phase)
        saved.append(item)
    await asyncio.gather(*(store.create(item, actor="me") for item in saved))
    await store.create(job("hers", owner="her"), actor="her")
    await store.create(job("sync", listed=False), actor="me")
    await store.create(job("elsewhere", application="other"), actor="me")
    ordered = sorted(saved, key=lambda item: (item.created, item.id), reverse=True)
    for page in (1, 2, 3, 7, 1000):
        plain = [item.id for item in ordered if item.phase is not Phase.ARCHIVED]
        assert await listed(store, page) == plain
        assert await listed(store, page, last=5) == plain[:5]
        assert await listed(store, page, last=0) == []
        for phases in ({Phase.ARCHIVED}, {Phase.PENDING, Phase.COMPLETED}, {Phase.ARCHIVED, Phase.EXECUTING}):
            expected = [item.id for item in ordered if item.phase in phases and item.created > 1003]
            assert await listed(store, page, phases=frozenset(phases), after=1003) == expected
            assert await listed(store, page, phases=frozenset(phases), after=1003, last=2) == expected[:2]
        assert await listed(store, page, after=1007) == []
    assert await listed(store, owner="her") == ["hers"]
    assert await listed(store, owner="nobody") == []


async def test_a_list_that_is_read_while_jobs_come_and_go(store: Store) -> None:
    """Changes between pages repeat and skip nothing."""
    jobs = [(await store.create(job(f"{number:02}", created=number), actor="me"))[0] for number in range(10)]
    ids: list[str] = []
    async for refs in store.list_jobs("app", owner=None, page=3):
        if not ids:
            await store.create(job("new", created=99), actor="me")
            await store.delete(jobs[7], actor="me")
            await store.delete(jobs[3], actor="me")
        ids += [ref.id for ref in refs]
    assert ids == ["09", "08", "07", "06", "05", "04", "02", "01", "00"]


async def test_due(store: Store) -> None:
    """Due jobs come oldest first (U-133)."""
    for number in range(5):
        await store.create(job(f"j{number}", destruction=100 - number), actor="me")
    await store.create(job("kept", destruction=None), actor="me")
    await store.create(job("archived", destruction=1, phase=Phase.ARCHIVED), actor="me")
    assert [item.id for item in await store.due(95, 10)] == []
    assert [item.id for item in await store.due(98, 10)] == ["j4", "j3", "j2"]
    assert [item.id for item in await store.due(1000, 2)] == ["j4", "j3"]


async def test_garbage(store: Store) -> None:
    """Files are removable once nothing runs (U-132)."""
    running = attempt("a", state=AttemptState.RUNNING)
    before, _ = await store.create(job("a"), actor="me", attempt=running)
    await store.create(job("b"), actor="me")
    await store.delete(before, actor="me")
    assert await store.garbage.removable(10) == []
    assert await store.garbage.referenced(["a", "b", "c"]) == {"a", "b"}
    assert [(item.job_id, item.wanted) for item in await store.attempts.live("local")] == [("a", False)]
    await store.attempts.save(replace(running, state=AttemptState.CLOSED, ended=5))
    assert await store.garbage.removable(10) == ["a"]
    assert await store.attempts.live("local") == []
    await store.garbage.remove("a")
    await store.garbage.remove("a")  # a second reaper
    assert await store.garbage.removable(10) == [] and await store.garbage.referenced(["a", "b"]) == {"b"}
    for number in range(3):
        await store.delete((await store.create(job(f"g{number}"), actor="me"))[0], actor="me")
    assert len(await store.garbage.removable(2)) == 2


async def test_counts(store: Store, peer: Store) -> None:
    """An emptied phase counts 0."""
    before, _ = await store.create(job("a"), actor="me")
    await store.create(job("b", phase=Phase.QUEUED, application="x", listed=False), actor="me")
    assert await store.phase_counts() == {("app", "PENDING"): 1, ("x", "QUEUED"): 1}
    after = replace(before, phase=Phase.ERROR, results=(Result("r", "k", "t/t", 1, ""),))
    await store.save(before, after, kind=EventKind.PHASE, actor="me")
    assert await store.phase_counts() == {("app", "PENDING"): 1, ("x", "QUEUED"): 1}  # counted a moment ago
    assert await peer.phase_counts() == {("app", "ERROR"): 1, ("x", "QUEUED"): 1}
    store._counts = (-1e9, store._counts[1])
    assert await store.phase_counts() == {("app", "PENDING"): 0, ("app", "ERROR"): 1, ("x", "QUEUED"): 1}


@pytest.mark.parametrize("unknown", ["mysql://h/d", "sqlite:relative", "nonsense"])
async def test_other_databases_are_refused(unknown: str) -> None:
    """With what is allowed."""
    with pytest.raises(ConfigurationError, match=r"use sqlite:////… or postgresql://…"):
        await Store.open(unknown, create=True)


@pytest.mark.anyio
async def test_ids_that_no_database_can_hold(store: Store) -> None:
    """There is no such job: a client that writes a NUL into a path is no fault of the service."""
    assert await store.get("a\0b") is None
    assert await store.glance("a\0b") is None
    assert await store.repeats.find("app", None, "a\0b") is None
    assert [page async for page in store.list_jobs("app", owner=None, run_id="a\0b")] == []
    assert await store.get("absent") is None


HARD = 'nul \0, 𝄞, \ud800, "],[\\ ]'
LARGE = tuple(Parameter(f"P{number}", HARD * 80_000) for number in range(3))
"""Together larger than what is read in one go, by both bounds."""


async def test_large_jobs(store: Store, peer: Store) -> None:
    """Many MiB of values come back; changes of other things leave them, and what the owner holds is counted."""
    before, _ = await store.create(job(owner="me", parameters=LARGE), actor="me")
    assert await peer.get("a") == before
    text = sum(len(json.dumps([item.name, item.value, None, None, None])) for item in LARGE)
    holding = (await store.access.holding("me"))[Phase.PENDING][1]
    assert text * 0.9 < holding < text * 1.1
    results = (
        Result("r", "k", "text/csv", 1000, "0" * 64),
        Result("s", "", "text/csv", 50, "", "https://lake.example"),
    )
    with_results = await store.save(before, replace(before, results=results), kind=EventKind.PHASE, actor="me")
    assert await peer.get("a") == with_results and with_results.parameters == LARGE
    assert (await store.access.holding("me"))[Phase.PENDING][1] == holding + 1000
    shorter = await store.save(
        with_results, replace(with_results, parameters=LARGE[:1], results=()), kind=EventKind.PARAMETERS, actor="me"
    )
    assert await peer.get("a") == shorter and shorter.parameters == LARGE[:1]
    assert (await store.access.holding("me"))[Phase.PENDING][1] < holding / 2
    assert [item.id for item in await store.due(10_000, 5)] == ["a"]


async def test_changes_at_once(store: Store, peer: Store) -> None:
    """Of many changes that may share a transaction those that fail leave nothing, the others all."""
    await store.create(job("twice"), actor="me")
    current = await store.get("twice")
    assert current is not None

    async def create(name: str) -> str:
        await store.create(job(name), actor="me")
        return name

    async def abort() -> str:
        changed = replace(current, phase=Phase.ABORTED)
        return str((await store.save(current, changed, kind=EventKind.PHASE, actor="me")).version)

    names = [f"n{number}" for number in range(30)]
    outcomes = await asyncio.gather(
        *(create(name) for name in names), create("twice"), abort(), abort(), return_exceptions=True
    )
    assert outcomes[:30] == names and isinstance(outcomes[30], Exception)
    assert sorted(type(outcome).__name__ for outcome in outcomes[31:]) == ["StaleJob", "str"]
    assert sorted(await listed(peer)) == sorted([*names, "twice"])
    events = {name: [event.kind for event in await peer.history.of(name)] for name in [*names, "twice"]}
    assert events == {**{name: ["CREATED"] for name in names}, "twice": ["CREATED", "PHASE"]}

"""Attempts in the store.

Fairness, no way back, the accounts.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.store.queues import next_attempts
from tests.store.samples import attempt, job
from uws_service.domain.attempt import Attempt, AttemptState
from uws_service.store import Store
from uws_service.store.attempts import Take

pytestmark = pytest.mark.anyio
S = AttemptState


async def put(store: Store, *attempts: Attempt) -> None:
    await asyncio.gather(*(store.attempts.save(item) for item in attempts))


async def chosen(store: Store, free: int, now: int = 5000, site: str = "local") -> list[str]:
    return [item.job_id for item in await next_attempts(store, site, free, now)]


async def test_oldest_first(store: Store) -> None:
    """Attempts of an owner start in order."""
    await put(
        store,
        attempt("new", created=30),
        attempt("old", created=10),
        attempt("middle", created=20),
        attempt("elsewhere", created=1, site="other"),
        attempt("later", created=2, not_before=6000),
        attempt("unwanted", created=3, wanted=False),
        attempt("open", created=4, state=S.SUBMITTED),
        attempt("closed", created=5, state=S.CLOSED),
    )
    assert await chosen(store, 10) == ["old", "middle", "new"]
    assert await chosen(store, 2) == ["old", "middle"]
    assert await chosen(store, 0) == []
    assert await chosen(store, 10, now=5999) == ["old", "middle", "new"]
    assert await chosen(store, 10, now=6000) == ["later", "old", "middle", "new"]
    assert await chosen(store, 10, site="other") == ["elsewhere"]
    assert await chosen(store, 10, site="nowhere") == []


async def test_begun_and_given_back(store: Store) -> None:
    """An attempt is submitted by a single writer.

    One that never reached its site waits again, and not before an instant.
    """
    await put(store, attempt("one", created=10))
    (waiting,) = await next_attempts(store, "local", 5, 5000)
    take = Take("local", 5000)
    assert await store.attempts.begin(waiting, take) and not await store.attempts.begin(waiting, take)
    assert await chosen(store, 5) == []
    await store.attempts.give_back(waiting, 7000)
    (back,) = await store.attempts.of("one")
    assert (back.state, back.submitted, back.not_before) == (S.WAITING, None, 7000)
    assert await chosen(store, 5, now=6999) == [] and await chosen(store, 5, now=7000) == ["one"]


async def test_owners_take_turns(store: Store) -> None:
    """The owner who has used the least comes first; what runs at all sites counts."""
    await put(store, *(attempt(f"a{n}", owner="a", created=n) for n in range(50)))
    await put(store, attempt("b1", owner="b", created=100), attempt("b2", owner="b", created=101))
    await put(store, attempt("anonymous", owner="", created=200))
    assert await chosen(store, 4) == ["anonymous", "a0", "b1", "a1"]
    await put(store, *(attempt(f"r{n}", owner="a", state=S.RUNNING) for n in range(2)))
    await put(store, attempt("s", owner="b", state=S.SUBMITTED), attempt("x", owner="", site="other", state=S.RUNNING))
    assert await chosen(store, 4) == ["anonymous", "b1", "a0", "b2"]  # at work: a 2, b 1, anonymous 1
    assert await chosen(store, 1) == ["anonymous"]
    assert len(await chosen(store, 100)) == 53


async def test_waiting_ahead(store: Store) -> None:
    """Attempts ahead are counted up to a cap."""
    await put(store, *(attempt(f"a{n}", created=n) for n in range(9)), attempt("x", site="other", created=0))
    assert await store.attempts.waiting_ahead(attempt("a4", created=4)) == 4
    assert await store.attempts.waiting_ahead(attempt("a8", created=8), cap=3) == 3
    assert await store.attempts.waiting_ahead(attempt("a0", created=0)) == 0


async def test_no_way_back(store: Store) -> None:
    """An older row turns no attempt back."""
    await put(store, attempt(state=S.RUNNING, started=5))
    await put(store, attempt(state=S.SUBMITTED, submitted=4))
    (stored,) = await store.attempts.of("a")
    assert stored.state is S.RUNNING
    await put(store, replace(stored, wanted=False))
    await put(store, replace(stored, wanted=True))
    (stored,) = await store.attempts.of("a")
    assert not stored.wanted and stored.state is S.RUNNING
    closed = replace(stored, state=S.CLOSED, ended=9, exit_code=3, reason="ExitCode", message="m")
    await put(store, closed)
    await put(store, attempt(state=S.RUNNING, started=99, message="late"))
    assert await store.attempts.of("a") == [closed]


async def test_live_attempts(store: Store) -> None:
    """Live attempts are present or unwanted."""
    await put(
        store,
        attempt("waiting"),
        attempt("taken back", wanted=False),
        attempt("submitted", state=S.SUBMITTED),
        attempt("running", state=S.RUNNING),
        attempt("unwanted", state=S.RUNNING, wanted=False),
        attempt("closed", state=S.CLOSED, ended=1),
        attempt("elsewhere", state=S.RUNNING, site="other"),
    )
    live = sorted(item.job_id for item in await store.attempts.live("local"))
    assert live == ["running", "submitted", "unwanted"]  # one that waited is closed at once


async def test_usage(store: Store) -> None:
    """Pages of closed attempts are complete and ordered."""
    ended = [10, 20, 20, 20, 30, 40]
    await put(store, *(attempt(f"j{n}", state=S.CLOSED, ended=end) for n, end in enumerate(ended)))
    # A job's first attempt may be found lost in the very moment in which its second one is closed.
    await put(store, *(attempt("j2", number, state=S.CLOSED, ended=20) for number in (2, 3)))
    await put(store, attempt("open", state=S.RUNNING, ended=20))
    expected = [("j1", 1), ("j2", 1), ("j2", 2), ("j2", 3), ("j3", 1), ("j4", 1)]
    for page in (1, 2, 3, 4, 1000):
        pages = [rows async for rows in store.attempts.usage(20, 40, page)]
        assert [(item.job_id, item.number) for rows in pages for item in rows] == expected, page
        assert all(0 < len(rows) <= page for rows in pages)
    assert [rows async for rows in store.attempts.usage(41, 99)] == []
    assert [item.job_id async for rows in store.attempts.usage(-5, 11) for item in rows] == ["j0"]


async def test_accounts_outlive_the_job(store: Store) -> None:
    """Attempts stay when their job is deleted."""
    saved, _ = await store.create(job(), actor="me", attempt=attempt(state=S.CLOSED, ended=5))
    await store.delete(saved, actor="me")
    assert [item.job_id async for rows in store.attempts.usage(0, 10) for item in rows] == ["a"]


async def test_an_owner_with_a_limit(store: Store, peer: Store) -> None:
    """An owner's limit holds across all sites."""
    attempts = [attempt(f"mine{n}", owner="me", owner_slots=2, created=n) for n in range(4)]
    await put(store, *attempts, attempt("theirs", owner="them", created=9))
    await put(store, attempt("busy", owner="me", site="elsewhere", state=S.RUNNING))
    assert sorted(await chosen(store, 9)) == ["mine0", "theirs"]
    assert await store.attempts.begin(attempts[0], Take(attempts[0].site, 5))
    assert await chosen(store, 9) == ["theirs"]
    assert not await store.attempts.begin(attempts[1], Take(attempts[1].site, 5))
    await put(store, attempt("busy", owner="me", site="elsewhere", state=S.CLOSED))
    results = await asyncio.gather(
        *((store, peer)[n % 2].attempts.begin(item, Take(item.site, 5)) for n, item in enumerate(attempts[1:], 1))
    )
    assert sorted(results) == [False, False, True]  # never more, however many begin at once
    assert await store.attempts.at_work("me") == 2

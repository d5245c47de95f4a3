"""Sessions, shares, secrets and holdings on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import databases
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job, Parameter, Phase, Result
from uws_service.domain.share import Share
from uws_service.store import Store
from uws_service.store.access import hashed

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = databases.new_sqlite(tmp_path) if request.param == "sqlite" else databases.new_postgresql()
    opened = await Store.open(url, create=True)
    yield opened
    await opened.close()


async def test_sessions(store: Store) -> None:
    """Sessions can be read until they end."""
    secret = await store.access.open_session("session", "alice", 1000, 5000)
    assert await store.access.session("session", secret, 4999) == ("alice", 5000)
    assert await store.access.session("other", secret, 4999) is None
    assert await store.access.session("session", secret, 5000) is None
    assert await store.access.session("session", hashed(secret), 2000) is None
    await store.access.open_session("session", "bob", 6000, 7000, "bob")
    third = await store.access.open_session("session", "eve", 6000, 7000, "eve")
    assert await store.access.end_sessions("bob") == 1 and await store.access.end_sessions("bob") == 0
    assert await store.access.session("session", third, 6001) == ("eve", 7000)
    assert not await store.access.end_session(secret)
    second = await store.access.open_session("session", "bob", 6000, 7000)
    assert await store.access.end_session(second)
    assert await store.access.session("session", second, 6001) is None


async def test_secrets(store: Store) -> None:
    """Made once, then the same for everybody."""
    first = await store.access.secret("cookies")
    assert len(first) == 32 and first == await store.access.secret("cookies")
    assert first != await store.access.secret("other")


def job(name: str, **fields: object) -> Job:
    pending = Job(name, "probe", "alice", Phase.PENDING, created=1, duration=0, destruction=None)
    return replace(pending, **fields)  # type: ignore[arg-type]


async def test_shares(store: Store) -> None:
    """Shares last until their end, or their job's."""
    owned, _ = await store.create(job("one"), actor="alice")
    await store.create(job("two"), actor="alice")
    share = Share("s1", "one", hashed("x"), None, "alice", 1000, 5000)
    await store.access.add_share(share, 1000, 9)
    await store.access.add_share(Share("s2", "one", None, "/team", "alice", 1001, 9000), 1001, 9)
    await store.access.add_share(Share("s3", "two", None, "/team", "alice", 1002, 9000), 1002, 9)
    assert [share.id for share in await store.access.shares("one", 2000)] == ["s1", "s2"]
    assert (await store.access.shares("one", 2000))[0] == share
    assert [share.id for share in await store.access.shares("one", 5000)] == ["s2"]
    assert not await store.access.end_share("one", "s3")
    assert await store.access.end_share("two", "s3")
    await store.delete(owned, actor="alice")
    await store.access.add_share(Share("s4", "two", None, "/team", "alice", 1002, 9000), 1002, 9)
    assert await store.access.shares("one", 2000) == []


async def test_shares_at_the_same_moment(store: Store) -> None:
    """A job has no more of them than it may have."""
    await store.create(job("one"), actor="alice")
    shares = [Share(f"s{number}", "one", None, "/team", "alice", 1000, 9000) for number in range(20)]
    added = await asyncio.gather(*(store.access.add_share(share, 1000, 5) for share in shares))
    assert sum(added) == 5 == len(await store.access.shares("one", 2000))
    assert await store.access.add_share(replace(shares[0], id="late"), 9000, 5)  # the others have ended


async def test_holding(store: Store) -> None:
    """Numbers and bytes of jobs follow each change."""
    upload = Parameter("F", "f", "key", "text/csv", 300)
    size = 300 + len('[["F","f","key","text/csv",300]]')
    saved, _ = await store.create(job("one", parameters=(upload,)), actor="alice")
    await store.create(job("two"), actor="alice")
    await store.create(job("three", owner="bob"), actor="bob")
    await store.create(job("four", owner=None), actor="anonymous")
    assert await store.access.holding("alice") == {"PENDING": (2, size)}
    assert await store.access.holding(None) == {"PENDING": (1, 0)}
    result = Result("result", "key", "text/plain", 700, "0")
    ended = replace(saved, phase=Phase.COMPLETED, results=(result,))
    await store.save(saved, ended, kind=EventKind.PHASE, actor="site")
    assert await store.access.holding("alice") == {"PENDING": (1, 0), "COMPLETED": (1, size + 700)}
    assert await store.access.holding("nobody") == {}

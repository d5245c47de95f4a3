"""Leases and owners of sites, by the clock of the database."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from tests.store.samples import attempt, job
from uws_service.domain.attempt import AttemptState as S
from uws_service.store import Store, WorkFolder, lease_of
from uws_service.store.attempts import put_attempt

pytestmark = pytest.mark.anyio
TTL, LOST = 60_000, 3_600_000
HERE, THERE = WorkFolder("a" * 32, "one", "/srv/work"), WorkFolder("b" * 32, "two", "/srv/work")


async def let_pass(store: Store, name: str, milliseconds: int) -> None:
    """Move the end of a lease into the past: time goes by."""
    from sqlalchemy import bindparam, update

    from uws_service.store.database import Query
    from uws_service.store.tables import LeaseRow

    table = LeaseRow.__table__.c  # type: ignore[attr-defined]
    statement = update(LeaseRow).where(table.name == bindparam("key")).values(until=table.until - bindparam("less"))
    await store._database.write(lambda tx: tx.change(Query(statement), {"key": name, "less": milliseconds}))


async def test_lease(store: Store, other: Store) -> None:
    """One holder until the time is over; a new holder has a higher fencing number, the same one keeps its own."""
    mine, theirs = store.owners, other.owners
    assert await mine.acquire_lease("site", "one", TTL) == 1
    assert await theirs.acquire_lease("site", "two", TTL) is None
    assert await mine.acquire_lease("site", "one", TTL) == 1
    assert await theirs.acquire_lease("elsewhere", "two", TTL) == 1
    await let_pass(store, "site", TTL + 1)
    assert await theirs.acquire_lease("site", "two", TTL) == 2
    assert await mine.acquire_lease("site", "one", TTL) is None
    await let_pass(store, "site", TTL + 1)
    assert await mine.acquire_lease("site", "one", TTL) == 3  # a holder that lost it begins anew


async def test_expired_lease_of_the_same_holder(store: Store) -> None:
    """Between its expiry and now somebody else may have acted: the number grows."""
    assert await store.owners.acquire_lease("site", "one", TTL) == 1
    await let_pass(store, "site", TTL + 1)
    assert await store.owners.acquire_lease("site", "one", TTL) == 2


async def test_release(store: Store, other: Store) -> None:
    """Only the holder can give a lease back; it is free at once then."""
    assert await store.owners.acquire_lease("site", "one", TTL) == 1
    await other.owners.release_lease("site", "two")
    await other.owners.release_lease("nothing", "two")
    assert await other.owners.acquire_lease("site", "two", TTL) is None
    await store.owners.release_lease("site", "one")
    assert await other.owners.acquire_lease("site", "two", TTL) == 2


async def test_many_want_one_lease(store: Store, other: Store) -> None:
    """Processes that start at the same moment: exactly one has it, the others are told so."""
    for name in ("first", "second", "third"):
        for _ in ("when it is new", "when it has expired"):
            numbers = await asyncio.gather(
                *((store, other)[n % 2].owners.acquire_lease(name, f"h{n}", TTL) for n in range(10))
            )
            assert len([number for number in numbers if number is not None]) == 1, numbers
            await let_pass(store, name, TTL + 1)


async def test_many_want_one_local_site(store: Store, other: Store) -> None:
    """Exactly one work folder has it, and all others hear which."""
    folders = [WorkFolder(f"{n:032}", f"host{n}", "/work") for n in range(10)]
    found = await asyncio.gather(
        *((store, other)[n % 2].owners.own("local", one, TTL, LOST) for n, one in enumerate(folders))
    )
    (winner,) = (folder for folder, owner in zip(folders, found, strict=True) if owner is None)
    assert {owner.folder for owner in found if owner is not None} == {winner}


async def test_a_folder_has_its_site_back_at_once(store: Store) -> None:
    """A restart does not wait; the same folder seen from another machine waits for the end of the lease."""
    assert await store.owners.own("local", HERE, TTL, LOST) is None
    assert await store.owners.own("local", HERE, TTL, LOST) is None
    mounted = WorkFolder(HERE.id, "elsewhere", "/mnt/work")
    refused = await store.owners.own("local", mounted, TTL, LOST)
    assert refused is not None and refused.folder == HERE and 0 < refused.remaining <= TTL
    await let_pass(store, lease_of("local"), TTL + 1)
    assert await store.owners.own("local", mounted, TTL, LOST) is None


@pytest.mark.parametrize("state", [S.SUBMITTED, S.RUNNING])
async def test_a_site_where_jobs_may_run_stays(store: Store, other: Store, state: S) -> None:
    """Another folder gets it once nothing is open there, or when its owner was away for very long."""
    assert await store.owners.own("here", HERE, TTL, LOST) is None
    made, _ = await store.create(job(), actor="me", attempt=attempt(state=state, site="here"))
    await let_pass(store, lease_of("here"), TTL + 1)
    refused = await other.owners.own("here", THERE, TTL, LOST)
    assert refused is not None and (refused.folder, refused.attempts) == (HERE, 1) and refused.remaining <= 0
    assert await store.owners.own("here", HERE, TTL, LOST) is None  # the refusal has changed nothing
    await let_pass(store, lease_of("here"), TTL + LOST + 1)
    assert await other.owners.own("here", THERE, TTL, LOST) is None
    await let_pass(store, lease_of("here"), TTL + 1)
    assert await store.owners.own("here", HERE, TTL, LOST) is not None
    await store.attempts.save(attempt(state=S.CLOSED, site="here"))
    assert await store.owners.own("here", HERE, TTL, LOST) is None
    assert made.id == attempt().job_id


async def test_a_folder_that_was_replaced(store: Store) -> None:
    """A new folder of the same machine and path: what ran in the old one is gone."""
    assert await store.owners.own("here", HERE, TTL, LOST) is None
    await store.create(job(), actor="me", attempt=attempt(state=S.RUNNING, site="here"))
    fresh = WorkFolder("c" * 32, HERE.host, HERE.path)
    assert await store.owners.own("here", fresh, TTL, LOST) is not None
    await let_pass(store, lease_of("here"), TTL + 1)
    assert await store.owners.own("here", fresh, TTL, LOST) is None


async def test_an_operator_releases_a_site(store: Store) -> None:
    """Not while it is driven; then whoever asks first has it."""
    assert await store.owners.own("here", HERE, TTL, LOST) is None
    await store.create(job(), actor="me", attempt=attempt(state=S.RUNNING, site="here"))
    assert (await store.owners.release("here")).remaining > 0
    await let_pass(store, lease_of("here"), TTL + 1)
    assert await store.owners.own("here", THERE, TTL, LOST) is not None
    assert (await store.owners.release("here")).attempts == 1
    assert await store.owners.own("here", THERE, TTL, LOST) is None
    assert (await store.owners.release("never")).holder == ""


async def test_only_the_driver_begins_attempts(store: Store, other: Store) -> None:
    """A process that has lost its site can't take a job to it, however late it finds out."""
    await store.create(job(), actor="me", attempt=attempt(state=S.WAITING, site="here"))
    assert await store.owners.own("here", HERE, TTL, LOST) is None
    await let_pass(store, lease_of("here"), TTL + 1)
    assert await other.owners.own("here", THERE, TTL, LOST) is None
    waiting = attempt(state=S.WAITING, site="here")
    assert not await store.attempts.begin(waiting, 5, driver=str(HERE))
    assert await other.attempts.begin(waiting, 5, driver=str(THERE))


async def test_taking_over_while_an_attempt_begins(store: Store, url: str) -> None:
    """The two exclude each other, whichever comes first."""
    if url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    from uws_service.store.sites import is_held

    assert await store.owners.own("here", HERE, TTL, LOST) is None
    await let_pass(store, lease_of("here"), TTL + 1)
    with psycopg.connect(url) as connection:  # a transaction that has looked at the lease and goes on

        class Slow:
            def rows(self, query, params):  # type: ignore[no-untyped-def]
                return connection.execute(query.postgresql, {**query.defaults, **params}).fetchall()

            def change(self, query, params):  # type: ignore[no-untyped-def]
                return connection.execute(query.postgresql, {**query.defaults, **params}).rowcount

        assert is_held(Slow(), "here", str(HERE))
        taking = asyncio.create_task(store.owners.own("here", THERE, TTL, LOST))
        _, pending = await asyncio.wait({taking}, timeout=0.5)
        assert pending
        put_attempt(Slow(), attempt(state=S.SUBMITTED, site="here"))
        connection.commit()
    refused = await taking
    assert refused is not None and refused.folder == HERE and refused.attempts == 1

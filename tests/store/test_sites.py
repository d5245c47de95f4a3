"""Leases and owners of sites."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from tests.store.samples import attempt, job
from uws_service.domain.attempt import AttemptState as S
from uws_service.store import Store, WorkFolder, lease_of
from uws_service.store.attempts import Take

pytestmark = pytest.mark.anyio
TTL_MS, LOST_MS = 60_000, 3_600_000
FOLDER_A, FOLDER_B = WorkFolder("a" * 32, "one", "/srv/work"), WorkFolder("b" * 32, "two", "/srv/work")


async def let_pass(store: Store, name: str, milliseconds: int) -> None:
    """Move the end of a lease into the past."""
    from sqlalchemy import bindparam, update

    from uws_service.store.database import Query
    from uws_service.store.tables import LEASE_TABLE

    table = LEASE_TABLE.c
    statement = update(LEASE_TABLE).where(table.name == bindparam("key")).values(until=table.until - bindparam("less"))
    await store._database.write(lambda tx: tx.change(Query(statement), {"key": name, "less": milliseconds}))


async def test_lease(store: Store, peer: Store) -> None:
    """A lease has a single holder until its end.

    A new holder has a higher fencing number, the same holder keeps its number.
    """
    first, second = store.owners, peer.owners
    assert await first.acquire_lease("site", "one", TTL_MS) == 1
    assert await second.acquire_lease("site", "two", TTL_MS) is None
    assert await first.acquire_lease("site", "one", TTL_MS) == 1
    assert await second.acquire_lease("elsewhere", "two", TTL_MS) == 1
    await let_pass(store, "site", TTL_MS + 1)
    assert await second.acquire_lease("site", "two", TTL_MS) == 2
    assert await first.acquire_lease("site", "one", TTL_MS) is None
    await let_pass(store, "site", TTL_MS + 1)
    assert await first.acquire_lease("site", "one", TTL_MS) == 3  # a holder that lost it begins anew


async def test_expired_lease_of_the_same_holder(store: Store) -> None:
    """A late renewal gets a new number."""
    assert await store.owners.acquire_lease("site", "one", TTL_MS) == 1
    await let_pass(store, "site", TTL_MS + 1)
    assert await store.owners.acquire_lease("site", "one", TTL_MS) == 2


async def test_release(store: Store, peer: Store) -> None:
    """The holder alone can release a lease."""
    assert await store.owners.acquire_lease("site", "one", TTL_MS) == 1
    await peer.owners.release_lease("site", "two")
    await peer.owners.release_lease("nothing", "two")
    assert await peer.owners.acquire_lease("site", "two", TTL_MS) is None
    await store.owners.release_lease("site", "one")
    assert await peer.owners.acquire_lease("site", "two", TTL_MS) == 2


async def test_many_want_one_lease(store: Store, peer: Store) -> None:
    """A single process gets the lease."""
    for name in ("first", "second", "third"):
        for _ in ("when it is new", "when it has expired"):
            numbers = await asyncio.gather(
                *((store, peer)[n % 2].owners.acquire_lease(name, f"h{n}", TTL_MS) for n in range(10))
            )
            assert len([number for number in numbers if number is not None]) == 1, numbers
            await let_pass(store, name, TTL_MS + 1)


async def test_many_want_one_local_site(store: Store, peer: Store) -> None:
    """A single work folder gets the site."""
    folders = [WorkFolder(f"{n:032}", f"host{n}", "/work") for n in range(10)]
    owners = await asyncio.gather(
        *((store, peer)[n % 2].owners.own("local", folder, TTL_MS, LOST_MS) for n, folder in enumerate(folders))
    )
    (winner,) = (folder for folder, owner in zip(folders, owners, strict=True) if owner is None)
    assert {owner.folder for owner in owners if owner is not None} == {winner}


async def test_a_folder_has_its_site_back_at_once(store: Store) -> None:
    """The owner's folder gets its site at once.

    Seen from another machine it waits for the end of the lease.
    """
    assert await store.owners.own("local", FOLDER_A, TTL_MS, LOST_MS) is None
    assert await store.owners.own("local", FOLDER_A, TTL_MS, LOST_MS) is None
    mounted = WorkFolder(FOLDER_A.id, "elsewhere", "/mnt/work")
    refused = await store.owners.own("local", mounted, TTL_MS, LOST_MS)
    assert refused is not None and refused.folder == FOLDER_A and 0 < refused.remaining <= TTL_MS
    await let_pass(store, lease_of("local"), TTL_MS + 1)
    assert await store.owners.own("local", mounted, TTL_MS, LOST_MS) is None


@pytest.mark.parametrize("state", [S.SUBMITTED, S.RUNNING])
async def test_a_site_where_jobs_may_run_stays(store: Store, peer: Store, state: S) -> None:
    """A site with open attempts keeps its owner.

    Another folder gets it once nothing is open there, or when its owner was away for very long.
    """
    assert await store.owners.own("here", FOLDER_A, TTL_MS, LOST_MS) is None
    saved, _ = await store.create(job(), actor="me", attempt=attempt(state=state, site="here"))
    await let_pass(store, lease_of("here"), TTL_MS + 1)
    refused = await peer.owners.own("here", FOLDER_B, TTL_MS, LOST_MS)
    assert refused is not None and (refused.folder, refused.attempts) == (FOLDER_A, 1) and refused.remaining <= 0
    assert await store.owners.own("here", FOLDER_A, TTL_MS, LOST_MS) is None  # the refusal has changed nothing
    await let_pass(store, lease_of("here"), TTL_MS + LOST_MS + 1)
    assert await peer.owners.own("here", FOLDER_B, TTL_MS, LOST_MS) is None
    await let_pass(store, lease_of("here"), TTL_MS + 1)
    assert await store.owners.own("here", FOLDER_A, TTL_MS, LOST_MS) is not None
    await store.attempts.save(attempt(state=S.CLOSED, site="here"))
    assert await store.owners.own("here", FOLDER_A, TTL_MS, LOST_MS) is None
    assert saved.id == attempt().job_id


async def test_a_folder_that_was_replaced(store: Store) -> None:
    """A new folder at the same place replaces the old one."""
    assert await store.owners.own("here", FOLDER_A, TTL_MS, LOST_MS) is None
    await store.create(job(), actor="me", attempt=attempt(state=S.RUNNING, site="here"))
    fresh = WorkFolder("c" * 32, FOLDER_A.host, FOLDER_A.path)
    assert await store.owners.own("here", fresh, TTL_MS, LOST_MS) is not None
    await let_pass(store, lease_of("here"), TTL_MS + 1)
    assert await store.owners.own("here", fresh, TTL_MS, LOST_MS) is None


async def test_an_operator_releases_a_site(store: Store) -> None:
    """A site can be released when its owner has stopped."""
    assert await store.owners.own("here", FOLDER_A, TTL_MS, LOST_MS) is None
    await store.create(job(), actor="me", attempt=attempt(state=S.RUNNING, site="here"))
    assert (await store.owners.release("here")).remaining > 0
    await let_pass(store, lease_of("here"), TTL_MS + 1)
    assert await store.owners.own("here", FOLDER_B, TTL_MS, LOST_MS) is not None
    assert (await store.owners.release("here")).attempts == 1
    assert await store.owners.own("here", FOLDER_B, TTL_MS, LOST_MS) is None
    assert (await store.owners.release("never")).holder == ""


async def test_only_the_driver_begins_attempts(store: Store, peer: Store) -> None:
    """A former owner submits no attempt."""
    await store.create(job(), actor="me", attempt=attempt(state=S.WAITING, site="here"))
    assert await store.owners.own("here", FOLDER_A, TTL_MS, LOST_MS) is None
    await let_pass(store, lease_of("here"), TTL_MS + 1)
    assert await peer.owners.own("here", FOLDER_B, TTL_MS, LOST_MS) is None
    waiting = attempt(state=S.WAITING, site="here")
    assert not await store.attempts.begin(waiting, Take(waiting.site, 5, str(FOLDER_A)))
    assert await peer.attempts.begin(waiting, Take(waiting.site, 5, str(FOLDER_B)))


async def test_only_the_driver_gives_attempts_back(store: Store, peer: Store) -> None:
    """The next driver may have handed an attempt over that never came to the site from the former one."""
    assert await store.owners.own("here", FOLDER_A, TTL_MS, LOST_MS) is None
    begun = attempt(state=S.SUBMITTED, site="here", network=True)
    await store.create(job(), actor="me", attempt=begun)
    await let_pass(store, lease_of("here"), LOST_MS + TTL_MS + 1)
    assert await peer.owners.own("here", FOLDER_B, TTL_MS, LOST_MS) is None
    assert not await store.attempts.give_back(begun, 5, str(FOLDER_A))
    assert [row.state for row in await store.attempts.live("here")] == [S.SUBMITTED]
    assert await peer.attempts.give_back(begun, 5, str(FOLDER_B))


async def test_taking_over_while_an_attempt_begins(store: Store, url: str) -> None:
    """The two exclude each other, whichever comes first."""
    if url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    from uws_service.store.sites import is_held

    assert await store.owners.own("here", FOLDER_A, TTL_MS, LOST_MS) is None
    await let_pass(store, lease_of("here"), TTL_MS + 1)
    with psycopg.connect(url) as connection:  # a transaction that has looked at the lease and goes on

        class Slow:
            def rows(self, query, params):
                return connection.execute(query.postgresql, {**query.defaults, **params}).fetchall()

            def change(self, query, params):
                return connection.execute(query.postgresql, {**query.defaults, **params}).rowcount

            def together(self, joint, params):
                raise AssertionError("nothing ends here")

        assert is_held(Slow(), "here", str(FOLDER_A))
        taking = asyncio.create_task(store.owners.own("here", FOLDER_B, TTL_MS, LOST_MS))
        _, pending = await asyncio.wait({taking}, timeout=0.5)
        assert pending
        store.attempts.put(Slow(), attempt(state=S.SUBMITTED, site="here"))
        connection.commit()
    refused = await taking
    assert refused is not None and refused.folder == FOLDER_A and refused.attempts == 1

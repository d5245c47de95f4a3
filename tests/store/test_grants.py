"""Tokens of jobs in the store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.store import samples
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job, Phase
from uws_service.store import StaleJob, Store
from uws_service.store.grants import Grant

pytestmark = pytest.mark.anyio
JOB = "0192f0c1a2b37abc8def0123456789ab"
GRANT = Grant(JOB, "0", "first", expires=2000, renew=1000)


async def started(store: Store) -> Job:
    saved = replace(samples.job(JOB), phase=Phase.QUEUED)
    job, _ = await store.create(saved, actor="me", grants=(GRANT, replace(GRANT, target="1", renew=5000)))
    return job


async def test_one_renews(store: Store) -> None:
    """A single process renews a token at a time."""
    await started(store)
    assert await store.grants.due(999) == [] and await store.grants.due(1000) == [GRANT]
    assert sum(await asyncio.gather(*(store.grants.take(GRANT, 1000, 1060) for _ in range(10)))) == 1
    assert await store.grants.due(1059) == []
    assert await store.grants.take(GRANT, 1060, 1120)
    after = replace(GRANT, locked="second", renew=3000)
    assert await store.grants.put(GRANT, after)
    assert not await store.grants.put(GRANT, after)  # who came too late changes nothing
    assert not await store.grants.take(GRANT, 2000, 3000)
    assert [grant.locked for grant in await store.grants.of(JOB)] == ["second", "first"]


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.ERROR, Phase.ABORTED])
async def test_they_end_with_the_job(store: Store, phase: Phase) -> None:
    job = await started(store)
    running = await store.save(job, replace(job, phase=Phase.EXECUTING, started=1), kind=EventKind.PHASE, actor="me")
    assert len(await store.grants.of(JOB)) == 2
    await store.save(running, replace(running, phase=phase, ended=2), kind=EventKind.PHASE, actor="me")
    assert await store.grants.of(JOB) == []
    assert not await store.grants.put(GRANT, replace(GRANT, locked="late"))


async def test_they_go_with_a_deleted_job(store: Store) -> None:
    await store.delete(await started(store), actor="me")
    assert await store.grants.of(JOB) == []


async def test_none_without_its_job(store: Store) -> None:
    """A refused start writes no token."""
    saved, _ = await store.create(samples.job(JOB), actor="me")
    await store.save(saved, replace(saved, run_id="other"), kind=EventKind.INFO, actor="me")
    with pytest.raises(StaleJob):
        await store.save(saved, replace(saved, phase=Phase.QUEUED), kind=EventKind.PHASE, actor="me", grants=(GRANT,))
    assert await store.grants.of(JOB) == []

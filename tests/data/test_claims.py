"""From RUN to an agent's claim.

The look-up in the database, and what the agent is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.store.queues import next_attempts
from uws_service.auth import ANONYMOUS
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.attempt import AWAITS_DATA, Attempt
from uws_service.domain.events import EventKind
from uws_service.domain.ids import now_ms
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.placement.model import parse_wish
from uws_service.runtime import Runtime, running
from uws_service.service import lookups
from uws_service.service.caller import Caller
from uws_service.service.requests import Request
from uws_service.settings import Settings
from uws_service.store import StaleJob
from uws_service.store.attempts import Take

pytestmark = pytest.mark.anyio
FOLDER = Path(__file__).parent
ROWS = """\
identifier,file,size,md5,area,path,url
lake:night,a.fits,3,900150983cd24fb0d6963f7d28e17f72,here,n/a.fits,https://here.example.org/a.fits
lake:night,b.fits,7,,there,n/b.fits,https://there.example.org/b.fits
lake:night,b.fits,7,,near,n/b.fits,davs://near.example.org/b.fits
"""


@asynccontextmanager
async def service(folder: Path) -> AsyncIterator[Runtime]:
    """Yield a service that drives no site."""
    (folder / "index.csv").write_text(ROWS)
    (folder / "area").mkdir()
    settings = Settings.load(
        data=folder / "data",
        controller=False,
        builtin_applications=False,
        applications=[FOLDER / "reader.yaml"],
        sites=[{"name": "local", "storage": [{"area": "here", "path": str(folder / "area")}, {"area": "near"}]}],
        datasets={"catalogues": [{"name": "index", "kind": "static", "index": str(folder / "index.csv")}]},
    )
    async with running(settings) as runtime:
        yield runtime


async def run(runtime: Runtime, *data: str) -> Job:
    parameters = tuple(Parameter("DATA", value) for value in data)
    application = runtime.service.application("reader")
    job, _ = await runtime.service.create(application, Caller(ANONYMOUS), Request(parameters, run=True))
    return job


async def settled(runtime: Runtime, job: Job) -> tuple[Job, Attempt]:
    """Return job and attempt once the look-up is over."""
    for _ in range(600):
        (attempt,) = await runtime.store.attempts.of(job.id)
        if attempt.not_before < AWAITS_DATA or not attempt.wanted:
            current = await runtime.store.get(job.id)
            assert current is not None
            return current, attempt
        await asyncio.sleep(0.05)
    raise AssertionError("the look-up does not end")


async def claim(runtime: Runtime, attempt: Attempt) -> dict[str, Any]:
    assert await runtime.store.attempts.begin(attempt, Take(attempt.site, now_ms()))
    agent = AgentIdentity(frozenset({"local"}), attempt.job_id, attempt.number, "uid")
    return await runtime.agents.claim(agent)


async def test_agent_is_given_mounts_and_urls(tmp_path: Path) -> None:
    async with service(tmp_path) as runtime:
        job, attempt = await settled(runtime, await run(runtime, "lake:night"))
        assert job.phase is Phase.QUEUED
        wish = parse_wish(await runtime.store.attempts.wish(job.id, 1))
        assert {(need.replicas, need.bytes) for need in wish.data} == {(("here",), 3), (("near", "there"), 7)}
        plan = await claim(runtime, attempt)
    first, second = plan["inputs"]
    assert first["path"] == "data/DATA/a.fits"
    assert first["mount"] == {"volume": str(tmp_path / "area"), "path": "n/a.fits", "area": "here"}
    assert second["mount"] is None
    assert second["url"] == "https://near.example.org/b.fits", "the near area is first"
    assert list(second["urls"]) == ["https://there.example.org/b.fits"]
    assert (second["size"], first["checksums"]) == (7, {"md5": "900150983cd24fb0d6963f7d28e17f72"})


async def test_no_site_gets_an_attempt_whose_data_are_not_looked_up(tmp_path: Path) -> None:
    async with service(tmp_path) as runtime:
        real = runtime.catalogues.find
        asked = asyncio.Event()
        answer = asyncio.Event()

        async def find(*arguments: Any, **options: Any) -> Any:
            asked.set()
            await answer.wait()
            return await real(*arguments, **options)

        runtime.catalogues.find = find  # type: ignore[method-assign]
        job = await run(runtime, "lake:night")
        await asked.wait()
        assert await next_attempts(runtime.store, "local", 10, now_ms()) == []
        current = await runtime.store.get(job.id)
        assert current is not None
        assert current.info.waiting == "looking up where its data are"
        answer.set()
        await settled(runtime, job)
        assert [attempt.job_id for attempt in await next_attempts(runtime.store, "local", 10, now_ms())] == [job.id]


async def test_look_up_that_takes_long_stays_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held anew while it goes on, so that one of a process that is dead need not be waited for as long."""
    monkeypatch.setattr(lookups, "LEASE_MS", 2_000)
    monkeypatch.setattr(lookups, "RENEW_SECONDS", 0.1)
    async with service(tmp_path) as runtime:
        real = runtime.catalogues.find
        calls = 0
        answer = asyncio.Event()

        async def find(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            await answer.wait()
            return await real(*arguments, **options)

        runtime.catalogues.find = find  # type: ignore[method-assign]
        job = await run(runtime, "lake:night")
        first = 0
        for _ in range(600):
            (due,) = await _dues(runtime)
            first = first or (due if due > now_ms() else 0)
            if first and now_ms() > first + 1_000:
                break
            if first:
                assert await runtime.store.lookups.take(now_ms(), now_ms() + 1, 10) == []
            await asyncio.sleep(0.02)
        assert calls == 1
        answer.set()
        await settled(runtime, job)
        assert await _pending(runtime) == 0


@pytest.mark.parametrize("action", ["abort", "delete"])
async def test_job_that_ends_while_it_is_looked_up(tmp_path: Path, action: str) -> None:
    """What comes of the look-up changes nothing any more, and no look-up stays."""
    async with service(tmp_path) as runtime:
        job = await run(runtime, "lake:night")
        await getattr(runtime.service, action)("reader", job.id, Caller(ANONYMOUS))
        for _ in range(600):
            if not await _pending(runtime):
                break
            await asyncio.sleep(0.05)
        assert await _pending(runtime) == 0
        current = await runtime.store.get(job.id)
        assert current is None or current.phase is Phase.ABORTED


async def test_look_up_is_recorded_once(tmp_path: Path) -> None:
    """Two processes may look up the same; the second one's record is refused."""
    async with service(tmp_path) as runtime:
        job, attempt = await settled(runtime, await run(runtime, "lake:night"))
        launch = await runtime.store.attempts.launch(job.id, 1)
        with pytest.raises(StaleJob):
            await runtime.store.save(job, job, kind=EventKind.DATA, actor="x", resolved=replace(attempt, launch=launch))
        assert (await runtime.store.get(job.id)) == job


async def _dues(runtime: Runtime) -> list[int]:
    """Return when look-ups are anybody's again."""
    with contextlib.closing(sqlite3.connect(runtime.settings.data / "uws.db")) as database:
        return [due for (due,) in database.execute("SELECT due FROM lookup")]


async def _pending(runtime: Runtime) -> int:
    """Return the number of look-ups that are not over."""
    with contextlib.closing(sqlite3.connect(runtime.settings.data / "uws.db")) as database:
        return int(database.execute("SELECT count(*) FROM lookup").fetchone()[0])

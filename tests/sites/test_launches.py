"""What an attempt runs is made once, at RUN.

It is kept with the attempt until its end, as is the id that its site has for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.store import samples
from uws_service.applications import Application, load_applications
from uws_service.auth import ANONYMOUS
from uws_service.domain.attempt import (
    Attempt,
    AttemptState,
    ExpectedResult,
    Input,
    Launch,
    Mount,
    Observation,
    Reason,
    Seen,
)
from uws_service.domain.dataset import DataFile, DataParameter, DataSet, Replica
from uws_service.domain.decisions import Execute, Retry, Wait
from uws_service.domain.errors import NotFound
from uws_service.domain.ids import now_ms
from uws_service.domain.job import Job, Parameter
from uws_service.placement.placer import Placer
from uws_service.service.caller import Caller
from uws_service.service.jobs import Service
from uws_service.service.requests import Request
from uws_service.sites.executor import Collected, Executor
from uws_service.sites.launches import launch_of
from uws_service.sites.local.settings import LocalSite
from uws_service.sites.moves import AbsentSites
from uws_service.sites.recorder import Postponed, Recorded, Recorder
from uws_service.store import Store
from uws_service.store.rows import launch_text
from uws_service.tap.descriptor import TAP, CatalogueSpec
from uws_service.web.faces.registry import STANDARDS

LAUNCH = Launch(
    "a", 1, "app", "me", ("run", "\ud800 \0 é"), "image", {"UWS_PARAM_A": "nul \0"}, '{"A": "\\u0000"}',
    (
        Input("A", "files/A", "jobs/a/A", max_size=3),
        Input("B", "files/B", url="https://example.org/b", size=3, checksums={"md5": "0"}, urls=("https://c.example/",)),
        Input("C", "data/C", mount=Mount("lake", "a/b")),
    ),
    (ExpectedResult("result", "*.csv", "text/csv", required=False),), 60, 0.5, 2**40,
    10, 20, 1, "g", ("DATABASE",), "T",
    (
        DataParameter("D", ("ska:a",), 10, True),
        DataParameter(
            "E", ("ska:b",), 5,
            sets=(
                DataSet("ska:b", (DataFile("b", 5, {"md5": "0"}, (Replica("n", "https://n.example/b", "b"),)),), True),
            ),
        ),
    ),
)  # fmt: skip
DESCRIPTOR = """
name: reader
title: Reads a database
description: Reads what has a name.
command: [cat, "{NAME}"]
parameters:
  - name: NAME
    datatype: char
    arraysize: "*"
    description: What to read.
    required: true
results:
  - id: result
    path: result
    media_type: text/plain
"""


class Nowhere(Executor):
    """A site at which nothing is.

    What the recorder asks of it is written down.
    """

    site = "a"
    capacity = 1

    def __init__(self) -> None:
        self.launches: list[Launch] = []

    async def submit(self, launch: Launch) -> None:
        self.launches.append(launch)

    async def observe(self) -> list[Observation]:
        return []

    async def kill(self, job_id: str, number: int) -> None:
        """Stop nothing."""

    async def collect(self, observation: Observation, attempt: Attempt) -> Collected:
        return Collected((), ())

    async def forget(self, job_id: str, number: int) -> None:
        """Remove nothing."""


@pytest.fixture
def applications(tmp_path: Path) -> dict[str, Application]:
    path = tmp_path / "reader.yaml"
    path.write_text(DESCRIPTOR)
    return load_applications([path], STANDARDS, builtin=False)


@pytest.fixture
async def placer(store: Store) -> AsyncIterator[Placer]:
    yield Placer(store, (LocalSite(name="a", kind="local"), LocalSite(name="b", kind="local")), ["a", "b"])


async def new_job(store: Store, applications: dict[str, Application], placer: Placer) -> tuple[Job, Attempt]:
    """Return a job after RUN, and its attempt."""
    service = Service(store, applications, placer)
    request = Request(parameters=(Parameter("NAME", "first"),), run=True)
    job, _ = await service.create(applications["reader"], Caller(ANONYMOUS), request)
    (attempt,) = await store.attempts.of(job.id)
    return job, attempt


def recorder_of(store: Store, applications: dict[str, Application], placer: Placer) -> Recorder:
    return Recorder(store, Nowhere(), applications, placer, now_ms, lambda _key: None)


@pytest.mark.anyio
async def test_a_launch_is_stored_as_it_is(store: Store) -> None:
    """Every field comes back, whatever text it holds."""
    assert await store.create(samples.job("a"), actor="me", attempt=replace(samples.attempt("a"), launch=LAUNCH))
    assert await store.attempts.launch("a", 1) == LAUNCH
    assert await store.attempts.launch("a", 2) is None


@pytest.mark.anyio
async def test_a_launch_is_written_once_and_goes_with_the_end(store: Store) -> None:
    """Later writes of the row leave it alone.

    A closed row, which outlives the job, holds no parameters.
    """
    attempt = replace(samples.attempt("a"), launch=LAUNCH)
    await store.create(samples.job("a"), actor="me", attempt=attempt)
    await store.attempts.save(replace(attempt, launch=None, state=AttemptState.RUNNING))
    await store.attempts.save(replace(attempt, launch=replace(LAUNCH, image="other")))
    assert await store.attempts.launch("a", 1) == LAUNCH
    await store.attempts.save(replace(attempt, state=AttemptState.CLOSED))
    assert await store.attempts.launch("a", 1) is None
    await store.attempts.save(attempt)  # by a writer that read an older row
    assert await store.attempts.launch("a", 1) is None


@pytest.mark.anyio
async def test_what_changes_after_run_does_not_matter(
    store: Store, applications: dict[str, Application], placer: Placer
) -> None:
    """RUN decides what runs.

    Neither a new descriptor nor other words in the job's row change it.
    """
    job, attempt = await new_job(store, applications, placer)
    changed = {"reader": replace(applications["reader"], command=("rm", "-r"))}
    changed_job = replace(job, parameters=(Parameter("NAME", "second"),))
    assert (await launch_of(store, changed, changed_job, attempt)).command == ("cat", "first")
    with pytest.raises(NotFound, match="no application 'reader'"):
        await launch_of(store, {}, job, attempt)


@pytest.mark.anyio
async def test_attempts_of_an_older_version(store: Store, applications: dict[str, Application], placer: Placer) -> None:
    """A row without a launch gets the same one, made from its job."""
    job, _ = await new_job(store, applications, placer)
    stored = await store.attempts.launch(job.id, 1)
    (older,) = [replace(row, job_id="older", group="g") for row in await store.attempts.of(job.id)]
    await store.create(replace(job, id="older"), actor="me", attempt=older)
    assert await store.attempts.launch("older", 1) is None
    launch = await launch_of(store, applications, replace(job, id="older"), older)
    assert stored is not None and launch.group == "g"
    environment = {**stored.environment, "UWS_JOB_ID": "older"}
    assert launch == replace(stored, job_id="older", group="g", environment=environment)


@pytest.mark.anyio
async def test_secrets_are_not_in_it(
    store: Store, applications: dict[str, Application], placer: Placer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a variable that is passed on to the command, such as a URL with a password, only the name is kept."""
    monkeypatch.setenv("STARS_DATABASE", "postgresql://user:sesame@db")
    catalogue = CatalogueSpec(postgresql="STARS_DATABASE")
    job, _ = await new_job(store, {"reader": replace(applications["reader"], standard=TAP, section=catalogue)}, placer)
    stored = await store.attempts.launch(job.id, 1)
    assert stored is not None and stored.passed == ("STARS_DATABASE",) and "sesame" not in launch_text(stored)


@pytest.mark.anyio
async def test_the_next_attempt_runs_the_same(
    store: Store, applications: dict[str, Application], placer: Placer
) -> None:
    """A retry takes the launch over with its own number; the one that was lost keeps none."""
    job, attempt = await new_job(store, applications, placer)
    first = await store.attempts.launch(job.id, 1)
    recorder = recorder_of(store, applications, placer)
    retry = Retry(Reason.AGENT_LOST, "gone", 0)
    assert await recorder.record(job, attempt, None, retry) == Recorded()
    assert first is not None and await store.attempts.launch(job.id, 1) is None
    assert await store.attempts.launch(job.id, 2) == replace(first, number=2)


@pytest.mark.anyio
async def test_a_retry_without_another_site_is_postponed(store: Store, applications: dict[str, Application]) -> None:
    """The answer says until when.

    The attempt stays as it is, and its launch with it.
    """
    placer = Placer(store, (LocalSite(name="a", kind="local"),), ["a"])
    job, attempt = await new_job(store, applications, placer)
    recorder = recorder_of(store, applications, placer)
    answer = await recorder.record(job, attempt, None, Retry(Reason.SITE_LOST, "gone", 0))
    assert isinstance(answer, Postponed) and answer.until > now_ms()
    assert await store.attempts.launch(job.id, 1) is not None


@pytest.mark.anyio
async def test_the_id_that_the_site_has(store: Store, applications: dict[str, Application], placer: Placer) -> None:
    """It is kept from the first time that it is seen, and a writer that has not seen it does not remove it."""
    job, attempt = await new_job(store, applications, placer)
    recorder = recorder_of(store, applications, placer)
    waiting = Observation(job.id, 1, Seen.STARTING, handle="uid-1")
    await recorder.record(job, attempt, waiting, Wait("waiting for its turn"))
    (row,) = await store.attempts.of(job.id)
    assert row.handle == "uid-1"
    await store.attempts.save(replace(row, handle=""))
    assert (await store.attempts.of(job.id))[0].handle == "uid-1"
    fresh = await store.get(job.id)
    assert fresh is not None
    running = Observation(job.id, 1, Seen.RUNNING, started=now_ms(), handle="uid-2")
    await recorder.record(fresh, row, running, Execute(now_ms()))
    (row,) = await store.attempts.of(job.id)
    assert (row.handle, row.state) == ("uid-2", AttemptState.RUNNING)


@pytest.mark.anyio
async def test_jobs_of_a_site_with_another_name_now(store: Store, applications: dict[str, Application]) -> None:
    """What waits goes to the sites that there are; what names the site says what it waits for."""
    job, attempt = await new_job(store, applications, Placer(store, (LocalSite(name="old"),), ["old"]))
    assert attempt.site == "old"
    placer = Placer(store, (LocalSite(name="a"), LocalSite(name="b")), ["a", "b"])
    words = await placer.waiting_words(attempt, await store.attempts.wish(job.id, 1))
    assert words == "waits for old, which this service does not have any more"
    await AbsentSites(store, placer, applications).look()
    (moved,) = await store.attempts.of(job.id)
    after = await store.get(job.id)
    assert after is not None and moved.state is AttemptState.WAITING and moved.site in ("a", "b")
    assert (after.info.site, after.info.site_reason) == (
        moved.site,
        "moved here because old is not in the settings",
    )
    assert await store.attempts.loads() == {moved.site: (1, 0)}
    await AbsentSites(store, placer, applications).look()
    assert await store.get(job.id) == after

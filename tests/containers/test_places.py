"""Where a job of an image goes.

At RUN, and again after its site was lost.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sites.test_launches import Nowhere
from uws_service.applications import CONTAINER, Application, load_applications
from uws_service.auth.identity import Identity
from uws_service.auth.policy import Rules
from uws_service.auth.settings import Auth
from uws_service.containers import Containers
from uws_service.domain.attempt import Observation, Reason, Seen
from uws_service.domain.decisions import Complete, Execute, Retry
from uws_service.domain.errors import IdempotencyConflict, QueueFull
from uws_service.domain.ids import now_ms
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.placement.placer import Placer
from uws_service.service.caller import Caller
from uws_service.service.jobs import Service
from uws_service.service.requests import Request
from uws_service.sites.local.settings import LocalSite
from uws_service.sites.recorder import Postponed, Recorded, Recorder
from uws_service.store import Store
from uws_service.web.faces.registry import STANDARDS

DIGEST = "sha256:" + "0123456789abcdef" * 4
RUNNER = ("/bin/run", "{IMAGE}")
SITES = tuple(LocalSite(name=name, runner=RUNNER) for name in ("a", "b", "c"))
RULES = [
    {"repository": "ghcr.io/skao/tool", "sites": ["b", "c"]},
    {"repository": "ghcr.io/skao/single", "sites": ["b"]},
    {"repository": "ghcr.io/skao/any"},
    {"repository": "ghcr.io/skao/team", "groups": ["/team"], "sites": ["a"]},
]


@pytest.fixture
def applications() -> dict[str, Application]:
    return load_applications([CONTAINER], STANDARDS, builtin=False)


@pytest.fixture
def placer(store: Store) -> Placer:
    return Placer(store, SITES, [site.name for site in SITES])


async def started(
    store: Store, applications: dict[str, Application], placer: Placer, image: str, groups: frozenset[str] = frozenset()
) -> Job:
    """Return a job after RUN."""
    service = Service(store, applications, placer, containers=Containers.model_validate({"images": RULES}))
    parameters = (Parameter("IMAGE", image), Parameter("COMMAND", "run"), Parameter("CPU", "3"))
    caller = Caller(Identity(owner="alice", groups=groups))
    job, _ = await service.create(applications["container"], caller, Request(parameters=parameters, run=True))
    return job


@pytest.mark.anyio
async def test_it_goes_where_its_image_may_run(
    store: Store, applications: dict[str, Application], placer: Placer
) -> None:
    """Its attempt counts with what it asked for."""
    job = await started(store, applications, placer, "ghcr.io/skao/single:1")
    (attempt,) = await store.attempts.of(job.id)
    assert (job.phase, job.info.site, attempt.cpu_requested) == (Phase.QUEUED, "b", 3.0)
    launch = await store.attempts.launch(job.id, 1)
    assert launch is not None and launch.sites == ("b",)


@pytest.mark.anyio
async def test_groups_of_the_caller_count(store: Store, applications: dict[str, Application], placer: Placer) -> None:
    refused = await started(store, applications, placer, "ghcr.io/skao/team:1")
    assert refused.phase is Phase.ERROR and refused.error is not None and refused.error.reason == Reason.USAGE
    job = await started(store, applications, placer, "ghcr.io/skao/team:1", frozenset({"/team"}))
    assert job.info.site == "a"


@pytest.mark.anyio
async def test_a_repeat_is_not_refused_by_a_quota(
    store: Store, applications: dict[str, Application], placer: Placer
) -> None:
    """The job is there: whoever lost its answer is led to it, and only a new one is too much."""
    rules = Rules(Auth.model_validate({"quotas": {"default": {"queued": 1}, "anonymous": {"queued": 1}}}))
    containers = Containers.model_validate({"images": RULES})
    service = Service(store, applications, placer, rules=rules, containers=containers)
    parameters = (Parameter("IMAGE", "ghcr.io/skao/tool:1"), Parameter("COMMAND", "run"))
    request, caller = Request(parameters=parameters, run=True), Caller(Identity(owner="alice"))
    job, fresh = await service.create(applications["container"], caller, request, idempotency=("k", "f"))
    again, repeated = await service.create(applications["container"], caller, request, idempotency=("k", "f"))
    assert (fresh, repeated, again.id) == (True, False, job.id)
    with pytest.raises(IdempotencyConflict):
        await service.create(applications["container"], caller, request, idempotency=("k", "other"))
    with pytest.raises(QueueFull):
        await service.create(applications["container"], caller, request, idempotency=("k2", "f"))


@pytest.mark.anyio
async def test_a_retry_stays_where_its_image_may_run(
    store: Store, applications: dict[str, Application], placer: Placer
) -> None:
    """Nobody is there then to say which groups the caller has: what was allowed at RUN holds."""
    recorder = Recorder(store, Nowhere(), applications, placer, now_ms, lambda _key: None)
    job = await started(store, applications, placer, "ghcr.io/skao/single:1")
    (attempt,) = await store.attempts.of(job.id)
    answer = await recorder.record(job, attempt, None, Retry(Reason.SITE_LOST, "gone", 0))
    assert isinstance(answer, Postponed)
    other = await started(store, applications, placer, "ghcr.io/skao/tool:1")
    (attempt,) = await store.attempts.of(other.id)
    assert isinstance(await recorder.record(other, attempt, None, Retry(Reason.SITE_LOST, "gone", 0)), Recorded)
    moved = await store.get(other.id)
    assert moved is not None and moved.info.site in {"b", "c"} - {other.info.site}


@pytest.mark.anyio
@pytest.mark.parametrize("is_seen_running", [True, False])
async def test_the_digest_is_recorded(
    store: Store, applications: dict[str, Application], placer: Placer, is_seen_running: bool
) -> None:
    """Also of a job that is over before anybody looks."""
    recorder = Recorder(store, Nowhere(), applications, placer, now_ms, lambda _key: None)
    job = await started(store, applications, placer, "ghcr.io/skao/tool:1")
    (attempt,) = await store.attempts.of(job.id)
    running = Observation(job.id, 1, Seen.RUNNING, started=now_ms(), image=DIGEST)
    if is_seen_running:
        await recorder.record(job, attempt, running, Execute(now_ms()))
    else:
        ended = replace(running, seen=Seen.SUCCEEDED, ended=now_ms(), exit_code=0)
        await recorder.record(job, attempt, ended, Complete())
    saved = await store.get(job.id)
    assert saved is not None
    assert saved.info.versions["digest"] == DIGEST
    assert saved.info.versions["image"] == "ghcr.io/skao/tool:1"

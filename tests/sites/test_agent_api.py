"""What agents may hand over.

Fencing, on real databases and a real depot.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.store import samples
from uws_service.applications import load_applications
from uws_service.depot import Depot
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.attempt import AttemptState, Reason, Report, Usage
from uws_service.domain.errors import Forbidden, NotFound, ServiceUnavailable, TooLarge, UsageError
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.sites.agent_api import Agents
from uws_service.sites.settings import Fetch
from uws_service.store import Store
from uws_service.web.faces.registry import STANDARDS

DATA = b"result\n"
DIGEST = hashlib.sha256(DATA).hexdigest()
JOB = "0192f0c1a2b37abc8def0123456789ab"


def pod(uid: str = "pod-1", number: int = 1, site: str = "a") -> AgentIdentity:
    return AgentIdentity(frozenset({site}), JOB, number, uid)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.fixture
async def job(store: Store) -> Job:
    """Return a job of `sleep`, at site a."""
    parameters = (Parameter("SECONDS", "0"),)
    queued = replace(samples.job(JOB), application="sleep", phase=Phase.QUEUED, parameters=parameters)
    attempt = replace(samples.attempt(JOB), site="a", application="sleep", state=AttemptState.SUBMITTED)
    created, _ = await store.create(queued, actor="me", attempt=attempt)
    return created


@pytest.fixture
def agents(store: Store, tmp_path: Path) -> Agents:
    return Agents(store, Depot.open(str(tmp_path / "depot")), load_applications([], STANDARDS), Fetch())


async def hand_over(agents: Agents, agent: AgentIdentity, name: str = "result") -> dict[str, Any]:
    await agents.put_output(agent, name, pieces(DATA), len(DATA), DIGEST)
    kind = "application/octet-stream"
    return {"outputs": [{"id": name, "media_type": kind, "size": len(DATA), "sha256": DIGEST, "settled": True}]}


@pytest.mark.anyio
async def test_from_claim_to_report(agents: Agents, store: Store, job: Job) -> None:
    """The way of a good attempt.

    What is told is what the application says, not what the agent believes.
    """
    plan = await agents.claim(pod())
    assert plan["results"][0]["id"] == "result" and plan["inputs"] == [] and "SECONDS" in plan["parameters"]
    body = await hand_over(agents, pod())
    for _ in range(2):  # an answer that was lost is asked for again
        await agents.report(pod(), {**body, "bytes_in": 3, "bytes_moved": 2, "cpu": 1.5, "peak_memory": 4096})
    (attempt,) = await store.attempts.of(job.id)
    report = attempt.report
    assert report is not None and report.reason is None and report.settled == ("result",)
    assert (report.bytes_in, report.bytes_moved) == (3, 2)
    assert (attempt.usage.cpu, attempt.usage.peak_memory) == (1.5, 4096)
    older = replace(attempt, state=AttemptState.CLOSED, usage=Usage(wall=2.0))  # by who has not seen the report
    await store.attempts.save(older)
    (attempt,) = await store.attempts.of(job.id)
    assert attempt.usage == Usage(wall=2.0, cpu=1.5, peak_memory=4096)
    assert report.outputs[0].source == f"jobs/{JOB}/attempts/1-pod-1/{DIGEST}/result"
    assert (await store.history.of(job.id))[-1].kind == "REPORT"


@pytest.mark.anyio
async def test_the_last_to_claim_speaks(agents: Agents, store: Store, job: Job) -> None:
    """A pod whose place was taken is refused, and what it had said is void."""
    await agents.claim(pod("old"))
    sent_report = await hand_over(agents, pod("old"))
    await agents.report(pod("old"), sent_report)
    await agents.claim(pod("new"))
    (attempt,) = await store.attempts.of(job.id)
    assert attempt.claimed == "new" and attempt.report is None
    for refused in (
        agents.report(pod("old"), sent_report),
        agents.put_output(pod("old"), "result", pieces(DATA), 7, DIGEST),
    ):
        with pytest.raises(Forbidden, match="Another pod"):
            await refused


@pytest.mark.anyio
async def test_no_second_pod_beside_a_running_one(agents: Agents, store: Store, job: Job) -> None:
    """While its pod counts as running, another one has to wait; the same one may ask again."""
    await agents.claim(pod("first"))
    running = await store.save(job, replace(job, phase=Phase.EXECUTING, started=1), kind=EventKind.PHASE, actor="me")
    with pytest.raises(ServiceUnavailable):
        await agents.claim(pod("second"))
    await agents.claim(pod("first"))
    await store.save(running, replace(running, phase=Phase.SUSPENDED), kind=EventKind.PHASE, actor="me")
    await agents.claim(pod("second"))


@pytest.mark.anyio
async def test_given_up_is_refused_for_ever(agents: Agents, store: Store, job: Job) -> None:
    """Fencing: a closed attempt's agent gets nothing and leaves nothing; the next attempt is another one."""
    await agents.claim(pod())
    sent_report = await hand_over(agents, pod())
    (attempt,) = await store.attempts.of(job.id)
    lost_attempt = replace(attempt, state=AttemptState.CLOSED, wanted=False, reason=Reason.SITE_LOST)
    following = replace(attempt, number=2, site="b", claimed="", report=None)
    await store.save(job, job, kind=EventKind.PHASE, actor="me", attempts=[lost_attempt, following])
    for late in (agents.report(pod(), sent_report), agents.claim(pod()), agents.claim(pod("other"))):
        with pytest.raises(Forbidden):
            await late
    for uid, cpu in (("other", 9), ("pod-1", 1.5), ("pod-1", 7)):  # only what was used is noted, once
        with pytest.raises(Forbidden):
            await agents.report(pod(uid), {**sent_report, "cpu": cpu, "peak_memory": 4096})
    closed = (await store.attempts.of(job.id))[0]
    assert (closed.usage.cpu, closed.usage.peak_memory, closed.report) == (1.5, 4096, None)
    assert not await store.attempts.report(JOB, 1, "pod-1", Report())  # the row itself refuses
    with pytest.raises(Forbidden):  # nor may a pod of the lost site speak for the next one
        await agents.claim(pod(number=2))
    await agents.claim(pod("there", 2, "b"))


@pytest.mark.anyio
async def test_not_wanted_but_still_heard(agents: Agents, store: Store, job: Job) -> None:
    """An aborted attempt can't be begun any more.

    But what was ready is taken (U-107).
    """
    await agents.claim(pod())
    (attempt,) = await store.attempts.of(job.id)
    await store.attempts.save(replace(attempt, wanted=False))
    with pytest.raises(Forbidden):
        await agents.claim(pod())
    await agents.report(pod(), await hand_over(agents, pod()))


@pytest.mark.anyio
@pytest.mark.parametrize(
    "content",
    [
        {"outputs": "all"},
        {"outputs": [{"id": "result"}]},
        {"outputs": [{"id": "../x", "media_type": "application/octet-stream", "size": 7, "sha256": DIGEST}]},
        {"outputs": [{"id": "result", "media_type": "text/html", "size": 7, "sha256": DIGEST}]},
        {"outputs": [{"id": "result", "media_type": "application/octet-stream", "size": 7, "sha256": "x"}]},
        {"outputs": [{"id": "never", "media_type": "application/octet-stream", "size": 7, "sha256": DIGEST}]},
        {"outputs": [{"id": "result", "media_type": "application/octet-stream", "size": 8, "sha256": DIGEST}]},
        {"outputs": [{"id": "result", "media_type": "application/octet-stream", "size": math.inf, "sha256": DIGEST}]},
        {"outputs": [{"id": "result", "media_type": "application/octet-stream", "size": 7, "sha256": DIGEST}] * 2},
        {"outputs": [None]},
        {"reason": "OutOfMemory"},
        {"reason": []},
        {"reason": {}},
        {"cpu": math.nan},
        {"cpu": -1},
        {"peak_memory": "much"},
        {"bytes_in": 2**60},
        {"bytes_moved": -1},
    ],
)
@pytest.mark.usefixtures("job")
async def test_reports_that_make_no_sense(agents: Agents, store: Store, content: dict[str, Any]) -> None:
    """Nothing is recorded of a report that names what was not handed over."""
    await agents.claim(pod())
    await hand_over(agents, pod())
    with pytest.raises(UsageError):
        await agents.report(pod(), content)
    assert (await store.attempts.of(JOB))[0].report is None


@pytest.mark.anyio
async def test_texts_that_no_document_can_hold(agents: Agents, store: Store, job: Job) -> None:
    """Half characters and control characters of an agent's texts are left out, so the job can still be shown."""
    await agents.claim(pod())
    await agents.progress(pod(), 0.5, "a\ud800b\0c\x1b[31m")
    shown = await store.get(job.id)
    assert shown is not None and shown.info.message == "abc[31m"
    await agents.report(pod(), {"reason": "StageOut", "message": "a\udfffb\0"})
    (attempt,) = await store.attempts.of(job.id)
    assert attempt.report is not None and attempt.report.message == "ab"


@pytest.mark.anyio
@pytest.mark.usefixtures("job")
async def test_many_outputs_have_one_bound(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has an attempt's token can't fill the depot, neither by bytes nor by names."""
    application = agents.applications["sleep"]
    limits = replace(application.limits, output=100)
    agents.applications = {"sleep": replace(application, limits=limits)}
    await agents.claim(pod())
    data = bytes(80)
    digest = hashlib.sha256(data).hexdigest()
    for name in ("a", "b", "b"):
        await agents.put_output(pod(), name, pieces(data), len(data), digest)
    with pytest.raises(TooLarge):
        await agents.put_output(pod(), "c", pieces(data), len(data), digest)
    monkeypatch.setattr("uws_service.sites.agent_api.OUTPUTS_MAX", 2)
    with pytest.raises(TooLarge, match="more are not taken"):
        await agents.put_output(pod(), "c", pieces(DATA), len(DATA), DIGEST)
    await agents.put_output(pod(), "b", pieces(DATA), len(DATA), DIGEST)


@pytest.mark.anyio
@pytest.mark.usefixtures("job")
async def test_outputs_that_are_refused(agents: Agents) -> None:
    """Other bytes than were announced, names that leave the folder, inputs that are not there."""
    await agents.claim(pod())
    with pytest.raises(UsageError, match="announced"):
        await agents.put_output(pod(), "result", pieces(b"other"), len(DATA), DIGEST)
    for name in ("..", "a/b", "", "x" * 300):
        with pytest.raises(UsageError):
            await agents.put_output(pod(), name, pieces(DATA), len(DATA), DIGEST)
    with pytest.raises(NotFound):
        await agents.read_input(pod(), 0)
    large = agents.applications["sleep"].limits.output
    if large:
        with pytest.raises(TooLarge):
            await agents.put_output(pod(), "result", pieces(*[bytes(2**20)] * (large // 2**20 + 1)), 1, DIGEST)

"""What is done when slurmctld gives an id away again, and how little it is asked.

A cluster on paper, beside the real one of `test_slurm_kills.py`: there nobody can say which id is given away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.sites.slurm.test_slurm_documents import INSTANCE, PENDING, SPEC, number, site
from uws_service.domain.ids import now_ms
from uws_service.sites.batch.driver import BatchState
from uws_service.sites.executor import NotNow
from uws_service.sites.slurm.jobs import Document
from uws_service.sites.slurm.system import SlurmSystem

pytestmark = pytest.mark.anyio


class PaperCluster:
    """Jobs by id, and what was asked."""

    def __init__(self) -> None:
        self.documents: dict[int, dict[str, Any]] = {}
        self.asked: Counter[str] = Counter()
        self.cancelled: list[int] = []
        self.next_id = 1
        self.clock = now_ms() // 1000

    async def close(self) -> None:
        pass

    async def ping(self) -> str:
        return "paper"

    async def submit(self, description: Mapping[str, Any], script: str) -> int:
        self.clock += 1
        job_id, self.next_id = self.next_id, self.next_id + 1
        held = {"hold": True, "state_reason": "JobHeldUser", "submit_time": number(self.clock)}
        self.documents[job_id] = {**PENDING, **held, "job_id": job_id, "comment": description["comment"]}
        return job_id

    async def states(self) -> Mapping[int, frozenset[str]]:
        self.asked["states"] += 1
        return {job_id: frozenset(document["job_state"]) for job_id, document in self.documents.items()}

    async def job(self, job_id: int) -> Document | None:
        self.asked["job"] += 1
        return self.documents.get(job_id)

    async def jobs(self) -> Sequence[Document]:
        self.asked["jobs"] += 1
        return list(self.documents.values())

    async def release(self, job_id: int) -> None:
        self.documents[job_id].update(hold=False, state_reason="Priority")

    async def cancel(self, job_id: int) -> None:
        self.cancelled.append(job_id)
        self.documents[job_id].update(job_state=["CANCELLED"])

    async def history(self, job_id: int) -> Sequence[Document]:
        return []


def forget_last(cluster: PaperCluster) -> None:
    """Let slurmctld be killed before it has saved its last job."""
    cluster.next_id -= 1
    del cluster.documents[cluster.next_id]


async def test_another_job_with_the_same_id() -> None:
    """It is neither released nor cancelled nor shown as ours."""
    cluster = PaperCluster()
    system = SlurmSystem(site(), INSTANCE, cluster)
    handle = await system.submit_held(SPEC)
    await system.release(handle, SPEC)
    assert [job.state for job in await system.query()] == [BatchState.QUEUED]
    forget_last(cluster)
    stranger = await cluster.submit({"comment": "somebody else's"}, "")
    assert str(stranger) == handle.partition(".")[0]
    with pytest.raises(NotNow, match="is gone"):
        await system.release(handle, SPEC)
    await system.cancel(handle)
    await system.forget(handle)
    await system.discard(handle)
    assert cluster.cancelled == [] and cluster.documents[stranger]["hold"] is True
    assert await system.query() == [] and await system.find(SPEC.key) == []


async def test_a_job_that_is_held_again() -> None:
    """A slurmctld that comes back from before the release shows it; whoever cleans up can remove it then."""
    cluster = PaperCluster()
    system = SlurmSystem(site(), INSTANCE, cluster)
    handle = await system.submit_held(SPEC)
    before = dict(cluster.documents[1])
    await system.release(handle, SPEC)
    cluster.documents[1].update(job_state=["COMPLETED"])
    await system.query()
    await system.forget(handle)
    assert await system.query() == [] and cluster.cancelled == []
    cluster.documents[1] = before
    assert [job.state for job in await system.query()] == [BatchState.HELD]
    await system.discard(handle)
    assert cluster.cancelled == [1] and await system.query() == []


async def test_what_was_cancelled_before_its_release() -> None:
    """It is shown neither by the process that removed it nor by the next one: its attempt has not failed."""
    cluster = PaperCluster()
    handle = await SlurmSystem(site(), INSTANCE, cluster).submit_held(SPEC)
    system = SlurmSystem(site(), INSTANCE, cluster)
    assert [job.handle for job in await system.query()] == [handle]
    await system.discard(handle)
    cluster.documents[1].update(start_time=number(cluster.clock), end_time=number(cluster.clock))
    for other in (system, SlurmSystem(site(), INSTANCE, cluster)):
        assert await other.query() == []


async def test_how_little_is_asked() -> None:
    """One question for all jobs whose states are as they were; other people's jobs are read once."""
    cluster = PaperCluster()
    for _ in range(30):
        cluster.documents[await cluster.submit({"comment": "x"}, "")].update(job_state=["RUNNING"])
    system = SlurmSystem(site(), INSTANCE, cluster)
    handle = await system.submit_held(SPEC)
    await system.release(handle, SPEC)
    await system.query()
    cluster.documents[31].update(job_state=["RUNNING"], start_time=number(cluster.clock))
    assert [job.state for job in await system.query()] == [BatchState.RUNNING]
    cluster.asked.clear()
    for _ in range(5):
        await system.query()
    assert cluster.asked == {"states": 5}
    cluster.documents[1].update(job_state=["COMPLETED"])  # of somebody else
    await system.query()
    assert cluster.asked == {"states": 6}

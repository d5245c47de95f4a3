"""The pool's own fair share, between two owners of the service's jobs."""

from __future__ import annotations

from tests.batch.condor import CondorPool, wait_until
from tests.batch.service import BatchServer
from tests.service.client import job_id


def test_a_second_owner_need_not_wait_for_the_first(server: BatchServer[CondorPool]) -> None:
    """Whoever comes later with little gets slots before one who has filled the queue."""

    def are_at_the_pool(jobs: list[str]) -> bool:
        return all(any(job_id(job) in line for line in server.system.queue()) for job in jobs)

    with server.client(user="ann") as ann, server.client(user="bob") as bob:
        text = {"PHASE": "RUN", "TEXT": server.hold()}
        first = [ann.create(text) for _ in range(14)]
        wait_until(lambda: are_at_the_pool(first), "the first owner's jobs are at the pool")
        second = [bob.create(text) for _ in range(2)]
        wait_until(lambda: are_at_the_pool(second), "the second owner's jobs are at the pool")
        server.let_go(*first, *second)
        assert {bob.wait(job) for job in second} | {ann.wait(job) for job in first} == {"COMPLETED"}
        order = server.order()
        places = [order.index(job_id(job)) for job in second]
        after = [job for job in first if order.index(job_id(job)) > max(places)]
        assert len(after) >= 2, f"{places} of {len(order)}"
        users = server.system.tool("condor_history", "-af", "AcctGroupUser", "-limit", "200").split()
        assert any(user.startswith("uann") for user in users) and any(user.startswith("ubob") for user in users)

"""Daemons of the pool and the service itself, killed with jobs in flight: none is lost, none runs twice."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.batch.condor import CondorPool, wait_until
from tests.batch.service import BatchServer
from tests.batch.soak import soak
from tests.batch.trials import cut_for_ever
from tests.batch.victims import PoolVictim, kill_helper
from tests.runner.programs import Wire
from tests.service.client import Uws, job_id

JOBS = 12
KILLS = 10
QUICK = "echo done > $UWS_OUTPUT_DIR/result"


def submit(user: Uws, text: str, count: int = 1) -> list[str]:
    return [user.create({"PHASE": "RUN", "TEXT": text}) for _ in range(count)]


def expect_one_run_each(server: BatchServer[CondorPool], user: Uws, jobs: list[str]) -> None:
    """Wait for the jobs' ends: all are well, each command was begun once, and the pool has nothing left of them."""
    assert Counter(user.wait(job) for job in jobs) == {"COMPLETED": len(jobs)}
    assert server.counts(jobs) == {1: len(jobs)}
    wait_clean(server.system, jobs)


def wait_clean(pool: CondorPool, jobs: list[str]) -> None:
    """Wait until the pool has nothing of the jobs but what has ended."""
    ids = {job_id(job) for job in jobs}
    wait_until(lambda: not any(ids & set(line.replace("/", " ").split()) for line in pool.queue()), "no orphan is left")


def test_random_kills(server: BatchServer[CondorPool]) -> None:
    """The service between any two steps, its library, and all daemons of the pool: nothing is lost or runs twice."""
    seed = random.randrange(1 << 30)
    findings = soak(PoolVictim(server.system, server), seed, JOBS, KILLS, pause=1.5)
    print(findings.line)
    assert findings.is_clean, findings


def test_schedd_killed(server: BatchServer[CondorPool]) -> None:
    """The jobs go on, and the schedd finds them again."""
    with server.client() as user:
        jobs = submit(user, server.hold(), 3)
        server.wait_run(*jobs)
        jobs += submit(user, QUICK, 3)
        assert server.system.kill("condor_schedd")
        server.system.wait_up()
        server.let_go(*jobs)
        expect_one_run_each(server, user, jobs)


@pytest.mark.parametrize("daemon", ["condor_starter", "condor_shadow"])
def test_what_looks_after_a_job_is_killed(daemon: str, server: BatchServer[CondorPool]) -> None:
    """The pool ends the command; that attempt never begins again, and another one brings the job to its end."""
    with server.client() as user:
        (job,) = submit(user, server.hold())
        server.wait_run(job)
        assert server.system.kill(daemon)
        server.let_go(job)
        assert user.wait(job) == "COMPLETED"
        assert 1 <= server.runs(job) <= 2
        wait_clean(server.system, [job])


def test_library_s_process_killed(server: BatchServer[CondorPool]) -> None:
    """The library is started again, also in the middle of submissions; nothing runs twice."""
    with server.client() as user:
        jobs = submit(user, QUICK, JOBS)
        for _ in range(4):
            kill_helper(server)
            time.sleep(0.4)  # the moment is what is tested
        expect_one_run_each(server, user, jobs)


def test_cut_off_for_ever(pool: CondorPool, tmp_path: Path) -> None:
    """After ``lost_after`` the job runs elsewhere, and what the pool still has of it is removed when it is back."""
    wire = Wire(0)
    far = pool.settings(agent_url=f"http://127.0.0.1:{wire.port}", unknown_after=1, lost_after=2, lease=300)
    near = {"name": "near", "kind": "local", "slots": 1}
    with BatchServer(tmp_path / "service", pool, far, near, reap_interval=1) as server:
        wire.target = server.port
        cut_for_ever(server, PoolVictim(pool, server, wire))
    wire.close()


def test_removed_by_an_operator(server: BatchServer[CondorPool]) -> None:
    """A job that somebody removes at the pool is tried again, and says so."""
    with server.client() as user:
        (job,) = submit(user, server.hold())
        server.wait_run(job)
        server.system.tool("condor_rm", "-constraint", f'regexp("{job_id(job)}", UwsAttempt)', user="root")
        wait_until(lambda: server.runs(job) == 2, "it is tried again")
        server.let_go(job)
        assert user.wait(job) == "COMPLETED"
        assert server.runs(job) == 2
        assert "Deleted" in user.get(job).text

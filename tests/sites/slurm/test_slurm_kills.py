"""Daemons of the cluster and the service itself, killed with jobs in flight: none is lost, none runs twice."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batch.condor import wait_until
from tests.batch.service import BatchServer
from tests.batch.slurm import SlurmCluster
from tests.batch.soak import soak
from tests.batch.trials import cut_for_ever
from tests.batch.victims import ClusterVictim
from tests.runner.programs import Wire
from tests.service.client import ENDED, Uws, job_id

JOBS = 12
KILLS = 6
QUICK = "echo done > $UWS_OUTPUT_DIR/result"


@pytest.fixture
def service(server: BatchServer[SlurmCluster]) -> Iterator[BatchServer[SlurmCluster]]:
    """Yield the service.

    Afterwards the cluster is whole again.
    """
    yield server
    server.system.resume_nodes()


def submit(user: Uws, text: str, count: int = 1) -> list[str]:
    return [user.create({"PHASE": "RUN", "TEXT": text}) for _ in range(count)]


def expect_one_run_each(service: BatchServer[SlurmCluster], user: Uws, jobs: list[str]) -> None:
    """Wait for the jobs' ends: all are well, each command was begun once, and the cluster has nothing left of them.

    A command that Slurm itself has ended is begun once more, which its owner can read.
    """
    assert Counter(user.wait(job) for job in jobs) == {"COMPLETED": len(jobs)}
    cancelled = {job for job in jobs if "Somebody cancelled the job at its site" in user.get(job).text}
    print(len(cancelled), "of", len(jobs), "jobs were ended by Slurm")
    assert all(service.runs(job) == 1 or (job in cancelled and service.runs(job) == 2) for job in jobs)
    wait_until(lambda: not service.system.tool("squeue", "-h").strip(), "no job of the cluster is left")
    assert not any(service.commands(job) for job in jobs)


def test_random_kills(service: BatchServer[SlurmCluster]) -> None:
    """The service between any two steps, and all daemons of the cluster: nothing is lost or runs twice."""
    seed = random.randrange(1 << 30)
    findings = soak(ClusterVictim(service.system, service), seed, JOBS, KILLS, pause=1.5)
    print(findings.line)
    assert findings.is_clean, findings


def test_slurmctld_killed_at_random_moments(service: BatchServer[SlurmCluster]) -> None:
    """It forgets jobs that it took seconds ago, some of which run: their agents are heard, and their reports count."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    moments = random.Random(seed)
    cluster = service.system
    with service.client() as user:
        jobs = []
        for _ in range(3):
            jobs += submit(user, f"sleep 2; {QUICK}", JOBS // 3)
            time.sleep(moments.uniform(0.1, 3))  # the random moment is what is tested
            assert cluster.kill("slurmctld") == 1
            cluster.start_controller()

        def have_ended() -> bool:
            cluster.resume_nodes()  # a node with a job that slurmctld does not know takes no more
            return all(user.phase(job) in ENDED for job in jobs)

        wait_until(have_ended, "all jobs have ended", 240)
        expect_one_run_each(service, user, jobs)


def test_slurmd_killed(service: BatchServer[SlurmCluster]) -> None:
    """Its jobs go on without it."""
    cluster = service.system
    with service.client() as user:
        jobs = submit(user, service.hold(), 4)
        service.wait_run(*jobs)
        assert cluster.kill("slurmd") == len(cluster.nodes)
        for node in cluster.nodes:
            cluster.start_node(node)
        service.let_go(*jobs)
        expect_one_run_each(service, user, jobs)


def test_a_node_s_daemons_killed(service: BatchServer[SlurmCluster]) -> None:
    """Slurm gives the job up as NODE_FAIL while its agent goes on: nothing may run beside it, and its report counts."""
    cluster = service.system
    with service.client() as user:
        (job,) = submit(user, service.hold())
        service.wait_run(job)
        assert cluster.kill("slurmd") == len(cluster.nodes) and cluster.kill("slurmstepd") >= 1
        wait_until(lambda: any("NODE_FAIL" in line for line in cluster.accounted(job_id(job))), "Slurm gives it up")
        assert service.commands(job), "this is no test if Slurm has ended the command"
        for node in cluster.nodes:
            cluster.start_node(node)
        service.let_go(job)
        expect_one_run_each(service, user, [job])


def test_agent_killed(service: BatchServer[SlurmCluster]) -> None:
    """The command ends with it, and another attempt brings the job to its end."""
    with service.client() as user:
        (job,) = submit(user, service.hold())
        service.wait_run(job)
        (command, *_) = service.commands(job)
        agent = command.parent()
        assert agent is not None and "agent.pyz" in agent.cmdline()
        agent.kill()
        wait_until(lambda: not command.is_running(), "the command has ended with its agent")
        service.let_go(job)
        assert user.wait(job) == "COMPLETED"
        assert service.runs(job) == 2


def test_cut_off_for_ever(cluster: SlurmCluster, tmp_path: Path) -> None:
    """After ``lost_after`` the job runs elsewhere, and what the cluster still has of it is removed when it is back."""
    wire, rest_wire = Wire(0), Wire(cluster.rest_port)
    ways = {"agent_url": f"http://127.0.0.1:{wire.port}", "url": f"http://127.0.0.1:{rest_wire.port}"}
    far = cluster.settings(**ways, unknown_after=1, lost_after=2)
    near = {"name": "near", "kind": "local", "slots": 1}
    with BatchServer(tmp_path / "service", cluster, far, near, reap_interval=1) as server:
        wire.target = server.port
        cut_for_ever(server, ClusterVictim(cluster, server, (wire, rest_wire)))
    wire.close()
    rest_wire.close()


def test_removed_by_an_operator(service: BatchServer[SlurmCluster]) -> None:
    """A job that somebody cancels at the cluster is tried again, and says so."""
    with service.client() as user:
        (job,) = submit(user, service.hold())
        service.wait_run(job)
        service.system.tool("scancel", f"--name=uws-{job_id(job)}-1", user="root")
        wait_until(lambda: service.runs(job) == 2, "it is tried again")
        service.let_go(job)
        assert user.wait(job) == "COMPLETED"
        assert service.runs(job) == 2
        assert "Somebody cancelled the job at its site" in user.get(job).text


def test_a_requeued_job_does_not_run_again(service: BatchServer[SlurmCluster]) -> None:
    """Whatever an operator does: Slurm may start a job twice, but its ticket is good for one start."""
    cluster = service.system
    with service.client() as user:
        (job,) = submit(user, service.hold())
        service.wait_run(job)
        number = cluster.tool("squeue", "-h", "-o", "%A", f"--name=uws-{job_id(job)}-1").strip()
        cluster.tool("scontrol", "update", f"jobid={number}", "requeue=1")
        cluster.tool("scontrol", "requeue", number)
        wait_until(lambda: service.runs(job) == 2, "it is tried again")
        service.let_go(job)
        assert user.wait(job) == "COMPLETED"
        assert service.runs(job) == 2  # the first attempt was ended by the operator, the second is another job
        lost = user.get(job).text
        assert "run it once more" in lost or "cancelled" in lost or "Stopped on request" in lost

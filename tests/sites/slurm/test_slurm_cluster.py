"""Jobs through the service on a real Slurm cluster."""

from __future__ import annotations

import re
import time

from tests.batch.condor import wait_until
from tests.batch.service import BatchServer
from tests.batch.slurm import SlurmCluster


def test_an_abort_before_it_runs(server: BatchServer[SlurmCluster]) -> None:
    """A job that waits in the cluster's queue is removed there, and never runs."""
    with server.client() as user:
        blockers = [user.create({"PHASE": "RUN", "TEXT": "sleep 600"}) for _ in range(8)]
        for blocker in blockers:
            server.wait_run(blocker)
        job = user.create({"PHASE": "RUN"})

        def is_queued() -> bool:
            return "waiting for a machine with room" in user.get(job).text

        wait_until(is_queued, "its owner reads why it waits")
        user.post(f"{job}/phase", {"PHASE": "ABORT"})
        for blocker in blockers:
            user.post(f"{blocker}/phase", {"PHASE": "ABORT"})
        queue = server.system.tool
        wait_until(lambda: not queue("squeue", "-h", "-t", "PD,R,CG").strip(), "the queue is empty")
        assert server.runs(job) == 0


def test_log_while_it_runs(server: BatchServer[SlurmCluster]) -> None:
    """stdout and stderr are there apart, before the end."""
    with server.client() as user:
        job = user.create({"PHASE": "RUN", "TEXT": f"echo early; echo fault >&2; {server.hold()}"})
        wait_until(lambda: user.http.get(f"{job}/logs/stdout").text == "early\n", "the log of a running job")
        wait_until(lambda: user.http.get(f"{job}/logs/stderr").text == "fault\n", "its other log")
        server.let_go(job)
        assert user.wait(job) == "COMPLETED"


def test_deadline_and_memory(server: BatchServer[SlurmCluster]) -> None:
    """executionDuration ends a job as ABORTED, too much memory as an error of its own."""
    with server.client() as user:
        slow = user.create({"PHASE": "RUN", "TEXT": "sleep 600", "EXECUTIONDURATION": "3"})
        big = user.create({"PHASE": "RUN", "TEXT": "x=$(head -c 300000000 /dev/zero | tr '\\0' x); sleep 600"})
        assert user.wait(slow) == "ABORTED"
        assert user.wait(big) == "ERROR"
        assert "bytes of memory" in user.get(f"{big}/error").text


def test_a_command_in_its_image(server: BatchServer[SlurmCluster]) -> None:
    """It sees its image and its own folders: no secret, no agent, no other job, no munge."""
    look = (
        "id -u; ps; ls -a / /uws /uws/*; find / -name '*.token' -o -name attempt.json -o -name agent.pyz 2>/dev/null; "
        f"ls {server.system.inner} /var/spool/slurmd /tmp /run"
    )
    with server.client() as user, server.client("boxed") as attacker:
        victim = user.create({"PHASE": "RUN", "TEXT": "echo precious > secret-of-the-victim; sleep 600"})
        server.wait_run(victim)
        job = attacker.create({"PHASE": "RUN", "TEXT": f"{look}; echo done > $UWS_OUTPUT_DIR/result"})
        assert attacker.wait(job) == "COMPLETED"
        seen = attacker.get(f"{job}/logs/stdout").text
        user.post(f"{victim}/phase", {"PHASE": "ABORT"})
    assert "parameters.json" in seen
    listed = seen.partition("/:\n")[2]  # after the processes, whose words are those of this very script
    for word in ("victim", "attempt.json", "agent.pyz", "eyJ", "munge", "precious", ".token"):
        assert word not in listed, word
    assert "python" not in seen.partition("/:\n")[0] and "slurmstepd" not in seen


def test_a_command_on_the_node_itself(server: BatchServer[SlurmCluster]) -> None:
    """Without an image: ticket and token can't be had, though the other jobs' user is the same."""
    look = (
        "cat ../attempt.json ../../*/attempt.json 2>&1; echo environ: $(cat /proc/$PPID/environ 2>&1 | tr '\\0' ' '); "
        "echo mem: $(head -c 10 /proc/$PPID/mem 2>&1); grep -h -o 'ticket[^,]*' ../../*/attempt.json 2>/dev/null; "
        "env | grep -i slurm; echo end"
    )
    with server.client() as user:
        job = user.create({"PHASE": "RUN", "TEXT": look})
        assert user.wait(job) == "COMPLETED"
        seen = user.get(f"{job}/logs/stdout").text
    assert seen.endswith("end\n") and "eyJ" not in seen and "SLURM" not in seen
    assert "environ: cat: " in seen and "mem: head: " in seen


def test_an_image_that_is_not_there(server: BatchServer[SlurmCluster]) -> None:
    """The fault is told as the image's, not as the command's."""
    with server.client("missing") as user:
        job = user.create({"PHASE": "RUN"})
        assert user.wait(job) == "ERROR"
        assert "container image can't be had" in user.get(f"{job}/error").text


def test_latency(server: BatchServer[SlurmCluster]) -> None:
    """A job that does nothing is COMPLETED a few seconds after RUN."""
    with server.client() as user:
        began = time.monotonic()
        assert user.wait(user.create({"PHASE": "RUN"})) == "COMPLETED"
        assert time.monotonic() - began < 30


def test_the_queue_of_the_cluster_holds_nothing_of_ended_jobs(server: BatchServer[SlurmCluster]) -> None:
    wait_until(lambda: not server.system.tool("squeue", "-h").strip(), "the queue is empty")
    leftovers = [path.name for path in (server.system.folder.parents[2] / "tmp").glob("uws-*")]
    assert not [name for name in leftovers if re.match("uws-(work|new)", name)]

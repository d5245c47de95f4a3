"""Jobs through the service on a real HTCondor pool."""

from __future__ import annotations

from tests.batch.condor import CondorPool, wait_until
from tests.batch.service import BatchServer


def is_gone(pool: CondorPool, number: str) -> bool:
    """Return whether nothing of a job runs on the nodes."""
    return not any(number in line for line in pool.queue() if line.split()[1] not in ("3", "4"))


def test_results_and_logs(server: BatchServer[CondorPool]) -> None:
    """A job ends COMPLETED with its result, stdout and stderr apart; where it ran and what it used are told."""
    with server.client() as user:
        text = "echo out; echo err >&2; echo done > $UWS_OUTPUT_DIR/result"
        job = user.create({"PHASE": "RUN", "TEXT": text})
        assert user.wait(job) == "COMPLETED"
        assert user.get(f"{job}/results/result").text == "done\n"
        assert user.get(f"{job}/logs/stdout").text == "out\n"
        assert user.get(f"{job}/logs/stderr").text == "err\n"
        assert server.runs(job) == 1


def test_failing_command(server: BatchServer[CondorPool]) -> None:
    """The exit code and the command's last words are the job's error, and it is not tried again."""
    with server.client() as user:
        job = user.create({"PHASE": "RUN", "TEXT": "echo no luck >&2; exit 7"})
        assert user.wait(job) == "ERROR"
        error = user.get(f"{job}/error").text
        assert "7" in error and "no luck" in error
        assert server.runs(job) == 1


def test_abort(server: BatchServer[CondorPool]) -> None:
    """ABORT reaches the command as SIGTERM, and the job is ended at the pool."""
    with server.client() as user:
        mark = f"{server.system.inner_shared}/heard"
        text = f"trap 'echo heard > {mark}; exit 0' TERM; while :; do sleep 0.1; done"
        job = user.create({"PHASE": "RUN", "TEXT": text})
        user.wait(job, "EXECUTING")
        server.wait_run(job)
        assert user.post(f"{job}/phase", {"PHASE": "ABORT"}).status_code == 303
        assert user.wait(job) == "ABORTED"
        wait_until((server.system.shared / "heard").exists, "the command gets SIGTERM")
        wait_until(lambda: is_gone(server.system, job.rpartition("/")[2]), "the job leaves the pool")


def test_abort_before_it_runs(server: BatchServer[CondorPool]) -> None:
    """A job that waits for a machine never runs after its abort, and says what it waits for."""
    with server.client() as user:
        job = user.create({"TEXT": "true"})
        server.system.tool("condor_off", "-daemon", "negotiator")
        try:
            user.run(job)
            wait_until(lambda: "waiting for a machine" in user.get(job).text, "the job says what it waits for")
            assert user.post(f"{job}/phase", {"PHASE": "ABORT"}).status_code == 303
            wait_until(lambda: is_gone(server.system, job.rpartition("/")[2]), "the job leaves the queue")
        finally:
            server.system.tool("condor_on", "-daemon", "negotiator")
        assert user.wait(job) == "ABORTED" and server.runs(job) == 0


def test_log_while_it_runs(server: BatchServer[CondorPool]) -> None:
    """stdout and stderr are there apart, before the end; afterwards they are whole."""
    with server.client() as user:
        job = user.create({"PHASE": "RUN", "TEXT": f"echo early; echo fault >&2; {server.hold()}; echo late"})
        wait_until(lambda: user.http.get(f"{job}/logs/stdout").text == "early\n", "the log of a running job")
        wait_until(lambda: user.http.get(f"{job}/logs/stderr").text == "fault\n", "its other log")
        assert user.phase(job) == "EXECUTING"
        server.let_go(job)
        assert user.wait(job) == "COMPLETED"
        assert user.get(f"{job}/logs/stdout").text == "early\nlate\n"


def test_too_much_memory(server: BatchServer[CondorPool]) -> None:
    """The pool holds what uses more than it asked for: that is the job's error, told as such."""
    with server.client() as user:
        code = "x = bytearray(300 * 2**20); import time; time.sleep(120)"
        job = user.create({"PHASE": "RUN", "TEXT": f"exec python3 -c '{code}'"})
        assert user.wait(job) == "ERROR"
        assert "OutOfMemory" in user.get(job).text
        assert server.runs(job) == 1


def test_image(server: BatchServer[CondorPool]) -> None:
    """A command in an image sees the image's root, its folders and nothing of the node."""
    with server.client("boxed") as user:
        text = "ls / > $UWS_OUTPUT_DIR/result; cat /proc/1/comm /proc/2/comm; echo $UWS_PARAM_TEXT >&2"
        job = user.create({"PHASE": "RUN", "TEXT": text})
        assert user.wait(job) == "COMPLETED", user.get(f"{job}/error").text
        entries = user.get(f"{job}/results/result").text.split()
        assert "srv" not in entries and "bin" in entries


def test_image_that_is_not_there(server: BatchServer[CondorPool]) -> None:
    """It is the job's error, with the container program's own words."""
    with server.client("missing") as user:
        job = user.create({"PHASE": "RUN"})
        assert user.wait(job) == "ERROR"
        assert "no such image" in user.get(f"{job}/error").text + user.get(f"{job}/logs/stderr").text

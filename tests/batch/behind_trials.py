"""What is tried on every batch system that a runner drives."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.batch import soak
from tests.batch.behind import BehindVictim, Configured
from tests.runner.programs import Far, until
from tests.service.client import Uws, job_id

JOBS = 8
KILLS = 4

Leftovers = Callable[[frozenset[str]], Sequence[str]]
"""Names what the batch system still has of jobs."""


def logs_and_failure(far: Far) -> None:
    """See that stdout and stderr come apart, and that the exit code is the job's error."""
    with Uws(far.server.url, "sleep") as user:
        job = user.create({"PHASE": "RUN", "SECONDS": "0", "EXIT": "3"})
        assert user.wait(job) == "ERROR"
        assert "exit code 3" in user.get(f"{job}/error").text
        assert user.get(f"{job}/logs/stdout").status_code == 200
        assert user.get(f"{job}/logs/stderr").status_code == 200


def abort(far: Far, leftovers: Leftovers) -> None:
    """Abort a running job; nothing of it stays."""
    with Uws(far.server.url, "sleep") as user:
        job = user.create({"PHASE": "RUN", "SECONDS": "600"})
        assert user.wait(job, "EXECUTING") == "EXECUTING"
        user.post(f"{job}/phase", {"PHASE": "ABORT"})
        assert user.wait(job) == "ABORTED"
        until(lambda: not leftovers(frozenset([job_id(job)])), "the job to leave")


def results_of_a_cut(far: Far, shared: Path) -> None:
    """See that what ends while the link is cut is kept by the runner, logs too, and counts afterwards."""
    with Uws(far.server.url, soak.APPLICATION) as user:
        job = user.create({"PHASE": "RUN", "SECONDS": "4"})
        ledger = soak.make_ledger(shared)
        until(lambda: job_id(job) in ledger.read_text(), "the command, whose agent has claimed the attempt by then")
        far.wire.cut()
        try:
            until(lambda: f"job={job_id(job)}" in far.runner.text().rpartition("a report is kept")[2], "the report")
            far.runner.kill()
            far.runner.start()
            assert user.wait(job, "UNKNOWN") == "UNKNOWN"
        finally:
            far.wire.mend()
        assert user.wait(job) == "COMPLETED"
        assert user.get(f"{job}/results/result").text.strip() == job_id(job)
        assert user.get(f"{job}/logs/stdout").status_code == 200


def kills(far: Far, system: Configured, leftovers: Leftovers) -> None:
    """Kill the service and the runner: neither loses a job, or runs one twice."""
    findings = soak.soak(BehindVictim(far, system, leftovers), random.randrange(1 << 30), JOBS, KILLS)
    print(findings.line)
    assert findings.is_clean, findings

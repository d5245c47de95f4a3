"""Jobs and attempts to store."""

from __future__ import annotations

from typing import Any

from uws_service.domain.attempt import Attempt, AttemptState, Usage
from uws_service.domain.job import ErrorSummary, Job, Parameter, Phase, Result
from uws_service.domain.jobinfo import JobInfo


def job(job_id: str = "a", **fields: Any) -> Job:
    """Return a small job of the anonymous user."""
    values = {"application": "app", "owner": None, "phase": Phase.PENDING, "created": 1000, "duration": 60}
    return Job(**{"id": job_id, **values, "destruction": 9000, **fields})


def attempt(job_id: str = "a", number: int = 1, **fields: Any) -> Attempt:
    """Return an attempt that waits at the site `local`."""
    return Attempt(job_id, number, **{"site": "local", "application": "app", "owner": "", "created": 1000, **fields})


FULL = job(
    "full",
    owner="Ω'; DROP TABLE job; --",
    phase=Phase.ERROR,
    created=1_700_000_000_123,
    duration=2_147_483_647,
    destruction=253_402_300_799_999,
    run_id="run\0id — ünï".replace("\0", ""),
    quote=5,
    queued=6,
    started=7,
    ended=8,
    parameters=(Parameter("P", "nul \0, 𝄞 and \ud800"), Parameter("F", "f.csv", "jobs/full/f", "text/csv", 2**40)),
    results=(Result("result", "jobs/full/r", "text/csv;header=present", 2**40, "0" * 64),),
    error=ErrorSummary("no\0thing", True, "ExitCode", "detail\nof it"),
    info=JobInfo.from_json({"progress": 0.5, "message": "half", "nested": {"a": [1, None]}}),
    listed=False,
)
"""Every field has a value, some of them hard to store."""

CLOSED_ATTEMPT = attempt(
    "full",
    3,
    owner="Ω",
    group="g",
    wanted=False,
    state=AttemptState.CLOSED,
    submitted=1,
    started=2,
    ended=3,
    not_before=4,
    exit_code=-9,
    reason="ExitCode",
    message="it failed: ü",
    cpu_requested=0.5,
    memory_requested=2**40,
    usage=Usage(1.5, 0.25, 2**40, 2**41, 2**42),
)

"""Slurm's documents of a job, from slurmctld and from the accounting, as a `BatchJob`. Pure.

The formats are those of ``data_parser`` v0.0.41 and later: a number is an object that says whether it is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from uws_service.domain.attempt import Reason, Usage
from uws_service.sites.batch.driver import BatchJob, BatchState, Key

Document = Mapping[str, Any]
_COMMENT = re.compile(r"uws:([^/]+)/([0-9a-f]{32})/(\d{1,9})")
ENDED = frozenset(
    "COMPLETED FAILED CANCELLED TIMEOUT DEADLINE OUT_OF_MEMORY NODE_FAIL BOOT_FAIL PREEMPTED REVOKED "
    "LAUNCH_FAILED".split()
)
"""States after which nothing of a job runs any more, unless it is still completing."""
REQUEUED = frozenset("REQUEUED REQUEUE_HOLD SPECIAL_EXIT RECONFIG_FAIL".split())
"""Flags of a job that Slurm means to run once more."""
ENDS: Mapping[str, tuple[Reason, str]] = {
    "CANCELLED": (Reason.DELETED, "Somebody cancelled the job at its site."),
    "TIMEOUT": (Reason.DEADLINE, "It ran for longer than its site allows."),
    "DEADLINE": (Reason.DEADLINE, "It could not end in the time that its site allows."),
    "OUT_OF_MEMORY": (Reason.OUT_OF_MEMORY, "The job used more memory than the application may have."),
    "NODE_FAIL": (Reason.NODE_LOST, "The machine that it ran on is gone."),
    "BOOT_FAIL": (Reason.NODE_LOST, "The machine that it was to run on did not start."),
    "PREEMPTED": (Reason.EVICTED, "The site put it out for another job."),
    "REVOKED": (Reason.EVICTED, "The site gave it to another cluster."),
    "LAUNCH_FAILED": (Reason.NODE_LOST, "The machine could not start it."),
}
"""Why a job has ended that did not end by itself, and in which words."""
WAITS: Mapping[str, str] = {
    "Resources": "waiting for a machine with room",
    "Priority": "others are before it in the site's queue",
    "JobArrayTaskLimit": "as many of its kind run as may",
    "Reservation": "waiting for its reservation",
    "PartitionDown": "its partition takes no jobs at the moment",
    "PartitionInactive": "its partition takes no jobs at the moment",
    "Licenses": "waiting for a licence",
    "BeginTime": "its site starts it a little later",
    "ReqNodeNotAvail": "no machine that it could run on is up",
    "NodeDown": "no machine that it could run on is up",
    "Dependency": "waiting for another job",
    "Cleaning": "its machine is being made ready",
}
"""Words for the reasons for which a job waits."""
HOPELESS = frozenset(
    "BadConstraints PartitionNodeLimit PartitionTimeLimit InvalidAccount InvalidQOS JobHeldAdmin "
    "DependencyNeverSatisfied AccountNotAllowed QOSNotAllowed AssocMaxCpuPerJobLimit AssocMaxMemPerJob "
    "AssocMaxWallDurationPerJobLimit".split()
)
"""Reasons for which it waits until an operator does something."""


class Comment(NamedTuple):
    """What the service writes into the comment of its jobs."""

    instance: str
    key: Key

    @property
    def text(self) -> str:
        return f"uws:{self.instance}/{self.key[0]}/{self.key[1]}"


def parse_comment(text: object) -> Comment | None:
    """Return what the service wrote.

    None for other people's comments.
    """
    match = _COMMENT.fullmatch(text) if isinstance(text, str) else None
    return Comment(match[1], (match[2], int(match[3]))) if match is not None else None


def number(value: object) -> int:
    """Return a number of Slurm's, 0 if it is not set."""
    if isinstance(value, Mapping):
        value = value.get("number", 0) if value.get("set", True) and not value.get("infinite") else 0
    return int(value) if isinstance(value, int | float) else 0


def handle_of(job_id: int, submitted: int) -> str:
    """Return a job's handle.

    Its id is given to another job if slurmctld dies before it has saved the job.
    """
    return f"{job_id}.{submitted}"


def parts_of(handle: str) -> tuple[int, int]:
    """Return a handle's job id, and when (seconds) it was submitted."""
    job_id, _, submitted = handle.partition(".")
    return int(job_id), int(submitted or 0)


def states_of(document: Document, name: str = "job_state") -> frozenset[str]:
    """Return a job's state with its flags."""
    value = document.get(name, ())
    return frozenset((value,) if isinstance(value, str) else value)


def batch_job(document: Document, instance: str) -> BatchJob | None:
    """Return a job as slurmctld shows it.

    None if it is not this service's.
    """
    comment = parse_comment(document.get("comment"))
    if comment is None or comment.instance != instance:
        return None
    states = states_of(document)
    submitted, started, ended = (number(document.get(name)) for name in ("submit_time", "start_time", "end_time"))
    restarts = number(document.get("restart_cnt"))
    reason = str(document.get("state_reason") or "")
    was_held = "CANCELLED" in states and bool(document.get("hold"))  # Slurm gives it a start all the same
    has_run = bool(started) and "PENDING" not in states and not was_held
    values: dict[str, Any] = {
        "key": comment.key,
        "handle": handle_of(number(document.get("job_id")), submitted),
        "submitted": submitted * 1000,
        "started": started * 1000 if has_run else None,
        "node": str(document.get("nodes") or ""),
        "starts": restarts + (1 if has_run else 0),
    }
    if states & REQUEUED or (restarts and "PENDING" in states):
        message = "Its machine was lost, and the site would run it once more."
        return BatchJob(state=BatchState.ENDED, reason=Reason.NODE_LOST, message=message, **values)
    if "PENDING" in states:
        return _pending(document, reason, values)
    if "COMPLETING" in states or "STAGE_OUT" in states:
        return BatchJob(state=BatchState.ENDING, **values)
    if states & ENDED:
        return _ended(states, document.get("exit_code"), reason, {**values, "ended": ended * 1000 or None})
    if "CONFIGURING" in states or "POWER_UP_NODE" in states:
        return BatchJob(state=BatchState.STARTING, **values)
    if "SUSPENDED" in states or "STOPPED" in states:
        return BatchJob(state=BatchState.SUSPENDED, **values)
    return BatchJob(state=BatchState.RUNNING, **values)


def _pending(document: Document, reason: str, values: dict[str, Any]) -> BatchJob:
    if reason == "JobHeldUser" or (document.get("hold") and reason != "JobHeldAdmin"):
        return BatchJob(state=BatchState.HELD, **values)
    detail = str(document.get("state_description") or "")
    if reason in HOPELESS:
        return BatchJob(state=BatchState.STUCK, message=detail or reason, **values)
    words = WAITS.get(reason.partition(",")[0], "")
    if not words and "Limit" in reason:
        words = f"as many jobs of its account are there as may ({reason})"
    return BatchJob(state=BatchState.QUEUED, waiting=words or "waiting for its turn", **values)


def _ended(states: Iterable[str], exit_code: object, reason: str, values: dict[str, Any]) -> BatchJob:
    code = exit_code if isinstance(exit_code, Mapping) else {}
    sign = code.get("signal")
    kind = number(sign.get("id")) if isinstance(sign, Mapping) else 0
    values |= {"state": BatchState.ENDED, "exit_code": number(code.get("return_code")), "signal": kind or None}
    for state in states:
        if state in ENDS:
            cause, message = ENDS[state]
            return BatchJob(reason=cause, message=message, **values)
    if reason == "JobLaunchFailure":
        return BatchJob(reason=Reason.NODE_LOST, message=ENDS["LAUNCH_FAILED"][1], **values)
    if "FAILED" in states and not values["exit_code"]:
        return BatchJob(reason=Reason.AGENT_LOST, **values)
    return BatchJob(**values)


def accounted_job(record: Document, instance: str) -> BatchJob | None:
    """Return a job as the accounting shows it.

    None if it is not this service's, or has not ended.
    """
    comment = record.get("comment")
    parsed = parse_comment(comment.get("job") if isinstance(comment, Mapping) else comment)
    state, times = record.get("state"), record.get("time")
    if (
        parsed is None
        or parsed.instance != instance
        or not isinstance(state, Mapping)
        or not isinstance(times, Mapping)
    ):
        return None
    states = states_of(state, "current")
    if not states & ENDED:
        return None
    submitted, started, ended = (number(times.get(name)) for name in ("submission", "start", "end"))
    values = {
        "key": parsed.key,
        "handle": handle_of(number(record.get("job_id")), submitted),
        "submitted": submitted * 1000,
        "started": started * 1000 or None,
        "ended": ended * 1000 or None,
        "starts": 1 if started else 0,
        "node": str(record.get("nodes") or ""),
        "usage": usage_of(record),
    }
    return _ended(states, record.get("exit_code"), str(state.get("reason") or ""), values)


def usage_of(record: Document) -> Usage:
    """Return what the accounting says that a job used: wall time, CPU, and the most memory of any step."""
    times = record.get("time") or {}
    total = times.get("total") or {}
    cpu = number(total.get("seconds")) + number(total.get("microseconds")) / 1e6
    used = [
        entry
        for step in record.get("steps", ())
        for entry in step.get("tres", {}).get("requested", {}).get("max", ())
        if entry.get("type") == "mem"
    ]
    memory = max((number(entry.get("count")) for entry in used), default=0)
    return Usage(wall=float(number(times.get("elapsed"))), cpu=cpu, peak_memory=memory)

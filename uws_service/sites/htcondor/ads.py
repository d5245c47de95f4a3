"""Jobs of HTCondor as ClassAds: what they are submitted with, and what they show.

Pure. The numbers are HTCondor's own: ``JobStatus`` 1 idle, 2 running, 3 removed, 4 completed, 5 held, 6 transferring
output, 7 suspended; hold codes are those of the manual's table "HoldReasonCode".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from uws_service.domain.attempt import Reason, Usage
from uws_service.sites.batch.driver import BatchJob, BatchSpec, BatchState

IDLE, RUNNING, REMOVED, COMPLETED, HELD, TRANSFERRING, SUSPENDED = range(1, 8)
SPOOLING = 16
"""The hold code of a job that waits for its files: it can't run."""
LOG = "agent.log"
"""Where the agent's standard error goes."""
GUARD = "(NumShadowStarts ?: 0) == 0"
"""A job begins once: a node that has lost it gets no second one, while a shadow may connect again."""
LEFT_DAYS = 30
"""A job that has ended stays in the queue so long, if nobody forgets it."""
ATTRIBUTES: tuple[str, ...] = (
    "ClusterId", "ProcId", "UwsAttempt", "JobStatus", "HoldReasonCode", "HoldReason", "NumShadowStarts", "QDate",
    "JobCurrentStartExecutingDate", "JobCurrentStartDate", "RemoteHost", "LastRemoteHost", "CurrentHosts", "ExitCode",
    "ExitBySignal", "ExitSignal", "CompletionDate", "EnteredCurrentStatus", "JobDisconnectedDate", "RemoveReason",
    "VacateReason", "VacateReasonCode", "LastRejMatchReason", "RemoteUserCpu", "RemoteSysCpu", "RemoteWallClockTime",
    "StageInFinish",
)  # fmt: skip
"""What is asked for of each job, and no more."""
HOLDS: Mapping[int, Reason] = {
    6: Reason.AGENT_LOST,  # the agent's Python could not be started
    12: Reason.AGENT_LOST,  # files of the agent could not be brought
    13: Reason.AGENT_LOST,
    21: Reason.OUT_OF_MEMORY,  # by the start daemon's policy
    34: Reason.OUT_OF_MEMORY,  # by the starter, or the node's cgroup
    46: Reason.DEADLINE,
    47: Reason.DEADLINE,
}
"""Hold codes that are an end; others an operator may lift."""


def attempt_name(instance: str, key: tuple[str, int]) -> str:
    """Return the value of ``UwsAttempt`` in a job's ClassAd."""
    return f"{instance}/{key[0]}/{key[1]}"


def quoted(text: str) -> str:
    """Return a string of ClassAds."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def arguments(words: Sequence[str]) -> str:
    """Return words in the new syntax of ``arguments``.

    Double quotes around all, single ones around each.
    """
    marks = {"'": "''", '"': '""', "$": "$(DOLLAR)"}
    return '"' + " ".join(f"'{''.join(marks.get(mark, mark) for mark in word)}'" for word in words) + '"'


def description(
    spec: BatchSpec,
    instance: str,
    *,
    accounting_group: str,
    requirements: str,
    extra: Mapping[str, str],
    vacate: int,
    lease: int,
) -> dict[str, str]:
    """Return what a job is submitted with.

    Parameters
    ----------
    accounting_group
        The pool's group for the service's jobs; empty: none.
    requirements
        What machines must have, beside room.
    extra
        Commands of the site's settings, which come last.
    vacate
        Seconds from SIGTERM to SIGKILL.
    lease
        Seconds without its shadow after which a machine ends the job, and the pool counts it as lost.
    """
    program, *words = spec.command
    conditions = [f"({condition})" for condition in (GUARD, requirements) if condition]
    commands = {
        "universe": "vanilla",
        "executable": program,
        "transfer_executable": "False",
        "arguments": arguments(words),
        "transfer_input_files": ", ".join(spec.files),
        "should_transfer_files": "YES",
        "when_to_transfer_output": "ON_EXIT",
        "transfer_output_files": "",  # a named file that is not there would hold the job and its machine
        "error": LOG,
        "batch_name": spec.name,
        "notification": "never",
        "request_cpus": str(max(1, math.ceil(spec.cpu))),
        "request_memory": str(max(1, math.ceil(spec.memory / 2**20))),
        "request_disk": str(max(1024, math.ceil(spec.disk / 2**10))),
        "requirements": " && ".join(conditions),
        "kill_sig": "SIGTERM",
        "job_max_vacate_time": str(vacate),
        "job_lease_duration": str(lease),
        "leave_in_queue": f"JobStatus == {COMPLETED} && time() - (CompletionDate ?: time()) < {LEFT_DAYS * 86400}",
        "priority": str(spec.priority),
        "My.UwsInstance": quoted(instance),
        "My.UwsAttempt": quoted(attempt_name(instance, spec.key)),
    }
    if spec.gpus:
        commands["request_gpus"] = str(spec.gpus)
    if spec.duration:
        commands["allowed_execute_duration"] = str(spec.duration)
    if accounting_group:
        commands |= {"accounting_group": accounting_group, "accounting_group_user": spec.account_user}
    return {**commands, **extra}


def parse_name(text: object, instance: str) -> tuple[str, int] | None:
    """Return the attempt that a ClassAd names.

    None for a job of somebody else.
    """
    match = re.fullmatch(rf"{re.escape(instance)}/([0-9a-f]{{32}})/([1-9][0-9]{{0,5}})", str(text))
    return (match[1], int(match[2])) if match else None


def batch_job(ad: Mapping[str, Any], instance: str) -> BatchJob | None:
    """Return a job as its ClassAd shows it.

    None for one that names no attempt of this service.
    """
    key = parse_name(ad.get("UwsAttempt"), instance)
    if key is None:
        return None
    state, reason, message = _state(ad)
    started = ad.get("JobCurrentStartExecutingDate")
    ended = _end(ad) if state is BatchState.ENDED else None
    by_signal = ad.get("ExitBySignal") is True
    is_complete = ad.get("JobStatus") == COMPLETED
    return BatchJob(
        key,
        f"{ad['ClusterId']}.{ad['ProcId']}",
        state,
        exit_code=ad.get("ExitCode") if is_complete and not by_signal else None,
        signal=ad.get("ExitSignal") if is_complete and by_signal else None,
        reason=reason,
        message=message,
        waiting=_waiting(ad) if state is BatchState.QUEUED else "",
        node=_node(ad),
        submitted=_milliseconds(ad.get("QDate")),
        started=_milliseconds(started),
        ended=ended,
        usage=Usage(
            wall=float(ad.get("RemoteWallClockTime") or 0.0),
            cpu=float(ad.get("RemoteUserCpu") or 0.0) + float(ad.get("RemoteSysCpu") or 0.0),
        ),
        starts=int(ad.get("NumShadowStarts") or 0),
        silent=state is BatchState.RUNNING and ad.get("JobDisconnectedDate") is not None,
    )


def _state(ad: Mapping[str, Any]) -> tuple[BatchState, Reason | None, str]:
    """Return state, reason and words of a job."""
    status, begun = ad.get("JobStatus"), bool(ad.get("NumShadowStarts"))
    hosts = int(ad.get("CurrentHosts") or 0)
    if status == IDLE:
        return _lost(ad) if begun else (BatchState.QUEUED, None, "")
    if status in (RUNNING, TRANSFERRING):  # RUNNING comes before the files are on the machine
        runs = status == TRANSFERRING or ad.get("JobCurrentStartExecutingDate") is not None
        return (BatchState.RUNNING if runs else BatchState.STARTING), None, ""
    if status == SUSPENDED:
        return BatchState.SUSPENDED, None, ""
    if status == COMPLETED:
        return BatchState.ENDED, None, ""
    if status == REMOVED:  # it has ended only when no machine has it any more
        words = str(ad.get("RemoveReason") or "It was removed from the queue.")
        return (BatchState.ENDING if hosts else BatchState.ENDED), Reason.DELETED, words
    code, words = int(ad.get("HoldReasonCode") or 0), str(ad.get("HoldReason") or "The pool has put it on hold.")
    if code == SPOOLING and not begun and ad.get("StageInFinish") is None:
        return BatchState.HELD, None, ""
    if code in HOLDS:
        return (BatchState.ENDING if hosts else BatchState.ENDED), HOLDS[code], words
    if begun:  # it may be released, but never begins again
        return (BatchState.ENDING if hosts else BatchState.ENDED), Reason.EVICTED, words
    return BatchState.STUCK, None, words


def _lost(ad: Mapping[str, Any]) -> tuple[BatchState, Reason, str]:
    """Return the end of a job that had begun and is idle again: its guard keeps it so."""
    words = str(ad.get("VacateReason") or "")
    if ad.get("JobDisconnectedDate") is not None or "lease" in words.lower():
        return BatchState.ENDED, Reason.NODE_LOST, words or "Its machine did not come back."
    if re.search(r"preempt|evict|vacat|draining|retire", words, re.IGNORECASE):
        return BatchState.ENDED, Reason.EVICTED, words
    return BatchState.ENDED, Reason.AGENT_LOST, words or "The pool has lost it."


def _waiting(ad: Mapping[str, Any]) -> str:
    reason = str(ad.get("LastRejMatchReason") or "").strip()
    return f"waiting for a machine of the pool: {reason}" if reason else "waiting for a machine of the pool"


def _node(ad: Mapping[str, Any]) -> str:
    host = str(ad.get("RemoteHost") or ad.get("LastRemoteHost") or "")
    return host.rpartition("@")[2]


def _end(ad: Mapping[str, Any]) -> int | None:
    return _milliseconds(ad.get("CompletionDate") or None) or _milliseconds(ad.get("EnteredCurrentStatus"))


def _milliseconds(seconds: object) -> int | None:
    return int(seconds * 1000) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else None

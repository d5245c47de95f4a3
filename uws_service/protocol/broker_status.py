"""Jobs as SRCNet's client of a computing broker reads them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from uws_service.domain.attempt import Attempt, AttemptState, Reason
from uws_service.domain.job import FINAL, ErrorSummary, Job, Phase
from uws_service.protocol.uws import format_instant

PHASES_OF_STATES: Mapping[str, frozenset[Phase]] = {
    "PENDING": frozenset({Phase.PENDING, Phase.HELD, Phase.QUEUED}),
    "DISPATCHED": frozenset(),
    "WAITING_REDISPATCH": frozenset({Phase.QUEUED}),
    "CANCEL_REQUESTED": frozenset(),
    "SUBMITTED": frozenset({Phase.QUEUED, Phase.SUSPENDED, Phase.UNKNOWN}),
    "RUNNING": frozenset({Phase.EXECUTING, Phase.UNKNOWN}),
    "COMPLETE": frozenset({Phase.COMPLETED}),
    "FAILED": frozenset({Phase.ERROR, Phase.ABORTED}),
    "CANCELED": frozenset({Phase.ABORTED}),
    "EXECUTOR_ERROR": frozenset({Phase.ERROR}),
    "SYSTEM_ERROR": frozenset({Phase.ERROR}),
}
"""Phases that listed jobs of a state may have; jobs are never in a state that has none."""

_BY_COMMAND = frozenset(
    {
        Reason.EXIT_CODE,
        Reason.OUT_OF_MEMORY,
        Reason.OUTPUT_TOO_LARGE,
        Reason.TOO_MANY_PROCESSES,
        Reason.COMMAND,
        Reason.APPLICATION,
        Reason.STAGE_OUT,
    }
)
"""Faults of the job's own."""
_FAILURES = {
    Reason.USAGE: "submit_failed",
    Reason.REFUSED: "submit_failed",
    Reason.NO_SITE: "no_compatible_sites",
    Reason.DATA: "preselection_failed",
    Reason.UNSCHEDULABLE: "resource_exhausted",
    Reason.DEADLINE: "timeout",
}
_STAGES = {
    "PENDING": "accepted",
    "WAITING_REDISPATCH": "accepted",
    "SUBMITTED": "submitted",
    "RUNNING": "running",
}


class State(NamedTuple):
    """A state of the broker, and the reason for it."""

    name: str
    reason: str | None = None


def state_of(job: Job, attempt: Attempt | None) -> State:
    """Return the state of a job.

    ``attempt`` is the latest one of a job that is QUEUED.
    """
    match job.phase:
        case Phase.PENDING:
            return State("PENDING", "not_started")
        case Phase.HELD:
            return State("PENDING", "held")
        case Phase.QUEUED:
            return _queued(job, attempt)
        case Phase.EXECUTING:
            return State("RUNNING")
        case Phase.SUSPENDED:
            return State("SUBMITTED", "suspended_redispatch")
        case Phase.UNKNOWN:
            return State("SUBMITTED" if job.started is None else "RUNNING", "site_unreachable")
        case Phase.COMPLETED:
            return State("COMPLETE")
    if job.error is None:
        return State("COMPLETE" if job.phase is Phase.ARCHIVED else "CANCELED")
    return _failed(job.error, has_run=job.started is not None)


def _queued(job: Job, attempt: Attempt | None) -> State:
    if attempt is not None and attempt.state is not AttemptState.WAITING:
        return State("SUBMITTED")
    if job.info.lost_attempts:
        return State("WAITING_REDISPATCH", f"{_snake(job.info.lost_attempts[-1].reason)}_redispatch")
    return State("PENDING")


def _failed(error: ErrorSummary, *, has_run: bool) -> State:
    if error.reason == Reason.ABORTED:
        return State("CANCELED", "canceled")
    if error.reason in _BY_COMMAND or (has_run and error.reason == Reason.USAGE):  # the command's own word then
        return State("EXECUTOR_ERROR", "executor_error")
    if error.reason in _FAILURES:
        return State("FAILED", _FAILURES[Reason(error.reason)])
    return State("SYSTEM_ERROR", "system_error")


def _snake(word: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word).lower()


def summary_json(job: Job, attempt: Attempt | None, backend: Mapping[str, str]) -> dict[str, Any]:
    """Return a job as lists and answers to a submission show it."""
    state = state_of(job, attempt)
    return {
        "job_id": job.info.client_id or job.id,
        "state": state.name,
        "status_reason": state.reason,
        "last_error": job.error.message if job.error is not None else None,
        "run_id": job.id,
        "run_site_id": job.info.site or None,
        "created": format_instant(job.created),
        "started": format_instant(job.started) if job.started is not None else None,
        "ended": format_instant(job.ended) if job.ended is not None else None,
        "dispatch_attempts": job.info.attempt or 0,
        "backend_details": dict(backend),
        "progress": _progress(job, state),
    }


def status_json(
    job: Job,
    attempt: Attempt | None,
    backend: Mapping[str, str],
    events: Sequence[tuple[int, str, str]],
    base: str,
) -> dict[str, Any]:
    """Return all that is told of a job.

    ``events`` are instant, kind and phase, first to last; ``base`` is the job's own URL.
    """
    error = job.error
    return {
        **summary_json(job, attempt, backend),
        "events": [
            {"time": format_instant(instant), "type": kind.lower(), "phase": phase} for instant, kind, phase in events
        ],
        "details": {
            "uws_job": base,
            "phase": job.phase.value,
            "reason": str(error.reason) if error is not None else None,
            "log_tail": error.detail or None if error is not None else None,
            "notices": list(job.info.notices),
            "versions": dict(job.info.versions),
            "timeout_s": job.duration,
            "results": [
                {"id": result.id, "href": f"{base}/results/{result.id}", "size": result.size, "sha256": result.sha256}
                for result in job.results
            ],
        },
    }


def _progress(job: Job, state: State) -> dict[str, Any]:
    over = job.phase in FINAL
    reason = str(job.error.reason) if job.error is not None else ""
    substage = _snake(reason) if reason else job.phase.value.lower()
    message = job.error.message if job.error is not None else job.info.waiting or job.info.message
    return {
        "stage": "finished" if over else _STAGES[state.name],
        "substage": substage,
        "message": message,
        "activity_state": "ended" if over else "active" if state.name == "RUNNING" else "waiting",
        "fraction": job.info.progress,
    }


def log_json(content: bytes | None, path: str, size: int | None) -> dict[str, Any]:
    """Return one log.

    Its end, and where all of it is.
    """
    text = content.decode("utf-8", "replace") if content is not None else ""
    shown = size is None or content is None or len(content) >= size
    return {"available": content is not None, "content": text, "path": path, "truncated": not shown}

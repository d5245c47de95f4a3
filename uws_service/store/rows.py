"""Rows to values and back.

It is done by hand, so that a job costs microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple

from uws_service.domain.attempt import (
    Attempt,
    AttemptState,
    ExpectedResult,
    Input,
    Launch,
    Mount,
    Output,
    Reason,
    Report,
    Usage,
)
from uws_service.domain.dataset import data_parameters_of
from uws_service.domain.job import ErrorSummary, Job, JobRef, Parameter, Phase, Result
from uws_service.domain.jobinfo import JobInfo
from uws_service.store.database import Row

_PHASES = {phase.value: phase for phase in Phase}
_STATES = {state.value: state for state in AttemptState}
_LAUNCH_FIELDS = frozenset(field.name for field in fields(Launch))


class Glance(NamedTuple):
    """The columns that most requests need of a job."""

    version: int
    application: str
    owner: str | None
    phase: Phase


class Event(NamedTuple):
    """One line of a job's history."""

    seq: int
    at: int
    kind: str
    phase: str
    version: int
    actor: str
    origin: str
    detail: Mapping[str, Any]


JOB_COLUMNS = (
    "id", "application", "owner", "phase", "version", "run_id", "created", "queued", "started", "ended", "quote",
    "destruction", "duration", "parameters", "results", "error", "info", "listed",
)  # fmt: skip


def job_values(job: Job) -> dict[str, Any]:
    """Return a job as parameters of a statement."""
    error = job.error
    parameters = parameters_text(job.parameters)
    return {
        "id": job.id,
        "application": job.application,
        "owner": job.owner,
        "owner_key": job.owner or "",
        "phase": job.phase.value,
        "version": job.version,
        "run_id": job.run_id,
        "created": job.created,
        "queued": job.queued,
        "started": job.started,
        "ended": job.ended,
        "quote": job.quote,
        "destruction": job.destruction,
        "duration": job.duration,
        "parameters": parameters,
        "results": json_text([_result_fields(result) for result in job.results]),
        "error": None if error is None else _error_text(error),
        "info": json_text(job.info.to_json()),
        "listed": job.listed,
        "stored": _stored_bytes(job.parameters, parameters)
        + sum(result.size for result in job.results if not result.location),
    }


def _error_text(error: ErrorSummary) -> str:
    return json_text([error.message, error.transient, str(error.reason), error.detail])


def json_text(value: object) -> str:
    """Return JSON in ASCII, as PostgreSQL's text can't hold a NUL."""
    return json.dumps(value, separators=(",", ":"))


def job_of(row: Row) -> Job:
    """Return the job of `JOB_COLUMNS`."""
    (job_id, application, owner, phase, version, run_id, created, queued, started, ended, quote, destruction, duration,
     parameters, results, error, info, listed) = row  # fmt: skip
    summary = None
    if error is not None:
        message, transient, reason, detail = json.loads(error)
        summary = ErrorSummary(message, transient, reason, detail)
    return Job(
        id=job_id,
        application=application,
        owner=owner,
        phase=_PHASES[phase],
        created=created,
        duration=duration,
        destruction=destruction,
        run_id=run_id,
        quote=quote,
        queued=queued,
        started=started,
        ended=ended,
        parameters=tuple(Parameter(*fields) for fields in json.loads(parameters)),
        results=tuple(Result(*fields) for fields in json.loads(results)),
        error=summary,
        info=JobInfo.from_json(json.loads(info)),
        listed=bool(listed),
        version=version,
    )


def ref_of(row: Row) -> JobRef:
    """Return the list entry of (id, phase, run_id, owner, created)."""
    return JobRef(row[0], _PHASES[row[1]], row[2], row[3], row[4])


def glance_of(row: Row) -> Glance:
    """Return the glance of (version, application, owner, phase)."""
    return Glance(row[0], row[1], row[2], _PHASES[row[3]])


ATTEMPT_COLUMNS = (
    "job_id", "number", "site", "application", "owner", "group", "wanted", "state", "created", "submitted", "started",
    "ended", "not_before", "exit_code", "reason", "message", "cpu_requested", "memory_requested", "wall", "cpu",
    "peak_memory", "bytes_in", "bytes_out", "claimed", "report", "owner_slots", "handle", "network", "lot",
)  # fmt: skip


def attempt_values(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as parameters of a statement."""
    usage = attempt.usage
    values = {name: getattr(attempt, name) for name in ATTEMPT_COLUMNS[:18]}
    return {
        **values,
        "state": attempt.state.value,
        "reason": None if attempt.reason is None else str(attempt.reason),
        "message": attempt.message.replace("\0", ""),
        "wall": usage.wall,
        "cpu": usage.cpu,
        "peak_memory": usage.peak_memory,
        "bytes_in": usage.bytes_in,
        "bytes_out": usage.bytes_out,
        "claimed": attempt.claimed,
        "report": None if attempt.report is None else report_text(attempt.report),
        "owner_slots": attempt.owner_slots,
        "handle": attempt.handle or None,
        "launch": None if attempt.launch is None else launch_text(attempt.launch),
        "network": attempt.network,
        "lot": attempt.lot,
        "wish": attempt.wish or None,
    }


def launch_text(launch: Launch) -> str:
    """Return a launch as JSON."""
    return json_text(asdict(launch))


def launch_of(text: str) -> Launch:
    """Return a launch from its JSON; fields of a newer version are left out."""
    values = {name: value for name, value in json.loads(text).items() if name in _LAUNCH_FIELDS}
    return Launch(
        **{
            **values,
            "command": tuple(values["command"]),
            "passed": tuple(values["passed"]),
            "inputs": tuple(_input_of(item) for item in values["inputs"]),
            "data": data_parameters_of(values.get("data", ())),
            "sites": tuple(values.get("sites", ())),
            "mounts": tuple(values.get("mounts", ())),
            "results": tuple(ExpectedResult(**item) for item in values["results"]),
        }
    )


def _input_of(item: dict[str, Any]) -> Input:
    """Return an input; fields that an older version did not write have their defaults."""
    mount = item.get("mount")
    return Input(**{**item, "urls": tuple(item.get("urls", ())), "mount": Mount(**mount) if mount else None})


def _result_fields(result: Result) -> list[Any]:
    fields = [result.id, result.key, result.media_type, result.size, result.sha256]
    return [*fields, result.location] if result.location else fields


def parameters_text(parameters: Sequence[Parameter]) -> str:
    """Return parameters as JSON."""
    return json_text([[p.name, p.value, p.upload, p.media_type, p.size] for p in parameters])


def stored_bytes(parameters: Sequence[Parameter]) -> int:
    """Return the bytes of parameters, as they are stored, and of their uploads."""
    return _stored_bytes(parameters, parameters_text(parameters))


def _stored_bytes(parameters: Sequence[Parameter], text: str) -> int:
    return (len(text) if parameters else 0) + sum(parameter.size or 0 for parameter in parameters)


def report_text(report: Report) -> str:
    """Return an agent's report as JSON."""
    outputs = [[file.id, file.source, file.media_type, file.size, file.sha256] for file in report.outputs]
    return json_text([outputs, report.settled, report.reason, report.message, report.bytes_in])


def _report_of(text: str) -> Report:
    outputs, settled, reason, message, bytes_in = json.loads(text)
    files = tuple(Output(*fields) for fields in outputs)
    return Report(files, tuple(settled), Reason(reason) if reason else None, message, bytes_in)


def attempt_of(row: Row) -> Attempt:
    """Return the attempt of `ATTEMPT_COLUMNS`."""
    values = dict(zip(ATTEMPT_COLUMNS[:18], row[:18], strict=True))
    values["wanted"] = bool(values["wanted"])
    values["state"] = _STATES[values["state"]]
    report = _report_of(row[24]) if row[24] else None
    usage = Usage(*row[18:23])
    claimed, _, owner_slots, handle, network, lot = row[23:29]
    return Attempt(
        **values,
        usage=usage,
        claimed=claimed,
        report=report,
        owner_slots=owner_slots,
        handle=handle or "",
        network=bool(network),
        lot=lot,
    )


class SiteState(NamedTuple):
    """The last known state of a site; instants in milliseconds."""

    name: str
    reachable: bool
    since: int
    message: str
    updated: int


def event_of(row: Row) -> Event:
    """Return the event of (seq, at, kind, phase, version, actor, origin, detail)."""
    seq, at, kind, phase, version, actor, origin, detail = row
    return Event(seq, at, kind, phase, version, actor, origin, json.loads(detail) if detail else {})

"""Rows to values and back.

It is done by hand, so that a job costs microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple

from uws_service.domain.attempt import (
    Attempt,
    AttemptState,
    CommandEnd,
    CommandError,
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
from uws_service.domain.record import StagedFile
from uws_service.store.database import Row

_PHASES = {phase.value: phase for phase in Phase}
_STATES = {state.value: state for state in AttemptState}
_LAUNCH_FIELDS = frozenset(field.name for field in fields(Launch))
_JSON = json.JSONEncoder(separators=(",", ":"))
_READER = json.JSONDecoder()
SMALL_TEXT_CHARACTERS = 64 * 1024
"""Characters of JSON that are read in one go; no other thread of the process goes on meanwhile."""


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
    text = parameters_text(job.parameters)
    stored = _stored_bytes(job.parameters, text) + results_bytes(job)
    return {**values_beside_parameters(job), "parameters": text, "stored": stored}


def results_bytes(job: Job) -> int:
    """Return the bytes of a job's results that are in the depot."""
    return sum(result.size for result in job.results if not result.location)


def values_beside_parameters(job: Job) -> dict[str, Any]:
    """Return a job without its parameters and its size as parameters of a statement."""
    error = job.error
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
        "results": json_text([_result_fields(result) for result in job.results]),
        "error": None if error is None else _error_text(error),
        "info": json_text(job.info.to_json()),
        "listed": job.listed,
    }


def _error_text(error: ErrorSummary) -> str:
    return json_text([error.message, error.transient, str(error.reason), error.detail])


def json_text(value: object) -> str:
    """Return JSON in ASCII, as PostgreSQL's text can't hold a NUL."""
    return _JSON.encode(value)


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
        parameters=tuple(Parameter(*fields) for fields in _parameters_of(parameters)),
        results=tuple(Result(*fields) for fields in json.loads(results)),
        error=summary,
        info=JobInfo.from_json(json.loads(info)),
        listed=bool(listed),
        version=version,
    )


def _parameters_of(text: str) -> Iterator[list[Any]]:
    """Yield the fields of each parameter; long texts are read parameter by parameter."""
    if len(text) <= SMALL_TEXT_CHARACTERS:
        yield from json.loads(text)
        return
    end = 1
    while text[end - 1] != "]":  # as `parameters_text` writes: no blanks
        fields, end = _READER.raw_decode(text, end)
        yield fields
        end += 1


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
    "size_class",
    "gpus", "bytes_moved",
    "alive_until",
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
        "size_class": attempt.size_class,
        "alive_until": attempt.alive_until,
        "wish": attempt.wish or None,
        "gpus": attempt.gpus,
        "bytes_moved": attempt.bytes_moved,
    }


def launch_text(launch: Launch) -> str:
    """Return a launch as JSON."""
    return json_text(asdict(launch))


def launch_of(text: str) -> Launch:
    """Return a launch from its JSON.

    Fields of a newer version are left out.
    """
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
            "away": tuple(values.get("away", ())),
            "results": tuple(ExpectedResult(**item) for item in values["results"]),
        }
    )


def _input_of(item: dict[str, Any]) -> Input:
    """Return an input.

    Fields that an older version did not write have their defaults.
    """
    mount = item.get("mount")
    return Input(**{**item, "urls": tuple(item.get("urls", ())), "mount": Mount(**mount) if mount else None})


def _result_fields(result: Result) -> list[Any]:
    fields = [result.id, result.key, result.media_type, result.size, result.sha256]
    return [*fields, result.location] if result.location else fields


def parameters_text(parameters: Sequence[Parameter]) -> str:
    """Return parameters as JSON.

    Each is written by itself: of many MiB at once no other thread could go on meanwhile.
    """
    texts = [json_text([p.name, p.value, p.upload, p.media_type, p.size]) for p in parameters]
    return f"[{','.join(texts)}]"


def stored_bytes(parameters: Sequence[Parameter]) -> int:
    """Return the bytes of parameters, as they are stored, and of their uploads."""
    return _stored_bytes(parameters, parameters_text(parameters))


def _stored_bytes(parameters: Sequence[Parameter], text: str) -> int:
    return (len(text) if parameters else 0) + sum(parameter.size or 0 for parameter in parameters)


def report_text(report: Report) -> str:
    """Return an agent's report as JSON."""
    values: list[Any] = [_file_values(report.outputs), report.settled, report.reason, report.message, report.bytes_in]
    if report.inputs:  # an older version reads five of them
        values.append([[file.path, file.size, file.sha256] for file in report.inputs])
    if report.bytes_moved:
        values.append(report.bytes_moved)
    if report.end is not None:
        values.append(asdict(report.end) | {"logs": _file_values(report.end.logs)})
    return json_text(values)


def _file_values(files: Sequence[Output]) -> list[list[Any]]:
    return [[file.id, file.source, file.media_type, file.size, file.sha256] for file in files]


def _report_of(text: str) -> Report:
    outputs, settled, reason, message, bytes_in, *rest = json.loads(text)
    files = tuple(Output(*fields) for fields in outputs)
    inputs = next((part for part in rest if isinstance(part, list)), ())
    end = next((_end_of(part) for part in rest if isinstance(part, dict)), None)
    staged = tuple(StagedFile(*fields) for fields in inputs)
    moved = next((part for part in rest if isinstance(part, int)), 0)
    fault = Reason(reason) if reason else None
    return Report(files, tuple(settled), fault, message, bytes_in, inputs=staged, bytes_moved=moved, end=end)


def _end_of(values: Mapping[str, Any]) -> CommandEnd:
    logs = tuple(Output(*fields) for fields in values["logs"])
    error = CommandError(**values["error"]) if values["error"] else None
    return CommandEnd(**{**values, "logs": logs, "error": error})


def attempt_of(row: Row) -> Attempt:
    """Return the attempt of `ATTEMPT_COLUMNS`."""
    values = dict(zip(ATTEMPT_COLUMNS[:18], row[:18], strict=True))
    values["wanted"] = bool(values["wanted"])
    values["state"] = _STATES[values["state"]]
    report = _report_of(row[24]) if row[24] else None
    usage = Usage(*row[18:23])
    claimed, _, owner_slots, handle, network, lot, size_class, gpus, bytes_moved, alive_until = row[23:33]
    return Attempt(
        **values,
        usage=usage,
        claimed=claimed,
        report=report,
        owner_slots=owner_slots,
        handle=handle or "",
        network=bool(network),
        lot=lot,
        size_class=size_class,
        gpus=gpus,
        bytes_moved=bytes_moved,
        alive_until=alive_until,
    )


class SiteState(NamedTuple):
    """The last known state of a site.

    Instants in milliseconds.
    """

    name: str
    reachable: bool
    since: int
    message: str
    updated: int


def event_of(row: Row) -> Event:
    """Return the event of (seq, at, kind, phase, version, actor, origin, detail)."""
    seq, at, kind, phase, version, actor, origin, detail = row
    return Event(seq, at, kind, phase, version, actor, origin, json.loads(detail) if detail else {})

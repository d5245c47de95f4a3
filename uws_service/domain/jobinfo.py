"""jobInfo as a typed value, with a codec for the stored JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from uws_service.domain.placement import Candidate, decode_candidates, encode_candidates
from uws_service.domain.record import (
    InputRecord,
    Original,
    ResultRecord,
    decode_inputs,
    decode_original,
    decode_results,
    encode_original,
    encode_records,
)


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log of a job's command."""

    id: str
    size: int
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """An earlier attempt that was lost."""

    number: int
    site: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class JobInfo:
    """Progress, place and provenance of a job."""

    progress: float | None = None
    """0..1."""
    message: str = ""
    """The command's own words."""
    waiting: str = ""
    """Why the job does not run or end now: a sentence."""
    place: int | None = None
    """Jobs before it in the queue of its site."""
    ahead: int | None = None
    """Jobs before it in the service's queue; counted when it is read."""
    site: str = ""
    site_reason: str = ""
    data: str = ""
    """How its data came to its site, if they were brought there: a sentence."""
    share: str = ""
    """Whether its group is below, at or above its share of the network: a sentence, made when it is read."""
    placement: tuple[Candidate, ...] = ()
    """What spoke for each site and against it, the chosen one first."""
    attempt: int | None = None
    """Number of the latest attempt."""
    row: int | None = None
    """Row of the table that a bulk job was created from."""
    streams: tuple[str, ...] | None = None
    """Logs that can be read while the job runs; None: those that every site has."""
    logs: tuple[LogFile, ...] = ()
    lost_attempts: tuple[LostAttempt, ...] = ()
    notices: tuple[str, ...] = ()
    """What may be wrong with the request, such as undeclared parameters."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Parameters that the service chose: defaults, limits."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of service, application and image."""
    estimate: Mapping[str, str] = field(default_factory=dict)
    """What the job costs at most: `price` in `currency`, `wh`, `gco2e`."""
    client_id: str = ""
    """The id by which its client calls the job; empty: the job's own."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of uploaded files, by their keys in the depot."""
    image: str = ""
    """The image that it ran in, as any site can pull it: with its digest."""
    secret_names: tuple[str, ...] = ()
    """Parameters whose values stay out of what is passed on of the job."""
    inputs: tuple[InputRecord, ...] = ()
    """The files that the job has as its input, from RUN on."""
    results: tuple[ResultRecord, ...] = ()
    """What the results were, once an archived job has them no more."""
    archived: int | None = None
    """When the results were removed, in milliseconds since the epoch."""
    original: Original | None = None
    """The job that this one does anew."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Stored keys that this version does not know, kept as they are."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> JobInfo:
        """Return the value of a stored JSON object."""
        if not stored:
            return _EMPTY
        values: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, value in stored.items():
            name = _FIELDS.get(key)
            if name is None:
                extra[key] = value
            elif value is not None:
                decode = _DECODERS.get(name)
                values[name] = value if decode is None else decode(value)
        return cls(**values, extra=extra)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object to store, without defaults."""
        if self == _EMPTY:  # as of each new job
            return {}
        stored = dict(self.extra)
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                encode = _ENCODERS.get(name)
                stored[_KEYS.get(name, name)] = value if encode is None else encode(value)
        return stored

    def without_waiting(self) -> JobInfo:
        """Return this without the reason to wait."""
        return replace(self, waiting="", place=None)

    def provenance(self) -> JobInfo:
        """Return what an archived job keeps."""
        return JobInfo(
            site=self.site,
            attempt=self.attempt,
            lost_attempts=self.lost_attempts,
            notices=self.notices,
            defaults=self.defaults,
            versions=self.versions,
            client_id=self.client_id,
            image=self.image,
            secret_names=self.secret_names,
            inputs=self.inputs,
            results=self.results,
            archived=self.archived,
            original=self.original,
        )


def _decode_logs(stored: list[dict[str, Any]]) -> tuple[LogFile, ...]:
    return tuple(LogFile(log["id"], log["size"], log.get("media_type", "")) for log in stored)


def _encode_logs(logs: tuple[LogFile, ...]) -> list[dict[str, Any]]:
    return [{"id": log.id, "size": log.size, "media_type": log.media_type} for log in logs]


def _decode_lost(stored: list[dict[str, Any]]) -> tuple[LostAttempt, ...]:
    return tuple(LostAttempt(item["attempt"], item["site"], item["reason"], item["message"]) for item in stored)


def _encode_lost(attempts: tuple[LostAttempt, ...]) -> list[dict[str, Any]]:
    return [
        {"attempt": attempt.number, "site": attempt.site, "reason": attempt.reason, "message": attempt.message}
        for attempt in attempts
    ]


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "streams": tuple,
    "notices": tuple,
    "logs": _decode_logs,
    "lost_attempts": _decode_lost,
    "placement": decode_candidates,
    "secret_names": tuple,
    "inputs": decode_inputs,
    "results": decode_results,
    "original": decode_original,
}
_ENCODERS: Mapping[str, Callable[[Any], Any]] = {
    "streams": list,
    "notices": list,
    "defaults": dict,
    "versions": dict,
    "estimate": dict,
    "logs": _encode_logs,
    "lost_attempts": _encode_lost,
    "placement": encode_candidates,
    "digests": dict,
    "secret_names": list,
    "inputs": encode_records,
    "results": encode_records,
    "original": encode_original,
}
_EMPTY = JobInfo()
_DEFAULTS: Mapping[str, Any] = {
    item.name: getattr(_EMPTY, item.name) for item in fields(JobInfo) if item.name != "extra"
}
_KEYS: Mapping[str, str] = {"lost_attempts": "lost"}
"""Stored keys that differ from the field's name."""
_FIELDS: Mapping[str, str] = {_KEYS.get(name, name): name for name in _DEFAULTS}

"""Messages between the service and the runner of a site: JSON to values and back. Pure.

Whatever a runner sends is checked value by value and bounded, since a site that was taken over may send anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from uws_service.agent import folder as layout
from uws_service.domain.attempt import CommandError, Observation, Reason, Seen, Usage
from uws_service.domain.errors import UsageError

PROTOCOL = 1
"""Of these messages: a service and a runner that do not have the same one do not work together."""
LEASE_SECONDS = 20.0
"""For so long a runner speaks for its site after it has called."""
POLL_SECONDS = 8.0
"""So long at most a question for orders waits for an answer."""
PAGE = 200
"""Most orders in an answer, and most attempts that change in a report."""
PRESENT_MAX = 20_000
"""Most attempts that a runner can name at a time."""
BODY_BYTES = 4 * 1024 * 1024
"""Of a report."""
MESSAGE_LENGTH = 2000
TAIL_LENGTH = 8192
WORD_LENGTH = 253
NUMBER_MAX = 2**53
INSTANT_MAX = 7_258_118_400_000
"""Milliseconds since the epoch: the year 2200. Documents can't show much later ones."""
CODE_MAX = 2**31 - 1
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_RUNNER = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"stdout|stderr")
_SHA256 = re.compile(r"[0-9a-f]{64}")
ENDED = (Seen.SUCCEEDED, Seen.FAILED)
Key = tuple[str, int]
"""Job id and number of an attempt."""


class Handed(NamedTuple):
    """What a runner says of the files of an ended attempt, once the service has them."""

    logs: tuple[tuple[str, int, str], ...] = ()
    """Names, sizes in bytes, digests."""
    tail: str = ""
    problem: str = ""


class Reported(NamedTuple):
    """An attempt as the runner shows it."""

    observation: Observation
    handed: Handed | None = None
    """None: its files are still at the site."""


class Hello(NamedTuple):
    """What a runner says of itself."""

    runner: str
    host: str
    kind: str
    bound: bool
    streams: tuple[str, ...]

    def announced(self) -> str:
        """Return it as it is stored."""
        return json.dumps({"kind": self.kind, "streams": self.streams})


class SiteReport(NamedTuple):
    """What a runner reports at a time."""

    sequence: int
    done: dict[Key, int]
    refused: dict[Key, str]
    reported: dict[Key, Reported]
    absent: list[Key]
    present: list[Key] | None
    """All that are at the site, at the end of a session's first reports; else None."""
    problem: str
    """Why the runner can't see its site now, or nothing."""
    speaks: list[Key]
    """Attempts whose results the runner itself hands over, from now on."""


def hello_of(content: Mapping[str, Any]) -> Hello:
    """Read what a runner says of itself.

    Raise `UsageError`.
    """
    if content.get("protocol") != PROTOCOL:
        raise UsageError(f"protocol: must be {PROTOCOL}: this service and this runner are of different versions.")
    runner = content.get("runner")
    if not isinstance(runner, str) or not _RUNNER.fullmatch(runner):
        raise UsageError("runner: must be 32 hexadecimal digits.")
    streams = tuple(name for name in _list(content, "streams", 2) if isinstance(name, str) and _NAME.fullmatch(name))
    host, kind = _text(content, "host", WORD_LENGTH), _text(content, "kind", WORD_LENGTH)
    return Hello(runner, host, kind, content.get("bound") is not False, streams or ("stdout",))


def report_of(content: Mapping[str, Any]) -> SiteReport:
    """Read a report; raise `UsageError`."""
    reported, refused = {}, {}
    for entry in _list(content, "changed", PAGE):
        if not isinstance(entry, Mapping):
            raise UsageError("changed: must be a list of objects.")
        reported[key_of(entry)] = Reported(_observation(key_of(entry), entry), _handed(entry.get("handed")))
    done = {}
    for entry in _list(content, "done", PAGE):
        key = key_of(entry)
        done[key] = _integer(entry, "order")
        if entry.get("refused") is not None:
            refused[key] = _text(entry, "refused", MESSAGE_LENGTH)
    return SiteReport(
        _integer(content, "sequence"),
        done,
        refused,
        reported,
        _keys(content, "absent"),
        _keys(content, "present") if "present" in content else None,
        _text(content, "problem", MESSAGE_LENGTH),
        _keys(content, "speaks"),
    )


def stored_text(reported: Reported) -> str:
    """Return what was reported of an attempt as it is stored."""
    return json.dumps(entry_of(reported), separators=(",", ":"))


def reported_of(key: Key, text: str) -> Reported:
    """Read what `stored_text` gave."""
    entry = json.loads(text)
    return Reported(_observation(key, entry), _handed(entry.get("handed")))


def entry_of(reported: Reported) -> dict[str, Any]:
    """Return what is reported of an attempt as JSON values; paths of files at the site are no part of it."""
    observation = reported.observation
    entry: dict[str, Any] = {"job": observation.job_id, "attempt": observation.number, "seen": observation.seen.value}
    for name in ("started", "ended", "exit_code", "progress", "place"):
        if (value := getattr(observation, name)) is not None:
            entry[name] = value
    for name in ("message", "progress_text", "waiting", "warning", "handle", "image"):
        if value := getattr(observation, name):
            entry[name] = value
    for name in ("reports", "gone"):
        if getattr(observation, name):
            entry[name] = True
    if observation.reason is not None:
        entry["reason"] = observation.reason.value
    if observation.usage != Usage():
        entry["usage"] = asdict(observation.usage)
    if observation.error is not None:
        entry["error"] = asdict(observation.error)
    if reported.handed is not None:
        entry["handed"] = reported.handed._asdict()
    return entry


def key_of(entry: Any) -> Key:
    """Return the attempt that an object names, or raise `UsageError`."""
    job, number = (entry.get("job"), entry.get("attempt")) if isinstance(entry, Mapping) else (None, None)
    if not isinstance(job, str) or not _JOB_ID.fullmatch(job) or type(number) is not int or not 0 < number < 10_000:
        raise UsageError("job and attempt: must be a job's id and the number of its attempt.")
    return job, number


def _observation(key: Key, entry: Mapping[str, Any]) -> Observation:
    try:
        seen = Seen(str(entry.get("seen")))
        reason = Reason(entry["reason"]) if entry.get("reason") is not None else None
    except ValueError:
        raise UsageError("seen and reason: must be words that this service knows.") from None
    progress = entry.get("progress")
    return Observation(
        *key,
        seen,
        started=_optional(entry, "started", most=INSTANT_MAX),
        ended=_optional(entry, "ended", most=INSTANT_MAX),
        exit_code=_optional(entry, "exit_code", least=-CODE_MAX, most=CODE_MAX),
        reason=reason,
        message=_text(entry, "message", MESSAGE_LENGTH),
        progress=None if progress is None else min(1.0, _number(entry, "progress")),
        progress_text=_text(entry, "progress_text", MESSAGE_LENGTH),
        usage=_usage(entry.get("usage")),
        waiting=_text(entry, "waiting", MESSAGE_LENGTH),
        place=_optional(entry, "place"),
        warning=_text(entry, "warning", MESSAGE_LENGTH),
        reports=entry.get("reports") is True,
        gone=entry.get("gone") is True,
        handle=_text(entry, "handle", WORD_LENGTH),
        error=_command_error(entry.get("error")),
        image=_text(entry, "image", 1000),
    )


def _usage(value: Any) -> Usage:
    if value is None:
        return Usage()
    if not isinstance(value, Mapping):
        raise UsageError("usage: must be an object.")
    sizes = (int(_number(value, name)) for name in ("peak_memory", "bytes_in", "bytes_out", "bytes_moved"))
    return Usage(_number(value, "wall"), _number(value, "cpu"), *sizes)


def _command_error(value: Any) -> CommandError | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise UsageError("error: must be an object.")
    kind, message = _text(value, "type", WORD_LENGTH), _text(value, "message", MESSAGE_LENGTH)
    return CommandError(kind, message, _text(value, "detail", TAIL_LENGTH))


def _handed(value: Any) -> Handed | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise UsageError("handed: must be an object.")
    logs = []
    for item in _list(value, "logs", 2):
        if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 3:
            raise UsageError("handed: logs: each must have name, size and digest.")
        name, size, digest = item
        is_log = isinstance(name, str) and _NAME.fullmatch(name) and type(size) is int and 0 <= size <= NUMBER_MAX
        if not is_log or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise UsageError("handed: logs: each must have name, size and digest.")
        logs.append((name, size, digest))
    return Handed(tuple(logs), _text(value, "tail", TAIL_LENGTH), _text(value, "problem", MESSAGE_LENGTH))


def _keys(content: Mapping[str, Any], name: str) -> list[Key]:
    keys = []
    for item in _list(content, name, PRESENT_MAX):
        if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
            raise UsageError(f"{name}: must be a list of pairs, job and attempt.")
        keys.append(key_of({"job": item[0], "attempt": item[1]}))
    return keys


def _list(content: Mapping[str, Any], name: str, limit: int) -> Sequence[Any]:
    value = content.get(name, ())
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > limit:
        raise UsageError(f"{name}: must be a list of at most {limit}.")
    return value


def _text(content: Mapping[str, Any], name: str, limit: int) -> str:
    value = content.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{name}: must be a text.")
    return layout.clean(value, limit)


def _integer(content: Mapping[str, Any], name: str) -> int:
    value = _optional(content, name)
    if value is None:
        raise UsageError(f"{name}: is missing.")
    return value


def _optional(content: Mapping[str, Any], name: str, *, least: int = 0, most: int = NUMBER_MAX) -> int | None:
    value = content.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise UsageError(f"{name}: must be a whole number from {least} to {most}.")
    return value


def _number(content: Mapping[str, Any], name: str) -> float:
    value = content.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= NUMBER_MAX:
        raise UsageError(f"{name}: must be a number from 0 to {NUMBER_MAX}.")
    return float(value)

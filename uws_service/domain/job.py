"""The UWS job as pure data, and its life cycle (UWS 1.1 §2.1.3).

Nothing here reads a clock, a database or a network: the time is an argument. Instants are integers, milliseconds
since 1970-01-01T00:00:00Z, which is the resolution that UWS documents show (U-008, C-33).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from uws_service.domain.errors import Forbidden
from uws_service.domain.jobinfo import JobInfo

MAX_DURATION = 2_147_483_647
"""Largest executionDuration in seconds: the schema's type is xs:int (U-139)."""


class Phase(StrEnum):
    """The ten execution phases of UWS 1.1 (U-100)."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    ABORTED = "ABORTED"
    UNKNOWN = "UNKNOWN"
    HELD = "HELD"
    SUSPENDED = "SUSPENDED"
    ARCHIVED = "ARCHIVED"


PHASE_MEANING: Mapping[Phase, str] = {
    Phase.PENDING: "Set up; waiting for the client to send RUN.",
    Phase.QUEUED: "Committed to run; not yet on a processor.",
    Phase.EXECUTING: "Running; results may appear.",
    Phase.COMPLETED: "Ended well; the results can be fetched.",
    Phase.ERROR: "Ended in failure; the error says why, results are not to be trusted.",
    Phase.ABORTED: "Stopped by the client, or by the service when a limit was exceeded.",
    Phase.UNKNOWN: "The place where the job runs can't be asked at the moment; ask again.",
    Phase.HELD: "Will not start by itself; the client must send RUN again.",
    Phase.SUSPENDED: "Paused by the system; goes on by itself.",
    Phase.ARCHIVED: "Results are deleted; the description of the job is kept.",
}

FINAL = frozenset({Phase.COMPLETED, Phase.ERROR, Phase.ABORTED, Phase.ARCHIVED})
"""Phases in which nothing runs any more (U-103)."""

BLOCKING = frozenset({Phase.PENDING, Phase.QUEUED, Phase.EXECUTING})
"""Phases in which WAIT blocks (U-152)."""


class Action(StrEnum):
    """What may happen to a job.

    Clients send RUN and ABORT alone.
    """

    RUN = "RUN"
    ABORT = "ABORT"
    REFUSE = "REFUSE"
    EXECUTE = "EXECUTE"
    REQUEUE = "REQUEUE"
    COMPLETE = "COMPLETE"
    FAIL = "FAIL"
    STOP = "STOP"
    HOLD = "HOLD"
    SUSPEND = "SUSPEND"
    LOSE = "LOSE"
    ARCHIVE = "ARCHIVE"


ACTION_MEANING: Mapping[Action, str] = {
    Action.RUN: "client: PHASE=RUN",
    Action.ABORT: "client: PHASE=ABORT",
    Action.REFUSE: "service: the parameters are not valid (checked when RUN is asked, DALI)",
    Action.EXECUTE: "service: the job's command has started",
    Action.REQUEUE: "service: an attempt was lost before it gave results; another is waiting",
    Action.COMPLETE: "service: the command ended well and its results are recorded",
    Action.FAIL: "service: the job failed",
    Action.STOP: "service: a limit was exceeded (executionDuration)",
    Action.HOLD: "service: held, the client must send RUN",
    Action.SUSPEND: "service: paused",
    Action.LOSE: "service: the site can't be asked",
    Action.ARCHIVE: "service: destruction time reached, archive kept",
}

_P = Phase
_A = Action

TRANSITIONS: Mapping[tuple[Phase, Action], Phase] = {
    # What the client may do (UWS 1.1 §2.1.3; ABORT from every phase before the end: U-102, U-108).
    (_P.PENDING, _A.RUN): _P.QUEUED,
    (_P.HELD, _A.RUN): _P.QUEUED,
    (_P.PENDING, _A.ABORT): _P.ABORTED,
    (_P.QUEUED, _A.ABORT): _P.ABORTED,
    (_P.EXECUTING, _A.ABORT): _P.ABORTED,
    (_P.HELD, _A.ABORT): _P.ABORTED,
    (_P.SUSPENDED, _A.ABORT): _P.ABORTED,
    (_P.UNKNOWN, _A.ABORT): _P.ABORTED,
    # What the service does.
    (_P.PENDING, _A.REFUSE): _P.ERROR,
    (_P.HELD, _A.REFUSE): _P.ERROR,
    (_P.QUEUED, _A.EXECUTE): _P.EXECUTING,
    (_P.SUSPENDED, _A.EXECUTE): _P.EXECUTING,
    (_P.UNKNOWN, _A.EXECUTE): _P.EXECUTING,
    (_P.EXECUTING, _A.REQUEUE): _P.QUEUED,
    (_P.SUSPENDED, _A.REQUEUE): _P.QUEUED,
    (_P.UNKNOWN, _A.REQUEUE): _P.QUEUED,
    (_P.QUEUED, _A.COMPLETE): _P.COMPLETED,
    (_P.EXECUTING, _A.COMPLETE): _P.COMPLETED,
    (_P.SUSPENDED, _A.COMPLETE): _P.COMPLETED,
    (_P.UNKNOWN, _A.COMPLETE): _P.COMPLETED,
    (_P.QUEUED, _A.FAIL): _P.ERROR,
    (_P.EXECUTING, _A.FAIL): _P.ERROR,
    (_P.HELD, _A.FAIL): _P.ERROR,
    (_P.SUSPENDED, _A.FAIL): _P.ERROR,
    (_P.UNKNOWN, _A.FAIL): _P.ERROR,
    (_P.QUEUED, _A.STOP): _P.ABORTED,
    (_P.EXECUTING, _A.STOP): _P.ABORTED,
    (_P.SUSPENDED, _A.STOP): _P.ABORTED,
    (_P.UNKNOWN, _A.STOP): _P.ABORTED,
    (_P.QUEUED, _A.HOLD): _P.HELD,
    (_P.EXECUTING, _A.HOLD): _P.HELD,
    (_P.EXECUTING, _A.SUSPEND): _P.SUSPENDED,
    (_P.UNKNOWN, _A.SUSPEND): _P.SUSPENDED,
    (_P.QUEUED, _A.LOSE): _P.UNKNOWN,
    (_P.EXECUTING, _A.LOSE): _P.UNKNOWN,
    (_P.SUSPENDED, _A.LOSE): _P.UNKNOWN,
    (_P.COMPLETED, _A.ARCHIVE): _P.ARCHIVED,
    (_P.ERROR, _A.ARCHIVE): _P.ARCHIVED,
    (_P.ABORTED, _A.ARCHIVE): _P.ARCHIVED,
}
"""The whole life cycle: (phase, action) -> next phase. What is not here is illegal and answers 403 (U-002)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value of a parameter, in the client's order and spelling (U-078, C-30).

    ``upload`` names the depot object that holds an uploaded file; ``value`` is then the file's name as the client
    gave it. ``media_type`` and ``size`` (bytes) describe the upload.
    """

    name: str
    value: str
    upload: str | None = None
    media_type: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A result (U-081).

    ``key`` names it in the depot, ``size`` is in bytes, ``sha256`` in lower-case hex. One with a ``location``, an
    http(s) URL, is there and no longer in the depot.
    """

    id: str
    key: str
    media_type: str
    size: int
    sha256: str
    location: str = ""


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Why a job failed (U-084).

    ``reason`` is a typed word (``ExitCode``, ``OutOfMemory``, ``Deadline`` …), ``message`` one line for a person,
    ``detail`` more text (the end of the log); ``transient`` says that the same job may succeed later.
    """

    message: str
    transient: bool = False
    reason: str = "Error"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A UWS job.

    All instants are in milliseconds since the epoch, ``duration`` is in seconds (0: no limit).
    """

    id: str
    application: str
    owner: str | None
    phase: Phase
    created: int
    duration: int
    destruction: int | None
    run_id: str | None = None
    quote: int | None = None
    queued: int | None = None
    started: int | None = None
    ended: int | None = None
    parameters: tuple[Parameter, ...] = ()
    results: tuple[Result, ...] = ()
    error: ErrorSummary | None = None
    info: JobInfo = field(default_factory=JobInfo)
    listed: bool = True
    """False for the jobs behind ``/sync``, which are in no job list."""
    version: int = 1
    """Grows with each change; the compare-and-set of the store."""


def allowed_actions(phase: Phase) -> tuple[Action, ...]:
    """Return the legal actions of a phase."""
    return tuple(action for (source, action) in TRANSITIONS if source is phase)


def apply(
    job: Job,
    action: Action,
    now: int,
    *,
    started: int | None = None,
    ended: int | None = None,
    results: tuple[Result, ...] | None = None,
    error: ErrorSummary | None = None,
) -> Job:
    """Return the job after an action (U-101…U-110).

    Raises `Forbidden` if the life cycle has no such transition (U-002).

    ``started`` and ``ended`` are what was observed where the command ran; without them ``now`` is taken.
    The version is left alone: the store counts it up.
    """
    target = TRANSITIONS.get((job.phase, action))
    if target is None:
        legal = ", ".join(a.value for a in allowed_actions(job.phase) if a in (Action.RUN, Action.ABORT)) or "none"
        raise Forbidden(
            f"{action.value} is not possible for a job in phase {job.phase.value}; possible for a client: {legal}"
        )
    changes: dict[str, Any] = {"phase": target}
    if target is Phase.QUEUED:
        changes["queued"] = job.queued if action is Action.REQUEUE else now
        if action is Action.REQUEUE:
            changes["started"] = None
    if started is not None:
        changes["started"] = max(started, job.created)  # U-106: creationTime <= startTime, clocks may differ
    elif target is Phase.EXECUTING and job.started is None:
        changes["started"] = max(now, job.created)
    if target in FINAL and action is not Action.ARCHIVE:
        start = changes.get("started", job.started)
        changes["ended"] = max(ended if ended is not None else now, start or job.created)
    if results is not None:
        changes["results"] = results
    if error is not None:
        changes["error"] = error
    if action is Action.ARCHIVE:
        changes["results"] = ()
    return replace(job, **changes)


class Standing(NamedTuple):
    """Where a job stands, among all of an owner's."""

    id: str
    application: str
    phase: Phase
    version: int
    run_id: str | None
    created: int


class JobRef(NamedTuple):
    """What a job list shows (U-050)."""

    id: str
    phase: Phase
    run_id: str | None
    owner: str | None
    created: int

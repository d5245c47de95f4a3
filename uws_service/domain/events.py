"""Kinds of events of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class EventKind(StrEnum):
    """What changed about a job."""

    CREATED = "CREATED"
    PARAMETERS = "PARAMETERS"
    DURATION = "DURATION"
    DESTRUCTION = "DESTRUCTION"
    PHASE = "PHASE"
    SITE = "SITE"  # moved to another site before it was handed to the first
    DATA = "DATA"  # its data sets were looked up
    INFO = "INFO"  # jobInfo alone, such as progress: the history does not record it
    REPORT = "REPORT"  # an agent reported the end of an attempt
    RESULTS = "RESULTS"  # results of an aborted job were stored
    SHARED = "SHARED"
    UNSHARED = "UNSHARED"
    DELETED = "DELETED"


EVENT_NAMES: Mapping[str, str] = {
    EventKind.CREATED: "phase",
    EventKind.PHASE: "phase",
    EventKind.PARAMETERS: "parameters",
    EventKind.DURATION: "parameters",
    EventKind.DESTRUCTION: "parameters",
    EventKind.SITE: "attempt",
    EventKind.REPORT: "attempt",
    EventKind.DATA: "waiting",
    EventKind.RESULTS: "result",
    EventKind.DELETED: "deleted",
}
"""What clients call each kind (E-002); with whom a job is shared is told to nobody."""


class JobEvent(NamedTuple):
    """An event as clients may know it.

    ``at`` in milliseconds, ``owner_key`` empty for anonymous jobs.
    """

    seq: int
    job_id: str
    version: int
    at: int
    kind: str
    phase: str
    application: str
    owner_key: str

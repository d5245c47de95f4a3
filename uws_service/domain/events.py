"""Kinds of events in the history of a job."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    """What changed about a job, as its history records it."""

    CREATED = "CREATED"
    PARAMETERS = "PARAMETERS"
    DURATION = "DURATION"
    DESTRUCTION = "DESTRUCTION"
    PHASE = "PHASE"
    SITE = "SITE"  # moved to another site before it was handed to the first
    INFO = "INFO"  # jobInfo alone, such as progress: the history does not record it
    REPORT = "REPORT"  # an agent reported the end of an attempt
    RESULTS = "RESULTS"  # results of an aborted job were stored
    SHARED = "SHARED"
    UNSHARED = "UNSHARED"
    DELETED = "DELETED"

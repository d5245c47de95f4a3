"""Kinds of events of jobs."""

from __future__ import annotations

from enum import StrEnum


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

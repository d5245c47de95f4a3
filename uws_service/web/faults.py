"""Why a job failed, for people: one sentence, whose fault it is, what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from uws_service.domain.attempt import Reason
from uws_service.domain.job import ErrorSummary, Job, Phase


class Fault(StrEnum):
    """Whose fault a failure is."""

    REQUEST = "request"
    PROGRAM = "program"
    LIMIT = "limit"
    APPLICATION = "application"
    SYSTEM = "system"
    OWNER = "owner"


class Verdict(NamedTuple):
    """A failure as people read it."""

    title: str
    fault: Fault
    advice: str

    @property
    def is_failure(self) -> bool:
        """Return whether something went wrong; an owner's abort is no failure."""
        return self.fault is not Fault.OWNER


_PARAMETERS = "Change the parameters, and run it again."
_LOGS = "The end of its log below says more. It is mostly about the parameters or the data."
_LIMIT = "Ask for less, or raise the limit if the form has one, and run it again."
_LESS = "Ask for less, or tell whoever runs this service."
_TELL = "The application is at fault, not your request: tell whoever runs this service."
_AGAIN = "Your request is all right: run it again, perhaps later."

VERDICTS: Mapping[str, Verdict] = {
    Reason.USAGE: Verdict("A parameter is not as it must be", Fault.REQUEST, _PARAMETERS),
    Reason.DATA: Verdict("A data set can't be used", Fault.REQUEST, _PARAMETERS),
    Reason.STAGE_IN: Verdict("An input could not be fetched", Fault.REQUEST, "Check its address, and run it again."),
    Reason.EXIT_CODE: Verdict("The program stopped with an error", Fault.PROGRAM, _LOGS),
    Reason.APPLICATION: Verdict("The program stopped with an error", Fault.PROGRAM, _LOGS),
    Reason.OUT_OF_MEMORY: Verdict("The job needed more memory than it may have", Fault.LIMIT, _LIMIT),
    Reason.OUTPUT_TOO_LARGE: Verdict("The job wrote more than it may", Fault.LIMIT, _LIMIT),
    Reason.TOO_MANY_PROCESSES: Verdict("The job started more processes than it may", Fault.LIMIT, _LIMIT),
    Reason.DEADLINE: Verdict("The job ran longer than its time limit", Fault.LIMIT, _LIMIT),
    Reason.STAGE_OUT: Verdict("A result is missing or could not be stored", Fault.APPLICATION, _TELL),
    Reason.COMMAND: Verdict("The program could not be started", Fault.APPLICATION, _TELL),
    Reason.IMAGE: Verdict("The program's image can't be had", Fault.APPLICATION, _TELL),
    Reason.NO_SITE: Verdict("No site takes such a job", Fault.SYSTEM, _LESS),
    Reason.REFUSED: Verdict("The site does not take such a job", Fault.SYSTEM, _AGAIN),
    Reason.UNSCHEDULABLE: Verdict("No place was found for it in time", Fault.SYSTEM, _AGAIN),
    Reason.UNAVAILABLE: Verdict("Something that the program needs can't be had now", Fault.SYSTEM, _AGAIN),
    Reason.AGENT_LOST: Verdict("The machine lost the job", Fault.SYSTEM, _AGAIN),
    Reason.EVICTED: Verdict("The job was put out by its site", Fault.SYSTEM, _AGAIN),
    Reason.NODE_LOST: Verdict("The machine that it ran on is gone", Fault.SYSTEM, _AGAIN),
    Reason.DELETED: Verdict("The job was removed at its site", Fault.SYSTEM, _AGAIN),
    Reason.SITE_LOST: Verdict("Its site could not be reached for too long", Fault.SYSTEM, _AGAIN),
    Reason.ABORTED: Verdict("Aborted", Fault.OWNER, "Run it again, or edit it as a new job."),
}
"""By the reason of the error; others are judged by whether the same job may succeed later."""

OWNERS = frozenset({Fault.REQUEST, Fault.PROGRAM, Fault.LIMIT})
"""Faults that another request may mend."""


def verdict(job: Job) -> Verdict | None:
    """Return why a job failed or was stopped; None without an error."""
    error = job.error
    if error is None:
        return VERDICTS[Reason.ABORTED] if job.phase is Phase.ABORTED else None
    if error.reason == Reason.ABORTED and job.phase is not Phase.ABORTED:
        return _unknown(error)
    return VERDICTS.get(error.reason) or _unknown(error)


def _unknown(error: ErrorSummary) -> Verdict:
    if error.transient:
        return Verdict("The job failed", Fault.SYSTEM, "The same job may succeed later: run it again.")
    return Verdict("The job failed", Fault.PROGRAM, _LOGS)

"""States of SRCNet's broker for every job that there can be."""

from __future__ import annotations

import pytest
from ska_src_ef_broker_client.client import SUBMISSION_STATES, TERMINAL_STATES, BrokerClient

from tests.store.samples import attempt, job
from uws_service.domain.attempt import AttemptState, Reason
from uws_service.domain.job import FINAL, ErrorSummary, Phase
from uws_service.domain.jobinfo import JobInfo, LostAttempt
from uws_service.protocol.broker_status import PHASES_OF_STATES, log_json, state_of, status_json

LOST = JobInfo(lost_attempts=(LostAttempt(1, "a", "NodeLost", "gone"),))


@pytest.mark.parametrize("phase", Phase)
def test_an_end_is_an_end_for_the_client(phase: Phase) -> None:
    """Its loops end with the job, and not before."""
    error = ErrorSummary("no", reason="ExitCode") if phase is Phase.ERROR else None
    state = state_of(job(phase=phase, error=error), attempt())
    assert (state.name in TERMINAL_STATES) == (phase in FINAL)
    assert state.name in PHASES_OF_STATES and state.name in SUBMISSION_STATES | {"PENDING", "WAITING_REDISPATCH"}
    if phase is not Phase.ARCHIVED:
        assert phase in PHASES_OF_STATES[state.name]


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("phase", [Phase.ERROR, Phase.ABORTED])
def test_every_reason_has_a_state(reason: Reason, phase: Phase) -> None:
    """A list by that state has the job."""
    failed = job(phase=phase, error=ErrorSummary("no", reason=reason), started=5)
    state = state_of(failed, None)
    assert state.name in TERMINAL_STATES - {"COMPLETE"} and state.reason
    if phase is Phase.ERROR and reason is not Reason.ABORTED:
        assert Phase.ERROR in PHASES_OF_STATES[state.name]
    document = status_json(failed, None, {}, [], "https://example.org/container/async/a")
    assert BrokerClient.concise_status(document)["state"] == state.name
    assert BrokerClient.concise_status_text(document)


def test_a_job_that_waits() -> None:
    queued, again = job(phase=Phase.QUEUED), job(phase=Phase.QUEUED, info=LOST)
    assert state_of(queued, None) == state_of(queued, attempt()) == ("PENDING", None)
    assert state_of(queued, attempt(state=AttemptState.SUBMITTED)) == ("SUBMITTED", None)
    assert state_of(again, attempt(number=2)) == ("WAITING_REDISPATCH", "node_lost_redispatch")
    assert state_of(again, attempt(number=2, state=AttemptState.SUBMITTED)) == ("SUBMITTED", None)


@pytest.mark.parametrize(
    ("phase", "reason", "started", "state"),
    [
        (Phase.ABORTED, "Deadline", 5, ("FAILED", "timeout")),
        (Phase.ABORTED, "Aborted", 5, ("CANCELED", "canceled")),
        (Phase.ERROR, "Usage", None, ("FAILED", "submit_failed")),
        (Phase.ERROR, "Usage", 5, ("EXECUTOR_ERROR", "executor_error")),
        (Phase.ERROR, "NoSite", None, ("FAILED", "no_compatible_sites")),
        (Phase.ERROR, "OutOfMemory", 5, ("EXECUTOR_ERROR", "executor_error")),
        (Phase.ERROR, "NodeLost", 5, ("SYSTEM_ERROR", "system_error")),
        (Phase.ERROR, "a reason of a later version", 5, ("SYSTEM_ERROR", "system_error")),
    ],
)
def test_failures(phase: Phase, reason: str, started: int | None, state: tuple[str, str]) -> None:
    assert state_of(job(phase=phase, error=ErrorSummary("no", reason=reason), started=started), None) == state


def test_a_site_that_does_not_answer() -> None:
    assert state_of(job(phase=Phase.UNKNOWN, started=5), None) == ("RUNNING", "site_unreachable")
    assert state_of(job(phase=Phase.UNKNOWN), None) == ("SUBMITTED", "site_unreachable")


def test_logs_say_whether_they_are_whole() -> None:
    assert log_json(b"abc", "u", 3) == {"available": True, "content": "abc", "path": "u", "truncated": False}
    assert log_json(b"bc", "u", 3)["truncated"] and not log_json(None, "u", None)["available"]
    assert log_json(b"\xff", "u", 1)["content"] == "\ufffd"

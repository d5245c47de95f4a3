"""Descriptions and ClassAds.

Pure, case by case, with attributes as a pool of version 23.9 had them.
"""

from __future__ import annotations

from typing import Any

import pytest

from uws_service.domain.attempt import Reason
from uws_service.sites.batch.driver import BatchJob, BatchSpec, BatchState
from uws_service.sites.htcondor import ads

INSTANCE = "inst"
JOB = "0192f0c1a2b37abc8def0123456789ab"
IDLE = {
    "ClusterId": 7,
    "ProcId": 0,
    "UwsAttempt": f"{INSTANCE}/{JOB}/1",
    "JobStatus": 1,
    "QDate": 1795863329,
    "EnteredCurrentStatus": 1795863331,
    "StageInFinish": 1795863330,
    "HoldReasonCode": 16,  # stays after the job was released, and across a restart of the schedd
    "CurrentHosts": 0,
}
RUNS = {**IDLE, "JobStatus": 2, "NumShadowStarts": 1, "CurrentHosts": 1, "RemoteHost": "slot1_1@node7"}
SPEC = BatchSpec(
    (JOB, 1),
    "uws-name",
    ("/usr/bin/python3", "-I", "agent.pyz", "attempt.json"),
    {"agent.pyz": b"", "attempt.json": b""},
    "ualice",
    "",
    cpu=1.5,
    memory=10**9,
    disk=5 * 10**9,
)


def view(ad: dict[str, Any], **changes: Any) -> BatchJob:
    job = ads.batch_job({**ad, **changes}, INSTANCE)
    assert job is not None and job.key == (JOB, 1) and job.handle == "7.0"
    return job


def describe(spec: BatchSpec = SPEC, **options: Any) -> dict[str, str]:
    values = {"accounting_group": "", "requirements": "", "extra": {}, "vacate": 60, "lease": 300, **options}
    return ads.description(spec, INSTANCE, **values)


def test_description() -> None:
    commands = describe()
    assert commands["requirements"] == "((NumShadowStarts ?: 0) == 0)"
    assert commands["transfer_output_files"] == ""  # an output that is not there would keep job and machine
    assert (commands["request_cpus"], commands["request_memory"]) == ("2", "954")
    assert commands["My.UwsAttempt"] == f'"{INSTANCE}/{JOB}/1"'
    assert "accounting_group" not in commands and "environment" not in commands  # everybody can read an environment
    assert "request_gpus" not in commands and "allowed_execute_duration" not in commands


def test_what_a_site_adds() -> None:
    commands = describe(accounting_group="group_uws", requirements="HasSingularity", extra={"+ProjectName": '"SRC"'})
    assert (commands["accounting_group"], commands["accounting_group_user"]) == ("group_uws", "ualice")
    assert commands["requirements"] == "((NumShadowStarts ?: 0) == 0) && (HasSingularity)"
    assert commands["+ProjectName"] == '"SRC"'


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain", "'plain'"),
        ("two words", "'two words'"),
        ("it's", "'it''s'"),
        ('"', "'\"\"'"),
        ("$(X)", "'$(DOLLAR)(X)'"),
    ],
)
def test_arguments(word: str, text: str) -> None:
    assert ads.arguments([word, "x"]) == f"\"{text} 'x'\""


@pytest.mark.parametrize("name", ["", None, "other/x/1", f"{INSTANCE}/{JOB}", f"{INSTANCE}x/{JOB}/1", f"a/{JOB}/1"])
def test_jobs_of_somebody_else(name: str | None) -> None:
    assert ads.batch_job({**IDLE, "UwsAttempt": name}, INSTANCE) is None


@pytest.mark.parametrize(
    ("ad", "state", "reason"),
    [
        ({**IDLE, "JobStatus": 5, "StageInFinish": None}, BatchState.HELD, None),
        (IDLE, BatchState.QUEUED, None),
        (RUNS, BatchState.STARTING, None),  # its files are being brought
        ({**RUNS, "JobCurrentStartExecutingDate": 1795863332}, BatchState.RUNNING, None),
        ({**RUNS, "JobStatus": 6}, BatchState.RUNNING, None),
        ({**RUNS, "JobStatus": 7}, BatchState.SUSPENDED, None),
        ({**RUNS, "JobStatus": 3}, BatchState.ENDING, Reason.DELETED),
        ({**RUNS, "JobStatus": 3, "CurrentHosts": 0}, BatchState.ENDED, Reason.DELETED),
        ({**RUNS, "JobStatus": 4, "ExitCode": 0}, BatchState.ENDED, None),
        ({**RUNS, "JobStatus": 1, "VacateReason": "Starter has died"}, BatchState.ENDED, Reason.AGENT_LOST),
        ({**RUNS, "JobStatus": 1, "VacateReason": "Preempted by a better one"}, BatchState.ENDED, Reason.EVICTED),
        ({**RUNS, "JobStatus": 1, "JobDisconnectedDate": 1795863400}, BatchState.ENDED, Reason.NODE_LOST),
        ({**IDLE, "JobStatus": 5, "HoldReasonCode": 1}, BatchState.STUCK, None),
        ({**RUNS, "JobStatus": 5, "HoldReasonCode": 1, "CurrentHosts": 0}, BatchState.ENDED, Reason.EVICTED),
        ({**RUNS, "JobStatus": 5, "HoldReasonCode": 21, "CurrentHosts": 0}, BatchState.ENDED, Reason.OUT_OF_MEMORY),
        ({**RUNS, "JobStatus": 5, "HoldReasonCode": 47, "CurrentHosts": 1}, BatchState.ENDING, Reason.DEADLINE),
        ({**RUNS, "JobStatus": 5, "HoldReasonCode": 6, "CurrentHosts": 0}, BatchState.ENDED, Reason.AGENT_LOST),
    ],
)
def test_states(ad: dict[str, Any], state: BatchState, reason: Reason | None) -> None:
    job = view(ad)
    assert (job.state, job.reason) == (state, reason)


def test_times_and_places() -> None:
    job = view(RUNS, JobStatus=4, ExitCode=0, CompletionDate=1795863350, JobCurrentStartExecutingDate=1795863332)
    assert (job.node, job.submitted, job.started, job.ended) == (
        "node7",
        1795863329_000,
        1795863332_000,
        1795863350_000,
    )
    assert (job.exit_code, job.signal, job.starts) == (0, None, 1)


def test_ended_by_a_signal() -> None:
    job = view(RUNS, JobStatus=4, ExitBySignal=True, ExitSignal=9, ExitCode=0)
    assert (job.exit_code, job.signal) == (None, 9)


def test_why_it_waits() -> None:
    assert "no match found" in view(IDLE, LastRejMatchReason="no match found").waiting


def test_silent_node() -> None:
    assert view(RUNS, JobCurrentStartExecutingDate=1795863332, JobDisconnectedDate=1795863340).silent

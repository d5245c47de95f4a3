"""Descriptions of jobs, and Slurm's documents of them.

Pure, case by case, with fields as release 24.11 has them.
"""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from uws_service.domain.attempt import Reason
from uws_service.sites.batch.driver import BatchJob, BatchSpec, BatchState
from uws_service.sites.executor import NotNow, Refused
from uws_service.sites.slurm.client import refusal
from uws_service.sites.slurm.jobs import accounted_job, batch_job, parse_comment
from uws_service.sites.slurm.settings import SlurmSite
from uws_service.sites.slurm.submission import batch_script, job_description, sbatch_words

INSTANCE = "inst"
JOB = "0192f0c1a2b37abc8def0123456789ab"
SPEC = BatchSpec(
    (JOB, 1),
    f"uws-{JOB}-1",
    ("python3", "-I", "agent.pyz", "attempt.json"),
    {"agent.pyz": b"\x00\xff" * 100, "attempt.json": b"'$(touch never)'\nEND\n"},
    "ualice",
    group="surveys",
    cpu=1.5,
    memory=10**9,
    gpus=2,
    duration=600,
)


def number(value: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": value}


PENDING = {
    "job_id": 7,
    "name": SPEC.name,
    "comment": f"uws:{INSTANCE}/{JOB}/1",
    "job_state": ["PENDING"],
    "state_reason": "Priority",
    "state_description": "",
    "hold": False,
    "submit_time": number(1795864478),
    "start_time": number(0),
    "end_time": number(0),
    "restart_cnt": 0,
    "exit_code": {"return_code": number(0), "signal": {"id": {"set": False, "infinite": False, "number": 0}}},
}
RUNS = {**PENDING, "job_state": ["RUNNING"], "state_reason": "None", "start_time": number(1795864480), "nodes": "n1"}
ENDED = {**RUNS, "end_time": number(1795864485)}


def code(exit_code: int, signal: int = 0) -> dict[str, Any]:
    return {"exit_code": {"return_code": number(exit_code), "signal": {"id": {**number(signal), "set": signal > 0}}}}


def site(**changes: Any) -> SlurmSite:
    values = {
        "name": "gamma",
        "kind": "slurm",
        "url": "https://slurm.example.org:6820",
        "token": "/etc/uws/token",
        "agent_url": "https://uws.example.org",
        **changes,
    }
    return SlurmSite(**values)


def view(document: dict[str, Any], **changes: Any) -> BatchJob:
    job = batch_job({**document, **changes}, INSTANCE)
    assert job is not None and job.key == (JOB, 1) and job.handle == "7.1795864478"
    return job


@pytest.mark.parametrize(
    ("document", "state", "reason"),
    [
        ({**PENDING, "hold": True, "state_reason": "JobHeldUser"}, BatchState.HELD, None),
        ({**PENDING, "hold": True, "state_reason": "JobHeldAdmin"}, BatchState.STUCK, None),
        ({**PENDING, "state_reason": "PartitionTimeLimit"}, BatchState.STUCK, None),
        (PENDING, BatchState.QUEUED, None),
        ({**PENDING, "restart_cnt": 1, "state_reason": "BeginTime"}, BatchState.ENDED, Reason.NODE_LOST),
        ({**PENDING, "job_state": ["PENDING", "REQUEUED"]}, BatchState.ENDED, Reason.NODE_LOST),
        ({**RUNS, "job_state": ["RUNNING", "CONFIGURING"]}, BatchState.STARTING, None),
        (RUNS, BatchState.RUNNING, None),
        ({**RUNS, "job_state": ["SUSPENDED"]}, BatchState.SUSPENDED, None),
        ({**RUNS, "job_state": ["CANCELLED", "COMPLETING"]}, BatchState.ENDING, None),
        ({**ENDED, "job_state": ["COMPLETED"]}, BatchState.ENDED, None),
        ({**ENDED, "job_state": ["FAILED"], **code(1)}, BatchState.ENDED, None),
        ({**ENDED, "job_state": ["FAILED"], **code(0, 9)}, BatchState.ENDED, Reason.AGENT_LOST),
        ({**ENDED, "job_state": ["FAILED"], "state_reason": "JobLaunchFailure"}, BatchState.ENDED, Reason.NODE_LOST),
        ({**ENDED, "job_state": ["CANCELLED"], **code(0, 15)}, BatchState.ENDED, Reason.DELETED),
        ({**ENDED, "job_state": ["TIMEOUT"]}, BatchState.ENDED, Reason.DEADLINE),
        ({**ENDED, "job_state": ["OUT_OF_MEMORY"], **code(0, 125)}, BatchState.ENDED, Reason.OUT_OF_MEMORY),
        ({**ENDED, "job_state": ["NODE_FAIL"]}, BatchState.ENDED, Reason.NODE_LOST),
        ({**ENDED, "job_state": ["PREEMPTED"]}, BatchState.ENDED, Reason.EVICTED),
    ],
)
def test_states(document: dict[str, Any], state: BatchState, reason: Reason | None) -> None:
    job = view(document)
    assert (job.state, job.reason) == (state, reason)


def test_times_codes_and_places() -> None:
    job = view({**ENDED, "job_state": ["FAILED"], **code(1)})
    assert (job.submitted, job.started, job.ended) == (1795864478_000, 1795864480_000, 1795864485_000)
    assert (job.exit_code, job.signal, job.node, job.starts) == (1, None, "n1", 1)
    assert view(PENDING).starts == 0 and view(PENDING).started is None


def test_cancelled_before_its_release() -> None:
    """Slurm gives such a job a start all the same; it never ran."""
    job = view(ENDED, job_state=["CANCELLED"], hold=True, state_reason="JobHeldUser")
    assert (job.state, job.starts, job.started) == (BatchState.ENDED, 0, None)


def test_why_it_waits() -> None:
    assert view(PENDING).waiting == "others are before it in the site's queue"
    assert "AssocMaxJobsLimit" in view(PENDING, state_reason="AssocMaxJobsLimit").waiting
    assert view(PENDING, state_reason="SomethingNew").waiting == "waiting for its turn"


@pytest.mark.parametrize(
    "text", [None, "", "nightly run", f"uws:other/{JOB}/1", f"uws:{INSTANCE}/{JOB}", f"uws:{INSTANCE}/../1", 7]
)
def test_jobs_of_somebody_else(text: object) -> None:
    assert batch_job({**PENDING, "comment": text}, INSTANCE) is None


def test_the_accounting_s_record() -> None:
    """It has the same handle as slurmctld's document, and what the job used."""
    step = {"tres": {"requested": {"max": [{"type": "cpu", "count": 5}, {"type": "mem", "count": 2**20}]}}}
    record = {
        "job_id": 7,
        "comment": {"job": f"uws:{INSTANCE}/{JOB}/1"},
        "state": {"current": ["NODE_FAIL"], "reason": "None"},
        "time": {
            "submission": 1795864478,
            "start": 1795864480,
            "end": 1795864485,
            "elapsed": 5,
            "total": {"seconds": 2, "microseconds": 500_000},
        },
        "steps": [step],
        **code(0),
    }
    job = accounted_job(record, INSTANCE)
    assert job is not None and job.handle == view(PENDING).handle and job.reason is Reason.NODE_LOST
    assert (job.usage.wall, job.usage.cpu, job.usage.peak_memory) == (5.0, 2.5, 2**20)
    assert accounted_job({**record, "state": {"current": ["RUNNING"]}}, INSTANCE) is None
    assert accounted_job({**record, "comment": {"job": "x"}}, INSTANCE) is None


def test_description() -> None:
    """Held, never requeued, and with nothing secret where others can read it."""
    description = job_description(SPEC, site(account="uws", accounts={"surveys": "big"}, wckey=True), INSTANCE)
    assert description["hold"] is True and description["requeue"] is False and description["kill_on_node_fail"] is True
    assert parse_comment(description["comment"]) == (INSTANCE, (JOB, 1))
    assert (description["account"], description["wckey"]) == ("big", "ualice")
    assert (description["cpus_per_task"], description["memory_per_node"]["number"]) == (2, 954)
    assert (description["time_limit"]["number"], description["tres_per_node"]) == (11, "gres/gpu:2")
    assert description["environment"] == ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"]
    assert "partition" not in description and "qos" not in description


def test_the_same_job_by_commands() -> None:
    words = sbatch_words(job_description(SPEC, site(account="uws", partition="main"), INSTANCE))
    assert words[:4] == ["sbatch", "--parsable", "--hold", "--no-requeue"]
    for word in ("--account=uws", "--partition=main", "--mem=954M", "--time=11", "--signal=B:TERM@60", "--gres=gpu:2"):
        assert word in words
    assert f"--comment=uws:{INSTANCE}/{JOB}/1" in words


def test_the_script_brings_its_files(tmp_path: Path) -> None:
    """Byte for byte, for nobody else to read, whatever is in them; exit code and SIGTERM are the agent's."""
    program = "import os,sys; print(sorted(os.listdir()), os.stat('attempt.json').st_mode & 0o77); sys.exit(5)"
    agent = tmp_path / "python3"
    agent.write_text(
        f'#!/bin/sh\ncat attempt.json; base64 <agent.pyz; exec {os.sys.executable} -c "{program}"\n'  # type: ignore[attr-defined]
    )
    agent.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.defpath}", "TMPDIR": str(tmp_path)}
    answer = subprocess.run(
        ["/bin/sh"], input=batch_script(SPEC), env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 5, answer.stderr
    assert SPEC.files["attempt.json"].decode() in answer.stdout
    assert base64.encodebytes(SPEC.files["agent.pyz"]).decode()[:70] in answer.stdout
    assert "['agent.pyz', 'attempt.json'] 0" in answer.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["python3"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Invalid account or account/partition combination specified", Refused),
        ("Requested node configuration is not available", Refused),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", NotNow),
        ("Unable to contact slurm controller (connect failure)", NotNow),
    ],
)
def test_what_is_never_taken(words: str, kind: type[Exception]) -> None:
    error = refusal("gamma", words)
    assert type(error) is kind and words in str(error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "slurm.example.org"}, "must be a URL"),
        ({"url": "https://me:secret@slurm.example.org"}, "without a user"),
        ({"token": None}, "one of `token` and `jwt_key`"),
        ({"jwt_key": "/etc/key"}, "one of `token` and `jwt_key`"),
        ({"url": None}, "are for slurmrestd"),
        ({"login": ["ssh", "login"]}, "`login` is for Slurm's commands"),
        ({"user": "root; x"}, "user"),
        ({"account": "a b"}, "account"),
        ({"constraint": "a;b"}, "constraint"),
        ({"environment": {"A": "1\n2"}}, "one line"),
        ({"log_folder": "/var/%j"}, "log_folder"),
        ({"margin": 0}, "margin"),
        ({"queue": "main"}, "queue"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as problem:
        site(**changes)
    assert words in str(problem.value)

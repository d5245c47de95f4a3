"""The kind of site of the documentation's example, installed by pip and registered by its entry point."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.plugins.programs import PATIENCE_SECONDS, Program
from tests.server import Server
from tests.service.client import Uws, job_id, text

LOWEST_PRIORITY = 19
"""What Linux makes of a higher niceness, as where the tests themselves run under ``nice``."""


def wait_absent(path: Path) -> None:
    """Wait until a path is gone."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while path.exists():
        assert time.monotonic() < deadline, f"{path} is still there"
        time.sleep(0.05)


def work_folder(server: Server, job: str) -> Path:
    """Return where the first attempt of a job runs."""
    return server.folder / "data" / "work" / "polite" / f"{job_id(job)}-1"


def test_job_runs_nicely(polite: Server, program: Program) -> None:
    with Uws(polite.url, "program") as uws:
        job = uws.create({"PHASE": "RUN"})
        assert uws.wait(job) == "COMPLETED"
        assert uws.get(f"{job}/results/niceness").text == str(min(os.nice(0) + 7, LOWEST_PRIORITY))
        assert uws.get(f"{job}/logs/stdout").text == "the end\n"
        wait_absent(work_folder(polite, job))
        assert len(program.runs(job_id(job))) == 1


def test_failure_is_the_job_s(polite: Server, program: Program) -> None:
    with Uws(polite.url, "program") as uws:
        job = uws.create({"PHASE": "RUN", "END": "fail"})
        assert uws.wait(job) == "ERROR"
        assert "no luck" in uws.get(f"{job}/error").text
        assert len(program.runs(job_id(job))) == 1


def test_abort_ends_the_command(polite: Server, program: Program) -> None:
    with Uws(polite.url, "program") as uws:
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        run = program.wait_run(job_id(job))
        assert uws.post(f"{job}/phase", {"PHASE": "ABORT"}).status_code == 303
        assert uws.wait(job) == "ABORTED"
        wait_absent(Path(f"/proc/{run.pid}"))
        wait_absent(work_folder(polite, job))


def test_deletion_removes_everything(polite: Server, program: Program) -> None:
    with Uws(polite.url, "program") as uws:
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        run = program.wait_run(job_id(job))
        assert uws.http.delete(job).status_code == 303
        wait_absent(Path(f"/proc/{run.pid}"))
        wait_absent(work_folder(polite, job))


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_restart_goes_on_with_the_same_run(polite: Server, program: Program, end: str) -> None:
    with Uws(polite.url, "program") as uws:
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        run = program.wait_run(job_id(job))
        polite.stop() if end == "stop" else polite.kill()
        assert Path(f"/proc/{run.pid}").exists()
        polite.start()
        program.release(job_id(job))
        assert uws.wait(job) == "COMPLETED"
        assert uws.get(f"{job}/results/niceness").text == str(run.niceness)
        assert program.runs(job_id(job)) == [run]


def test_run_that_ended_while_the_service_was_away(polite: Server, program: Program) -> None:
    with Uws(polite.url, "program") as uws:
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        run = program.wait_run(job_id(job))
        polite.kill()
        program.release(job_id(job))
        wait_absent(Path(f"/proc/{run.pid}"))
        polite.start()
        assert uws.wait(job) == "COMPLETED"
        assert text(uws.document(job), "phase") == "COMPLETED"
        assert program.runs(job_id(job)) == [run]


def test_killed_agent_is_tried_again(polite: Server, program: Program) -> None:
    with Uws(polite.url, "program") as uws:
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        run = program.wait_run(job_id(job))
        status = Path(f"/proc/{run.pid}/status").read_text()
        agent = int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
        os.kill(agent, 9)
        wait_absent(Path(f"/proc/{run.pid}"))
        program.release(job_id(job))
        assert uws.wait(job) == "COMPLETED"
        assert len(program.runs(job_id(job))) == 2

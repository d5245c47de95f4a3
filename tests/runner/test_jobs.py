"""Jobs at a site that only calls out.

A real service, a real runner, and processes at its site.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyvo.dal import AsyncTAPJob

from tests.runner.programs import PATIENCE_SECONDS, SITE, Far, far_site, until
from tests.service.client import Uws, job_id


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    with far_site(tmp_path_factory.mktemp("far")) as far:
        yield far


def test_job_by_pyvo(far: Far) -> None:
    with Uws(far.server.url, "ledger") as uws:
        url = uws.create(files={"TEXT": ("text", b"from far away")})
        client = AsyncTAPJob(url)
        client.run()
        client.wait(timeout=PATIENCE_SECONDS)
        client.raise_if_error()
        assert client.phase == "COMPLETED" and client.result_uris == [f"{url}/results/answer"]
        assert uws.get(client.result_uris[0]).text == f"{job_id(url)} from far away"
        assert uws.get(f"{url}/logs/stdout").text == "begun\nthe end\n"
        shown_text = uws.http.get(url, headers={"Accept": "application/json"}).json()
        assert shown_text["jobInfo"]["site"] == SITE
    assert far.program.runs()[job_id(url)] == 1
    until(lambda: not (far.runner.work / f"{job_id(url)}-1").exists(), "the work folder to go")


def test_failure_is_the_job_s(far: Far) -> None:
    with Uws(far.server.url, "ledger") as uws:
        job = uws.create({"PHASE": "RUN", "END": "fail"})
        assert uws.wait(job) == "ERROR"
        assert "no luck" in uws.get(f"{job}/error").text
        assert uws.get(f"{job}/logs/stderr").text == "no luck\n"
    assert far.program.runs()[job_id(job)] == 1


def test_abort_ends_the_command(far: Far) -> None:
    with Uws(far.server.url, "ledger") as uws:
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        until(lambda: far.program.runs()[job_id(job)], "the command")
        process = Path(f"/proc/{far.program.pid(job_id(job))}")
        assert uws.post(f"{job}/phase", {"PHASE": "ABORT"}).status_code == 303
        assert uws.wait(job) == "ABORTED"
        until(lambda: not process.exists(), "the command to end")
        until(lambda: not (far.runner.work / f"{job_id(job)}-1").exists(), "the work folder to go")


def test_log_while_it_runs(far: Far) -> None:
    with Uws(far.server.url, "ledger") as uws:
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        uws.wait(job, "EXECUTING")
        until(lambda: uws.http.get(f"{job}/logs/stdout").text == "begun\n", "the log")
        far.program.release(job_id(job))
        assert uws.wait(job) == "COMPLETED"


def test_nothing_is_left(far: Far) -> None:
    """What the runner brought or collected is gone, once the service has it."""
    with Uws(far.server.url, "ledger") as uws:
        job = uws.create({"PHASE": "RUN"}, files={"TEXT": ("text", b"x" * 100_000)})
        assert uws.wait(job) == "COMPLETED"
        top = far.runner.folder / "data" / "depot"
        until(lambda: not [path for path in top.rglob("*") if path.is_file()], "the runner's depot to be empty")

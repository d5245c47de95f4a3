"""A link that is cut, runners and services that are killed: no job is lost, none runs twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.runner.programs import SITE, Runner, far_site, until
from tests.service.client import Uws, job_id

JOBS = 12
KILLS = 4
LEASE_SECONDS = 20


def test_jobs_go_on_while_the_link_is_cut(tmp_path: Path) -> None:
    with far_site(tmp_path, site={"unknown_after": 1}) as far, Uws(far.server.url, "ledger") as uws:
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        uws.wait(job, "EXECUTING")
        far.wire.cut()
        assert uws.wait(job, "UNKNOWN") == "UNKNOWN"
        far.program.release(job_id(job))
        work = far.runner.work / f"{job_id(job)}-1"
        until(lambda: (work / "output" / "answer").exists(), "the command's result")
        until(lambda: '"ended"' in (work / "status.json").read_text(), "the end of the agent")
        assert uws.phase(job) == "UNKNOWN"
        far.wire.mend()
        assert uws.wait(job) == "COMPLETED"
        assert uws.get(f"{job}/results/answer").text == f"{job_id(job)} nothing"
        assert far.program.runs() == {job_id(job): 1}


def test_kills_lose_nothing(tmp_path: Path) -> None:
    """Neither ``kill -9`` of the runner nor of the service, at random moments."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    moments = random.Random(seed)
    with far_site(tmp_path) as far:
        with Uws(far.server.url, "ledger") as uws:
            jobs = [uws.create({"PHASE": "RUN"}) for _ in range(JOBS)]
            uws.made.clear()
            for number in range(KILLS):
                until(lambda: far.runner.text().count("driving the site") > number, "the runner")  # noqa: B023
                time.sleep(moments.uniform(0.1, 3.0))  # the random moment is what is tested
                far.runner.kill()
                if number % 2:
                    far.server.kill()
                    far.server.start()
                far.runner.start()
                jobs += [uws.create({"PHASE": "RUN"}) for _ in range(2)]
                uws.made.clear()
            assert [uws.wait(job) for job in jobs] == ["COMPLETED"] * len(jobs)
            for job in jobs:
                assert uws.get(f"{job}/results/answer").text == f"{job_id(job)} nothing"
        assert far.program.runs() == {job_id(job): 1 for job in jobs}
        until(lambda: not [path for path in far.runner.work.iterdir() if path.is_dir()], "the work folders to go")


def test_second_runner_is_refused(tmp_path: Path) -> None:
    """The lease lets one runner speak for a site; an earlier session of it is over."""
    with far_site(tmp_path) as far, Uws(far.server.url, "ledger") as uws:
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        uws.wait(job, "EXECUTING")
        second = Runner(tmp_path / "second", far.server.port, far.key)
        second.start()
        try:
            until(lambda: "has a runner" in second.text(), "the refusal")
            far.runner.kill()
            time.sleep(LEASE_SECONDS)  # its lease ends, and its job may still run on its machine
            until(lambda: "may still run" in second.text(), "the second refusal")
            assert not (second.folder / "data" / "work").exists()
            far.runner.start()
            far.program.release(job_id(job))
            assert uws.wait(job) == "COMPLETED"
            assert "driving the site" not in second.text()
        finally:
            second.kill()
        assert far.program.runs() == {job_id(job): 1}


def test_standby_takes_over_when_nothing_runs(tmp_path: Path) -> None:
    with far_site(tmp_path) as far, Uws(far.server.url, "ledger") as uws:
        job = uws.create({"PHASE": "RUN"})
        assert uws.wait(job) == "COMPLETED"
        far.runner.stop()
        second = Runner(tmp_path / "second", far.server.port, far.key)
        second.start()
        try:
            job = uws.create({"PHASE": "RUN"})
            assert uws.wait(job) == "COMPLETED"
            assert "driving the site" in second.text()
        finally:
            second.kill()


def test_old_result_of_a_job_that_went_elsewhere(tmp_path: Path) -> None:
    """After a long cut the job runs at another site, and what the first one hands over is refused."""
    near = {"name": "near", "kind": "local", "slots": 1}
    site = {"unknown_after": 1, "lost_after": 1}
    with far_site(tmp_path, site=site, others=[near]) as far, Uws(far.server.url, "ledger") as uws:
        blocker = uws.create({"PHASE": "RUN", "END": "wait"})
        uws.wait(blocker, "EXECUTING")
        job = uws.create({"PHASE": "RUN", "END": "wait"})
        uws.wait(job, "EXECUTING")

        def site_of(url: str) -> str:
            return str(uws.http.get(url, headers={"Accept": "application/json"}).json()["jobInfo"]["site"])

        places = {site_of(blocker): blocker, site_of(job): job}
        assert SITE in places
        lost = places[SITE]
        if len(places) > 1:
            far.program.release(job_id(places["near"]))
            uws.wait(places["near"])
        far.wire.cut()
        until(lambda: far.program.runs()[job_id(lost)] == 2, "the second attempt", 180)
        far.program.release(job_id(lost))
        assert uws.wait(lost) == "COMPLETED"
        first = uws.get(f"{lost}/results/answer")
        far.wire.mend()
        until(lambda: not (far.runner.work / f"{job_id(lost)}-1").exists(), "the old attempt to be removed")
        assert uws.phase(lost) == "COMPLETED" and site_of(lost) == "near"
        assert uws.get(f"{lost}/results/answer").text == first.text
        assert far.program.runs()[job_id(lost)] == 2

"""Jobs by the two ways to a cluster.

Slurmrestd, and Slurm's commands.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.batch.condor import wait_until
from tests.batch.service import BatchServer
from tests.batch.slurm import SlurmCluster


@pytest.fixture(scope="module", params=["rest", "commands"])
def way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BatchServer[SlurmCluster]]:
    """Yield a service that uses slurmrestd, and one that uses commands."""
    if request.param == "rest":
        yield request.getfixturevalue("server")
        return
    cluster: SlurmCluster = request.getfixturevalue("cluster")
    site = cluster.settings(url=None, token=None, login=cluster.login())
    with BatchServer(tmp_path_factory.mktemp("commands"), cluster, site) as service:
        yield service


def test_results_and_logs(way: BatchServer[SlurmCluster]) -> None:
    """A job ends COMPLETED with its result, stdout and stderr apart; Slurm's accounting says so too, once."""
    with way.client() as user:
        job = user.create({"PHASE": "RUN", "TEXT": "echo out; echo err >&2; echo done > $UWS_OUTPUT_DIR/result"})
        assert user.wait(job) == "COMPLETED"
        assert user.get(f"{job}/results/result").text == "done\n"
        assert user.get(f"{job}/logs/stdout").text == "out\n"
        assert user.get(f"{job}/logs/stderr").text == "err\n"
        assert way.runs(job) == 1
        name = job.rpartition("/")[2]
        # An agent that is slow to end after its report, on a busy machine, is cancelled.
        ends = ("COMPLETED|0:0|uws", "CANCELLED")
        wait_until(lambda: _is_only(way.system.accounted(name), ends), "the accounting knows its end")


def _is_only(lines: list[str], beginnings: tuple[str, ...]) -> bool:
    """Return whether there is a single line, and it begins so."""
    return len(lines) == 1 and lines[0].startswith(beginnings)


def test_a_command_that_fails(way: BatchServer[SlurmCluster]) -> None:
    """Exit code and last words of a command are the job's error; it is not tried again."""
    with way.client() as user:
        job = user.create({"PHASE": "RUN", "TEXT": "echo no such star >&2; exit 4"})
        assert user.wait(job) == "ERROR"
        assert "exit code 4: no such star" in user.get(f"{job}/error").text
        assert way.runs(job) == 1


def test_an_abort_ends_the_command(way: BatchServer[SlurmCluster]) -> None:
    """An aborted job keeps the results that were complete, and nothing of it runs on."""
    with way.client() as user:
        job = user.create({"PHASE": "RUN", "TEXT": "echo early > $UWS_OUTPUT_DIR/result; sleep 600"})
        way.wait_run(job)
        assert user.wait(job, "EXECUTING") == "EXECUTING"
        assert way.commands(job)
        user.post(f"{job}/phase", {"PHASE": "ABORT"})
        assert user.phase(job) == "ABORTED"
        wait_until(lambda: not way.commands(job), "nothing of it runs")
        wait_until(lambda: user.get(f"{job}/results/result").text == "early\n", "its result is kept")
        assert way.runs(job) == 1

"""The real systems as what a soak kills."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from tests.batch.condor import CondorPool
from tests.batch.slurm import SlurmCluster
from tests.runner.programs import Runner, Wire
from tests.server import Server

CUT_SECONDS = 60.0


def kill_any(processes: Sequence[psutil.Process], moments: random.Random) -> None:
    """``kill -9`` one of some processes, if there is any."""
    if processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            moments.choice(list(processes)).kill()


def restart(server: Server) -> Callable[[random.Random], None]:
    """Return what kills a service, which has the controllers of its sites too, and starts it again."""

    def act(_moments: random.Random) -> None:
        server.kill()
        server.start()

    return act


class PoolVictim:
    """An HTCondor pool.

    Parameters
    ----------
    cut
        The way of the nodes to the service, if it is to be cut; None: nothing is.
    """

    def __init__(self, pool: CondorPool, server: Server, cut: Wire | None = None, seconds: float = CUT_SECONDS) -> None:
        self.name, self.pool, self.server, self.cut, self.seconds = "htcondor", pool, server, cut, seconds
        self.shared = pool.shared
        daemons = ("condor_schedd", "condor_startd", "condor_collector", "condor_negotiator")
        self.troubles: dict[str, Callable[[random.Random], None]] = {
            "service": restart(server),
            "library": lambda _moments: kill_helper(server),
            **{daemon: self._killing(daemon) for daemon in daemons},
            **{daemon: self._killing_any(daemon) for daemon in ("condor_shadow", "condor_starter")},
        }
        if cut is not None:
            self.troubles["cut"] = self._cut

    def _killing(self, daemon: str) -> Callable[[random.Random], None]:
        def act(_moments: random.Random) -> None:
            self.pool.kill(daemon)

        return act

    def _killing_any(self, daemon: str) -> Callable[[random.Random], None]:
        return lambda moments: kill_any(self.pool.processes(daemon), moments)

    def _cut(self, _moments: random.Random) -> None:
        self.sever()
        time.sleep(self.seconds)  # what is tried is a cut of that length
        self.mend()

    def sever(self) -> None:
        """Cut the nodes off from the service, and stop the schedd, which the service then can't ask."""
        assert self.cut is not None
        self.cut.cut()
        for process in self.pool.processes("condor_schedd"):
            process.suspend()

    def mend(self) -> None:
        """End the cut."""
        assert self.cut is not None
        for process in self.pool.processes("condor_schedd"):
            process.resume()
        self.cut.mend()

    def calm(self) -> None:
        """Wait for the daemons, which their master starts again."""
        self.pool.wait_up()

    def leftovers(self, job_ids: frozenset[str]) -> list[str]:
        """Return the jobs of the queue that may still run: neither removed (3) nor completed (4)."""
        lines = [line.split() for line in self.pool.queue()]
        return [" ".join(line) for line in lines if line[1] not in ("3", "4") and job_ids & set(line[2].split("/"))]


def kill_helper(server: Server) -> None:
    """``kill -9`` the process in which HTCondor's library runs."""
    assert server.process is not None
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("helper.py" in word for word in process.cmdline()):
                process.kill()


class ClusterVictim:
    """A Slurm cluster.

    Parameters
    ----------
    cuts
        The ways of the nodes to the service and of the service to slurmrestd, if they are to be cut.
    """

    def __init__(
        self, cluster: SlurmCluster, server: Server, cuts: Sequence[Wire] = (), seconds: float = CUT_SECONDS
    ) -> None:
        self.name, self.cluster, self.server, self.cuts, self.seconds = "slurm", cluster, server, cuts, seconds
        self.shared = cluster.shared
        self.troubles: dict[str, Callable[[random.Random], None]] = {
            "service": restart(server),
            "slurmctld": self._kill_controller,
            "slurmd": self._kill_node,
            "slurmstepd": lambda moments: kill_any(cluster.daemons("slurmstepd"), moments),
        }
        if cuts:
            self.troubles["cut"] = self._cut

    def _kill_controller(self, _moments: random.Random) -> None:
        self.cluster.kill("slurmctld")
        self.cluster.start_controller()
        self.cluster.resume_nodes()  # a node with a job that slurmctld does not know takes no more

    def _kill_node(self, moments: random.Random) -> None:
        kill_any(self.cluster.daemons("slurmd"), moments)
        self.cluster.resume_nodes()

    def _cut(self, _moments: random.Random) -> None:
        self.sever()
        time.sleep(self.seconds)  # what is tried is a cut of that length
        self.mend()

    def sever(self) -> None:
        """Cut the nodes off from the service, and the service from slurmrestd."""
        for wire in self.cuts:
            wire.cut()

    def mend(self) -> None:
        """End the cut."""
        for wire in self.cuts:
            wire.mend()

    def calm(self) -> None:
        """Let all nodes take jobs again, as an operator does."""
        self.cluster.resume_nodes()

    def leftovers(self, job_ids: frozenset[str]) -> list[str]:
        """Return the jobs that wait or run."""
        lines = self.cluster.tool("squeue", "-h", "-o", "%A %T %j").splitlines()
        return [line for line in lines if any(job_id in line for job_id in job_ids)]


class RunnerVictim:
    """A site behind a runner."""

    def __init__(
        self, server: Server, runner: Runner, shared: Path, wire: Wire | None = None, seconds: float = CUT_SECONDS
    ) -> None:
        self.name, self.server, self.runner, self.wire, self.seconds = "remote", server, runner, wire, seconds
        self.shared = shared
        self.troubles: dict[str, Callable[[random.Random], None]] = {
            "service": restart(server),
            "runner": self._kill_runner,
        }
        if wire is not None:
            self.troubles["cut"] = self._cut

    def _kill_runner(self, _moments: random.Random) -> None:
        self.runner.kill()
        self.runner.start()

    def _cut(self, _moments: random.Random) -> None:
        assert self.wire is not None
        self.wire.cut()
        time.sleep(self.seconds)  # what is tried is a cut of that length
        self.wire.mend()

    def calm(self) -> None:
        """Do nothing: all that was killed was started again."""

    def leftovers(self, job_ids: frozenset[str]) -> list[str]:
        """Return the work folders of jobs."""
        folder = self.runner.work
        names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.exists() else []
        return [name for name in names if name.partition("-")[0] in job_ids]

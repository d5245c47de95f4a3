"""An HTCondor pool of Debian 13 on the loopback address: parts, start, memory, jobs, and what a fault costs.

Needs root and the tree of ``python -m tests.batch``. The pool looks more often than a default one does, as
``tests/batch/condor.conf`` says; its kernel tuning is off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
from recipe import Show, main, resident

from tests.batch import tree
from tests.batch.condor import CondorPool, wait_until

JOBS = 24
OWNER = "uws"
NUMBERED = """
universe = vanilla
executable = {program}
arguments = "{arguments}"
initialdir = {folder}
should_transfer_files = YES
transfer_executable = false
transfer_output_files = ""
request_memory = 64
log = {folder}/log
queue {count}
"""


def submit(pool: CondorPool, program: str, arguments: str, count: int = 1) -> str:
    """Submit jobs as a user of the pool's machine; return the cluster's number."""
    quoted = arguments.replace('"', '""')
    text = NUMBERED.format(program=program, arguments=quoted, folder=pool.inner_shared, count=count)
    (pool.shared / "job.sub").write_text(text)
    words = pool.tool("condor_submit", "-terse", f"{pool.inner_shared}/job.sub", user=OWNER)
    return words.split(".")[0]


def ask(pool: CondorPool, cluster: str, attribute: str) -> list[str]:
    """Return an attribute of the jobs of a cluster that are in the queue."""
    return pool.tool("condor_q", cluster, "-af", attribute).split()


def wait_running(pool: CondorPool, cluster: str) -> None:
    """Wait until a job is seen to run."""
    wait_until(lambda: ask(pool, cluster, "JobCurrentStartExecutingDate") not in ([], ["undefined"]), "the job runs")


def schedd_outage(pool: CondorPool, cluster: str, is_complete: Callable[[], bool]) -> float:
    """Kill the schedd of a running job.

    Return the seconds until it has the job again and a condition holds; fail if the job was started again.
    """
    start = ask(pool, cluster, "JobCurrentStartExecutingDate")
    pool.kill("condor_schedd")
    began = time.perf_counter()

    def has_its_job() -> bool:
        try:
            return ask(pool, cluster, "JobStatus") == ["2"] and is_complete()
        except RuntimeError:  # it does not answer yet
            return False

    wait_until(has_its_job, "the schedd has its job again")
    seconds = time.perf_counter() - began
    assert ask(pool, cluster, "JobCurrentStartExecutingDate") == start, "it was started again"
    return seconds


def jobs(pool: CondorPool, show: Show) -> None:
    """Show how fast jobs start and pass, and what a running one costs."""
    began = time.perf_counter()
    cluster = submit(pool, "/bin/sleep", "600")
    wait_running(pool, cluster)
    show("htcondor.job", time.perf_counter() - began, "s until it is seen to run")
    show("htcondor.shadow", resident(pool.processes("condor_shadow")), "MiB for a running job where it was submitted")
    show("htcondor.starter", resident(pool.processes("condor_starter")), "MiB for it where it runs")
    show("htcondor.lease", int(ask(pool, cluster, "JobLeaseDuration")[0]) / 60, "min that a lost machine's job counts")
    seconds = schedd_outage(pool, cluster, lambda: bool(pool.processes("condor_shadow")))
    show("htcondor.recovery", seconds, "s until a killed schedd has its running job again")
    pool.tool("condor_rm", cluster, user=OWNER)
    wait_until(lambda: ask(pool, cluster, "JobStatus") == [], "the job is gone")
    began = time.perf_counter()
    cluster = submit(pool, "/bin/true", "", JOBS)
    wait_until(lambda: ask(pool, cluster, "JobStatus") == [], "all jobs have ended")
    show("htcondor.rate", JOBS / (time.perf_counter() - began), "jobs a second through four slots")


def measure(folder: Path, show: Show) -> None:
    """Start a pool, use it, and show the figures."""
    del folder  # the pool has one in its tree
    tree.build()
    began = time.perf_counter()
    with CondorPool("study") as pool:
        show("htcondor.start", time.perf_counter() - began, "s")
        master = psutil.Process(int((pool.folder / "run" / "master.pid").read_text()))
        daemons = [master, *master.children()]  # those that these start come and go
        kinds = sorted({process.name() for process in daemons})
        show("htcondor.parts", len(kinds), f"kinds of daemon: {', '.join(kinds)}")
        show("htcondor.memory", resident(daemons), "MiB")
        jobs(pool, show)


if __name__ == "__main__":
    main(__doc__, measure)

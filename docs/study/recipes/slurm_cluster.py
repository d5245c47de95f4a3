"""A Slurm cluster of Debian 13 on the loopback address, with accounting and REST: parts, start, memory, jobs.

Needs root and the tree of ``python -m tests.batch``.
"""

from __future__ import annotations

import time
from pathlib import Path

from recipe import Show, main, resident

from tests.batch import tree
from tests.batch.condor import wait_until
from tests.batch.slurm import USER, SlurmCluster

JOBS = 24
KINDS = ("slurmctld", "slurmdbd", "slurmd", "slurmrestd", "munged", "mariadbd")


def submit(cluster: SlurmCluster) -> None:
    """Submit jobs that do nothing, one by one, as a user with an account."""
    words = ("sbatch", "--parsable", "-A", USER, "-o", "/dev/null", "-D", "/tmp", "--wrap", "true")
    for _ in range(JOBS):
        cluster.tool(*words, user=USER)


def measure(folder: Path, show: Show) -> None:
    """Start a cluster, use it, and show the figures."""
    del folder  # the cluster has one in its tree
    tree.build()
    began = time.perf_counter()
    with SlurmCluster("study") as cluster:
        show("slurm.start", time.perf_counter() - began, "s")
        daemons = {kind: cluster.daemons(kind) for kind in KINDS}
        assert all(daemons.values()), daemons
        show("slurm.parts", len(KINDS), "kinds of daemon")
        show("slurm.memory", resident(process for processes in daemons.values() for process in processes), "MiB")
        began = time.perf_counter()
        submit(cluster)
        wait_until(lambda: cluster.tool("squeue", "-h", "-t", "all").split() != [], "jobs are known")
        wait_until(lambda: cluster.tool("squeue", "-h", "-t", "pending,running,completing") == "", "all have ended")
        show("slurm.rate", JOBS / (time.perf_counter() - began), "jobs a second on eight pretended cores")


if __name__ == "__main__":
    main(__doc__, measure)

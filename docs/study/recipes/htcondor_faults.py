"""What faults cost in an HTCondor pool: a killed queue, a container that cannot start, a job over its memory.

The daemons start again as late as by default; the recipe of the pool, like the tests, has them do so after a second.
Needs root and the tree of ``python -m tests.batch``.
"""

from __future__ import annotations

import time
from pathlib import Path

from htcondor_pool import OWNER, ask, schedd_outage, submit, wait_running
from recipe import Show, main

from tests.batch import tree
from tests.batch.condor import CondorPool, wait_until

SETTINGS = """\
MASTER_BACKOFF_CONSTANT = 9
MASTER_BACKOFF_FACTOR = 2
use POLICY : HOLD_IF_MEMORY_EXCEEDED
"""
"""HTCondor's own back-off: a daemon that died starts again after 9 + 2 seconds.

The policy stands last, since a ``PREEMPT`` below it takes it back.
"""
CONTAINER = """
universe = container
container_image = /opt/images/nobody-has-it
transfer_container = false
executable = /bin/true
transfer_executable = false
initialdir = {folder}
log = {folder}/log
queue
"""
"""An image that the nodes should have and do not; one that is to be transferred would put the job on hold."""
TRIES = 5
HELD = "5"
MEMORY_HOLD = "21"
"""HTCondor's code for a job that a policy of the machine put on hold."""
GREEDY = "import time; held = bytearray(300 << 20); time.sleep(600)"


class FaultyPool(CondorPool):
    """A pool whose daemons start again as late as they do by default."""

    def _write(self) -> None:
        super()._write()
        (self.folder / "config.d" / "defaults").write_text(SETTINGS)


def recovery(pool: CondorPool, show: Show) -> None:
    """Show how long a schedd is away that was killed."""
    cluster = submit(pool, "/bin/sleep", "600")
    wait_running(pool, cluster)
    show("faults.recovery", schedd_outage(pool, cluster, lambda: True), "s that a killed schedd is away")
    pool.tool("condor_rm", cluster, user=OWNER)


def container(pool: CondorPool, show: Show) -> None:
    """Show how soon a container is tried again that cannot start."""
    (pool.shared / "container.sub").write_text(CONTAINER.format(folder=pool.inner_shared))
    words = pool.tool("condor_submit", "-terse", f"{pool.inner_shared}/container.sub", user=OWNER)
    cluster = words.split(".")[0]

    def tries() -> int:
        (count,) = ask(pool, cluster, "NumShadowStarts")
        return int(count) if count.isdigit() else 0

    wait_until(lambda: tries() >= 2, "it is tried a second time")
    first, began = tries(), time.perf_counter()
    wait_until(lambda: tries() >= first + TRIES, "it is tried again and again")
    seconds = time.perf_counter() - began
    show("faults.retry", seconds / (tries() - first), "s from a try of a container that cannot start to the next")
    assert ask(pool, cluster, "JobStatus") != [HELD], "it was put on hold"
    pool.tool("condor_rm", cluster, user=OWNER)


def memory(pool: CondorPool, show: Show) -> None:
    """Show how late the policy acts on a job that takes more memory than it asked for."""
    (pool.shared / "greedy.py").write_text(GREEDY)
    cluster = submit(pool, "/usr/bin/python3", f"{pool.inner_shared}/greedy.py")
    wait_running(pool, cluster)
    began = time.perf_counter()
    wait_until(lambda: ask(pool, cluster, "JobStatus") == [HELD], "the job is on hold")
    show("faults.memory", time.perf_counter() - began, "s until a job over its memory is on hold")
    assert ask(pool, cluster, "HoldReasonCode") == [MEMORY_HOLD], ask(pool, cluster, "HoldReason")
    pool.tool("condor_rm", cluster, user=OWNER)


def measure(folder: Path, show: Show) -> None:
    """Start a pool, break it, and show the figures."""
    del folder  # the pool has one in its tree
    tree.build()
    with FaultyPool("faults") as pool:
        recovery(pool, show)
        container(pool, show)
        memory(pool, show)


if __name__ == "__main__":
    main(__doc__, measure)

"""Run Rucio's conveyor once: what rules have asked for is submitted, polled and finished, by its mock transfer tool.

Runs in Rucio's own environment. The mock tool moves no bytes: whoever calls this has put them there.
"""

from __future__ import annotations

from rucio.daemons.conveyor import finisher, poller, submitter

if __name__ == "__main__":
    submitter.submitter(once=True, sleep_time=1, partition_wait_time=0)
    poller.poller(once=True, sleep_time=1, partition_wait_time=0, older_than=0)
    finisher.finisher(once=True, sleep_time=1, partition_wait_time=0)

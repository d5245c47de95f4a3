"""``make soak-records KILLS=1000``.

Kill a service so often, on each database, and count its records.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests import databases
from tests.crash.records import forked_soak, judge, soak


def main() -> None:
    """Run it, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="the longest time, of each database")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--web", action="store_true", help="kill the whole service, whose start takes longer")
    arguments = parser.parse_args()
    run = soak if arguments.web else forked_soak
    for name in arguments.database or ["sqlite", "postgresql"]:
        seed = random.randrange(1 << 30) if arguments.seed is None else arguments.seed
        print(f"{name}: seed {seed}", flush=True)
        with tempfile.TemporaryDirectory(prefix="uws-soak-") as folder:
            url = databases.new_postgresql() if name == "postgresql" else databases.new_sqlite(Path(folder))
            began = time.monotonic()
            outcome = run(Path(folder), url, arguments.kills, seed, until=began + arguments.minutes * 60)
            minutes = (time.monotonic() - began) / 60
        judge(outcome)
        started = sum(outcome.started.values())
        print(f"{name}: {outcome.kills} kills of the service and {outcome.agents} of agents in {minutes:.1f} minutes")
        print(f"  {started} commands of {len(outcome.started)} jobs; " + ", ".join(
            f"{number} {what}" for what, number in outcome.counts.items()), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

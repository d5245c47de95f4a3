"""Feed every target: ``python -m tests.fuzz [--inputs 100000] [--seed 1] [TARGET …]``; exit status 1 if one breaks.

What broke a target lies in ``build/fuzz``, a file each; ``--again FILE TARGET`` reads one of them again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

from tests.fuzz.run import Outcome, Progress, feed, inputs_of, saved
from tests.fuzz.targets import TARGETS, Target

FOLDER = Path("build/fuzz")


def main() -> int:
    """Run the targets, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(target.name for target in TARGETS))
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--seed", type=int, default=1, help="another number makes other inputs")
    parser.add_argument("--again", type=Path, help="read one input again, with its traceback")
    arguments = parser.parse_args()
    by_name = {target.name: target for target in TARGETS}
    unknown = set(arguments.targets) - by_name.keys()
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are: {', '.join(by_name)}")
    names = arguments.targets or list(by_name)
    if arguments.again is not None:
        print(by_name[names[0]].read(arguments.again.read_bytes()))
        return 0
    broken = 0
    for name in names:
        start = time.monotonic()
        outcome, aborts = fed(by_name[name], arguments.inputs, arguments.seed)
        broken += len(outcome.faults)
        print(
            f"{name:8} {outcome.inputs} inputs, {outcome.answers} answers, {outcome.refusals} refusals, "
            f"{aborts} aborts, {len(outcome.faults)} faults; slowest {outcome.slowest_seconds:.3f} s, "
            f"memory at most +{outcome.peak_bytes >> 20} MiB; {time.monotonic() - start:.0f} s",
            flush=True,
        )
        for fault in outcome.faults:
            print(f"    {fault}")
    return 1 if broken else 0


def fed(target: Target, number: int, seed: int) -> tuple[Outcome, int]:
    """Feed a target in processes of their own; return what happened, and how many of them a library has ended."""
    aborts = 0
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "progress")
        while True:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                try:
                    outcome = pool.submit(feed, target.name, number, seed, FOLDER, path).result()
                    break
                except BrokenProcessPool:
                    aborts += 1
            reached = Progress(path).load()
            data = next(islice(inputs_of(target, number, seed), reached.inputs - 1, None))
            if not target.may_abort:
                lines.append(f"the process died [{saved(target.name, data, FOLDER)}]")
    outcome.faults += lines
    return outcome, aborts


if __name__ == "__main__":
    sys.exit(main())

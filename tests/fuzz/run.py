"""Feed one target, and watch what it costs."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import re
import signal
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.mutations import mutations
from tests.fuzz.targets import TARGETS, is_refusal

MAX_SECONDS = 1.0
"""Of processor time for one input."""
STOP_SECONDS = 10.0
"""Of processor time, after which an input is given up."""
MAX_BYTES = 256 << 20
"""Of memory that one input may add."""
MAX_FAULTS = 20


class Stopped(BaseException):
    """An input took far too long. No `Exception`, so that no reader swallows it."""


def _stop(*_: object) -> None:
    raise Stopped


@dataclass
class Outcome:
    """What happened to a target."""

    inputs: int = 0
    answers: int = 0
    refusals: int = 0
    slowest_seconds: float = 0.0
    peak_bytes: int = 0
    faults: list[str] = field(default_factory=list)


def feed(name: str, number: int, seed: int, folder: Path | None = None) -> Outcome:
    """Feed a target with its seeds and that many inputs made from them."""
    target = next(target for target in TARGETS if target.name == name)
    outcome = Outcome()
    before = signal.signal(signal.SIGPROF, _stop)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    seeds = list(target.seeds())
    for data in seeds:  # what is imported at first use is no input's fault
        with contextlib.suppress(Exception):
            target.read(data)
    for data in mutations(seeds, number, random.Random(f"{name} {seed}")):
        fault = _fault(target.read, data, outcome)
        if fault:
            outcome.faults.append(f"{fault} [{_saved(name, data, folder)}]")
            if len(outcome.faults) >= MAX_FAULTS:
                break
    signal.signal(signal.SIGPROF, before)
    return outcome


def _fault(read: object, data: bytes, outcome: Outcome) -> str:
    """Return what is wrong with a target's behaviour; nothing if it answers or refuses as it should."""
    outcome.inputs += 1
    memory, start = _peak_bytes(), time.process_time()
    problem = ""
    signal.setitimer(signal.ITIMER_PROF, STOP_SECONDS)
    try:
        read(data)  # type: ignore[operator]
        outcome.answers += 1
    except Stopped:
        problem = f"it was stopped after {STOP_SECONDS:.0f} s"
    except Exception as error:
        if is_refusal(error):
            outcome.refusals += 1
        else:
            problem = f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds, grown = time.process_time() - start, _peak_bytes() - memory
    outcome.slowest_seconds = max(outcome.slowest_seconds, seconds)
    outcome.peak_bytes = max(outcome.peak_bytes, grown)
    if problem:
        return problem
    if seconds > MAX_SECONDS:
        return f"it took {seconds:.1f} s"
    return f"it took {grown >> 20} MiB" if grown > MAX_BYTES else ""


def _peak_bytes() -> int:
    match = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(match[1]) * 1024 if match else 0


def _saved(name: str, data: bytes, folder: Path | None) -> str:
    if folder is None:
        return repr(data[:100])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return str(path)

"""Feed one target, and watch what it costs."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import re
import signal
import struct
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from tests.fuzz.mutations import mutations
from tests.fuzz.targets import TARGETS, Target, is_refusal

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


class Progress:
    """What was fed, in a file, so that it outlives a process that a library ends."""

    FORM = struct.Struct("<QQQdQ")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)

    def load(self) -> Outcome:
        """Return what was fed until now."""
        content = os.pread(self._file, self.FORM.size, 0)
        return Outcome(*self.FORM.unpack(content)) if content else Outcome()

    def save(self, outcome: Outcome) -> None:
        """Write the counts."""
        counts = outcome.inputs, outcome.answers, outcome.refusals, outcome.slowest_seconds, outcome.peak_bytes
        os.pwrite(self._file, self.FORM.pack(*counts), 0)


def inputs_of(target: Target, number: int, seed: int) -> Iterator[bytes]:
    """Yield a target's seeds and that many inputs made from them, the same each time."""
    return mutations(list(target.seeds()), number, random.Random(f"{target.name} {seed}"))


def feed(name: str, number: int, seed: int, folder: Path | None = None, progress: Path | None = None) -> Outcome:
    """Feed a target with its seeds and that many inputs made from them.

    With a file of progress it goes on behind the last input that was fed.
    """
    target = next(target for target in TARGETS if target.name == name)
    counts = Progress(progress) if progress is not None else None
    outcome = counts.load() if counts is not None else Outcome()
    before = signal.signal(signal.SIGPROF, _stop)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for data in target.seeds():  # what is imported at first use is no input's fault
        with contextlib.suppress(Exception):
            target.read(data)
    for data in islice(inputs_of(target, number, seed), outcome.inputs, None):
        if counts is not None:
            counts.save(replace(outcome, inputs=outcome.inputs + 1))
        fault = _fault(target.read, data, outcome)
        if fault:
            outcome.faults.append(f"{fault} [{saved(name, data, folder)}]")
            if len(outcome.faults) >= MAX_FAULTS:
                break
    signal.signal(signal.SIGPROF, before)
    return outcome


def _fault(read: object, data: bytes, outcome: Outcome) -> str:
    """Return what is wrong with a target's behaviour.

    Nothing if it answers or refuses as it should.
    """
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


def saved(name: str, data: bytes, folder: Path | None) -> str:
    if folder is None:
        return repr(data[:100])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return str(path)

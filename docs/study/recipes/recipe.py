"""What the recipes share: figures on standard output, processes that end with the recipe, environments of their own."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.environments import Environment

ANSWER_SECONDS = 300
MIB = 1 << 20


def environment(name: str, content: str, recipe: str) -> Environment:
    """Return the environment of a recipe, by the pins beside it."""
    return Environment(
        "study", Path(__file__).with_name(f"{name}.txt"), content, f"make recipe NAME={recipe} ARGS=--build"
    )


DIRACX = environment("diracx", "DiracX is", "diracx_service")
SAPPORO = environment("sapporo", "Sapporo is", "sapporo_server")
TOIL = environment("toil", "Toil is", "toil_server")
ALIENPY = environment("alienpy", "alienpy is", "alienpy_client")
Show = Callable[[str, float, str], None]


def show(figure: str, value: float, unit: str) -> None:
    """Print a figure: its id in figures.yaml, value and unit."""
    print(f"{figure}: {value:.3g} {unit}", flush=True)


def resident(processes: Iterable[psutil.Process]) -> float:
    """Return the sum of the resident memory of processes, in MiB."""
    return float(sum(process.memory_info().rss for process in processes) / MIB)


class Daemon:
    """Runs a program in the background until the end of a ``with`` block, with its children."""

    def __init__(self, folder: Path, name: str, command: list[Any], variables: Mapping[str, str] | None = None) -> None:
        self.log = folder / f"{name}.log"
        self.command = [str(word) for word in command]
        self.variables = {**os.environ, **(variables or {})}

    def __enter__(self) -> Daemon:
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                self.command, env=self.variables, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def answer(self, url: str) -> None:
        """Return once a URL answers without an error of the server."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline and self.child.poll() is None:
            try:
                if httpx2.get(url, timeout=10, trust_env=False).status_code < 500:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{url} does not answer:\n{self.log.read_text(errors='replace')[-3000:]}")

    def processes(self) -> list[psutil.Process]:
        """Return the program's process and its children."""
        process = psutil.Process(self.child.pid)
        return [process, *process.children(recursive=True)]


def main(
    description: str | None, measure: Callable[[Path, Show], None], environment: Environment | None = None
) -> None:
    """Run a recipe in a fresh folder; with ``--build`` only install its environment."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build", action="store_true", help="only install what the recipe needs")
    if environment is not None:
        environment.build()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    if not parser.parse_args().build:
        with tempfile.TemporaryDirectory(prefix="recipe-") as folder:
            measure(Path(folder), show)

"""An application whose runs can be counted, and that ends when a test lets it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

PATIENCE_SECONDS = 240
SOURCE = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with open(folder / "runs", "a") as runs:
    print(os.environ["UWS_JOB_ID"], os.getpid(), os.nice(0), file=runs)
while sys.argv[2] == "wait" and not (folder / os.environ["UWS_JOB_ID"]).exists():
    time.sleep(0.05)
print("the end")
if sys.argv[2] == "fail":
    sys.exit("no luck")
pathlib.Path(os.environ["UWS_OUTPUT_DIR"], "niceness").write_text(str(os.nice(0)))
"""


class Run(NamedTuple):
    """One start of the command."""

    job_id: str
    pid: int
    niceness: int


class Program:
    """The application, and what its runs left behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.descriptor = folder / "program.yaml"
        description = {
            "name": "program",
            "title": "Tells how nice it is",
            "description": "Ends when it is let, and says how nice it was.",
            "command": ["python", "-c", SOURCE, str(folder), "{END}"],
            "parameters": [
                {
                    "name": "END",
                    "datatype": "char",
                    "arraysize": "*",
                    "options": ["now", "wait", "fail"],
                    "default": "now",
                }
            ],
            "results": [{"id": "niceness", "path": "niceness", "media_type": "text/plain"}],
        }
        self.descriptor.write_text(json.dumps(description), encoding="utf-8")

    def runs(self, job_id: str) -> list[Run]:
        """Return the runs of a job until now."""
        path = self.folder / "runs"
        rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [Run(row[0], int(row[1]), int(row[2])) for row in rows if row[0] == job_id]

    def release(self, job_id: str) -> None:
        """Let the job's command end."""
        (self.folder / job_id).touch()

    def wait_run(self, job_id: str) -> Run:
        """Wait for the job's command to start."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (runs := self.runs(job_id)):
            assert time.monotonic() < deadline, f"the command of {job_id} did not start"
            time.sleep(0.05)
        return runs[0]

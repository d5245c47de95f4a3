"""A service whose sites are batch systems, with applications whose runs can be counted."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import psutil
import yaml

from tests.batch import soak
from tests.batch.condor import wait_until
from tests.server import ROOT, Server
from tests.service.client import Uws, job_id

WRITE = "echo done > $UWS_OUTPUT_DIR/result"
USERS = {"UWS_IDENTITY_HEADER": "X-Auth-Request-User", "UWS_TRUSTED_PROXIES": '["127.0.0.1/32"]'}
APPS = ROOT / "uws_service" / "apps"


class Nodes(Protocol):
    """What a batch system of the tests shares with this machine."""

    shared: Path
    """A folder that every job may write to."""
    inner_shared: str
    """Its path on the nodes."""


System = TypeVar("System", bound=Nodes)


def descriptor(name: str, system: Nodes, image: str = "") -> dict[str, Any]:
    """Return an application that notes its run and then does what the parameter says, in the shell.

    It finds the shared folder on a node, and on this machine.
    """
    find = f"for SHARED in {system.inner_shared} {system.shared}; do [ -d $SHARED ] && break; done"
    return {
        "name": name,
        "title": "Runs a script",
        "description": "Appends a line to a file at each run, and then runs the script that is given.",
        "command": ["/bin/sh", "-c", f'{find}; echo "$UWS_JOB_ID $$" >> $SHARED/runs; eval "$UWS_PARAM_TEXT"'],
        **({"image": image} if image else {}),
        "parameters": [{"name": "TEXT", "datatype": "char", "arraysize": "*", "default": WRITE}],
        "resources": {"cpu": 1, "memory": "64MiB"},
        "limits": {"execution_duration": {"default": 600, "maximum": 3600}, "attempts": 3},
        "results": [{"id": "result", "path": "result", "media_type": "text/plain", "required": False}],
    }


class BatchServer(Server, Generic[System]):
    """The service, and the file to which every run of a command appends a line.

    Parameters
    ----------
    folder
        Where the data folder and the log lie.
    system
        The pool or cluster whose nodes have the file.
    sites
        The service's sites.
    applications
        Names of applications that ship.
    settings
        Other settings of the service.
    """

    def __init__(
        self,
        folder: Path,
        system: System,
        *sites: dict[str, Any],
        applications: Sequence[str] = ("sleep", "crossmatch"),
        **settings: Any,
    ) -> None:
        self.system = system
        folder.mkdir(parents=True, exist_ok=True)
        descriptors = [str(APPS / f"{name}.yaml") for name in applications]
        for name, image in (("script", ""), ("boxed", "local/tiny"), ("missing", "local/missing")):
            path = folder / f"{name}.yaml"
            path.write_text(json.dumps(descriptor(name, system, image)))
            descriptors.append(str(path))
        descriptors.append(soak.write_descriptor(folder, system.inner_shared))
        config = {"builtin_applications": False, "applications": descriptors, "sites": list(sites), **settings}
        super().__init__(folder, USERS, config=yaml.safe_dump(config))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def client(self, application: str = "script", user: str | None = None) -> Uws:
        """Return a user of an application."""
        return Uws(self.url, application, user)

    def order(self) -> list[str]:
        """Return the ids of the jobs whose commands have been begun, in that order; one that ran twice is in twice."""
        path = self.system.shared / "runs"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def runs(self, job: str) -> int:
        """Return how often a job's command has been begun."""
        return self.order().count(job_id(job))

    def counts(self, jobs: Sequence[str]) -> Counter[int]:
        """Return how many of the jobs have been begun how often."""
        counts = Counter(self.order())
        return Counter(counts[job_id(job)] for job in jobs)

    def wait_run(self, *jobs: str) -> None:
        """Wait for the commands of jobs to start."""
        for job in jobs:
            wait_until(lambda: self.runs(job), f"the command of {job} runs")  # noqa: B023

    def hold(self) -> str:
        """Return a script that writes the result once `let_go` allows it."""
        return f"while [ ! -e $SHARED/go-$UWS_JOB_ID ]; do sleep 0.1; done; {WRITE}"

    def let_go(self, *jobs: str) -> None:
        """Let the scripts of `hold` end."""
        for job in jobs:
            (self.system.shared / f"go-{job_id(job)}").touch()

    def commands(self, job: str) -> list[psutil.Process]:
        """Return the processes of a job's command and of its agent's children."""
        members = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("UWS_JOB_ID") == job_id(job):
                    members.append(process)
        return members

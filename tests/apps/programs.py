"""Applications that ship with the service, run as the service runs them: descriptor, checks, agent, work folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.sites.local.agents import Work
from uws_service.agent import folder as layout
from uws_service.applications import check, launch, load_applications
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.sites.local.workfolder import search_paths
from uws_service.web.faces import STANDARDS

APPLICATIONS = load_applications([], STANDARDS)


@dataclass(frozen=True)
class Outcome:
    """What one run left."""

    state: str
    exit_code: int | None
    reason: str | None
    stdout: str
    stderr: str
    progress: str
    result: bytes | None
    media_type: str | None


def run(folder: Path, name: str, uploads: Mapping[str, bytes] | None = None, **parameters: Any) -> Outcome:
    """Run an application on these parameters and uploaded tables until it ends."""
    given = [Parameter(key, str(value)) for key, value in parameters.items()]
    for table in uploads or {}:
        given += [Parameter("UPLOAD", f"{table},param:{table}"), Parameter(table, "file", upload=f"key of {table}")]
    application = APPLICATIONS[name]
    job = Job(id="job", application=name, owner=None, phase=Phase.QUEUED, created=1, duration=0, destruction=None)
    plan = launch(application, job, check(application, given), 1)
    work = Work(
        folder / "work",
        list(plan.command),
        environment=dict(plan.environment),
        base_environment=search_paths(sys.executable),
        results=[asdict(one) for one in plan.results],
        memory=plan.memory,
        max_output=plan.max_output,
    )
    for one in plan.inputs:
        path = folder / "work" / layout.INPUT / one.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((uploads or {})[one.name])
    status = work.run(120)

    def text(path: str) -> str:
        file = folder / "work" / path
        return file.read_text() if file.exists() else ""

    found = folder / "work" / layout.OUTPUT / "result"
    (described,) = [one for one in status["outputs"] if one["id"] == "result"] or [{"media_type": None}]
    return Outcome(
        status["state"],
        status["exit_code"],
        status["reason"],
        text(layout.STDOUT),
        text(layout.STDERR),
        text(layout.PROGRESS),
        found.read_bytes() if found.exists() else None,
        described["media_type"],
    )

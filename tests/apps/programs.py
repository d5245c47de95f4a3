"""The shipped applications, run as the service runs them.

Descriptor, checks, agent, work folder.
"""

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
from uws_service.sites.local.search_path import search_paths
from uws_service.web.faces.registry import STANDARDS

APPLICATIONS = load_applications([], STANDARDS)


@dataclass(frozen=True)
class Outcome:
    """Outputs of one run."""

    state: str
    exit_code: int | None
    reason: str | None
    stdout: str
    stderr: str
    progress: str
    result: bytes | None
    media_type: str | None


def run(folder: Path, name: str, uploads: Mapping[str, bytes] | None = None, **parameters: Any) -> Outcome:
    """Run an application until it ends."""
    submitted = [Parameter(key, str(value)) for key, value in parameters.items()]
    for table in uploads or {}:
        submitted += [Parameter("UPLOAD", f"{table},param:{table}"), Parameter(table, "file", upload=f"key of {table}")]
    application = APPLICATIONS[name]
    job = Job(id="job", application=name, owner=None, phase=Phase.QUEUED, created=1, duration=0, destruction=None)
    plan = launch(application, job, check(application, submitted), 1)
    work = Work(
        folder / "work",
        list(plan.command),
        environment=dict(plan.environment),
        base_environment=search_paths(sys.executable),
        results=[asdict(item) for item in plan.results],
        memory=plan.memory,
        max_output=plan.max_output,
    )
    for item in plan.inputs:
        path = folder / "work" / layout.INPUT / item.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((uploads or {})[item.name])
    status = work.run(120)

    def text(path: str) -> str:
        file = folder / "work" / path
        return file.read_text() if file.exists() else ""

    result_path = folder / "work" / layout.OUTPUT / "result"
    (described,) = [item for item in status["outputs"] if item["id"] == "result"] or [{"media_type": None}]
    return Outcome(
        status["state"],
        status["exit_code"],
        status["reason"],
        text(layout.STDOUT),
        text(layout.STDERR),
        text(layout.PROGRESS),
        result_path.read_bytes() if result_path.exists() else None,
        described["media_type"],
    )

"""A service for agents of batch systems: jobs of a shell, each with a ticket, and agents as processes of this machine.

The agent is the zipapp that goes to the nodes. What stands for the batch system is nothing but a folder and a process.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.server import ROOT
from tests.sites.agent_service import SITE, AgentService, serving
from tests.tiers import require
from uws_service.auth import ANONYMOUS
from uws_service.domain.attempt import Attempt
from uws_service.domain.job import Parameter
from uws_service.service.caller import Caller
from uws_service.service.requests import Request
from uws_service.sites.batch import archive, order
from uws_service.store.attempts import Take

SHELL = """
name: shell
title: A shell
description: Runs a script.
command: [sh, -c, 'eval "$UWS_PARAM_SCRIPT"']
parameters:
  - {name: SCRIPT, arraysize: "*", required: true, description: What is run.}
  - {name: TEXT, file: true, required: false, description: A file.}
results:
  - {id: result, path: result, media_type: text/plain, required: false}
  - {id: early, path: early, media_type: text/plain, required: false}
resources: {cpu: 0.1, memory: 64MiB}
limits: {execution_duration: {default: 10s, maximum: 10s}, output: 1MiB}
"""


def old_python() -> str:
    """Return the oldest Python that there is for the agent: 3.9, or else the one that runs this."""
    candidates = [shutil.which("python3.9"), *Path.home().glob(".pyenv/versions/3.9.*/bin/python")]
    for candidate in filter(None, candidates):
        words = [str(candidate), "-c", "import sys; print(sys.version_info[:2])"]
        answer = subprocess.run(words, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == "(3, 9)":
            return str(candidate)
    return sys.executable


@dataclass
class BatchService:
    """The service, and what stands for its batch system."""

    service: AgentService
    folder: Path
    python: str = field(default_factory=old_python)
    starts: int = 0
    user: int | None = None

    def as_nobody(self) -> None:
        """Let agents run as a user who may not read whatever there is, as root may."""
        if os.getuid() == 0:
            self.folder = Path(tempfile.mkdtemp(dir="/tmp"))
            self.folder.chmod(0o755)
            self.user, self.python = 65534, require("/usr/bin/python3")

    async def submit(self, script: str) -> str:
        """Return the id of a job that is at its site, where nothing has begun."""
        runtime = self.service.runtime
        request = Request(parameters=(Parameter("SCRIPT", script),), run=True)
        job, _ = await runtime.service.create(runtime.applications["shell"], Caller(ANONYMOUS), request)
        (attempt,) = await runtime.store.attempts.of(job.id)
        assert await runtime.store.attempts.begin(attempt, Take(attempt.site, 1))
        return job.id

    def ticket(self, job_id: str) -> str:
        tokens = self.service.runtime.agents.tokens
        assert tokens is not None
        return tokens.issue_ticket(SITE, job_id, 1)

    def start(self, job_id: str, **changes: Any) -> subprocess.Popen[str]:
        """Start an agent as a batch system does."""
        self.starts += 1
        node = self.folder / f"node-{self.starts}"
        node.mkdir()
        (node / archive.NAME).write_bytes(archive.agent_archive())
        values = {"url": self.service.url, "ticket": self.ticket(job_id), "heartbeat": 1, "grace": 2, **changes}
        secret = node / order.NAME
        secret.touch(0o600)
        secret.write_text(json.dumps(values))
        if self.user is not None:
            for path in (node, *node.iterdir()):
                os.chown(path, self.user, self.user)
        environment = {"PATH": os.defpath, "TMPDIR": str(node), "SECRET_OF_THE_SITE": "0", "HOME": str(node)}
        return subprocess.Popen(
            [self.python, "-I", archive.NAME, order.NAME],
            cwd=node,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            user=self.user,
        )

    async def run(self, job_id: str, **changes: Any) -> tuple[int, str]:
        """Run an agent to its end.

        Return its exit code and what it printed.
        """
        agent = self.start(job_id, **changes)
        _, output_text = await asyncio.to_thread(agent.communicate, timeout=60)
        return agent.returncode, output_text

    async def attempt(self, job_id: str) -> Attempt:
        (attempt,) = await self.service.runtime.store.attempts.of(job_id)
        return attempt

    async def content(self, files: Any) -> Mapping[str, bytes]:
        """Return what the depot has of reported files, by their ids."""
        depot = self.service.runtime.depot
        return {file.id: b"".join([chunk async for chunk in depot.read(file.source)]) for file in files}


async def end(agent: subprocess.Popen[str], kind: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    """Send a signal to an agent.

    Return its exit code and what it printed once it has ended.
    """
    agent.send_signal(kind)
    _, output_text = await asyncio.to_thread(agent.communicate, timeout=60)
    return agent.returncode, output_text


@asynccontextmanager
async def batch_service(folder: Path) -> AsyncIterator[BatchService]:
    """Run a service with the application `shell`."""
    (folder / "shell.yaml").write_text(SHELL)
    sleep = ROOT / "uws_service" / "apps" / "sleep.yaml"
    async with serving(folder, applications=[sleep, folder / "shell.yaml"]) as service:
        batch = BatchService(service, folder)
        yield batch
        if batch.folder != folder:
            shutil.rmtree(batch.folder)

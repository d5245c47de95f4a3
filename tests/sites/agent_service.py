"""A service on a port, for an agent.

It runs in this process, with one attempt that waits for its agent, and a token for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tests.server import ROOT, free_port
from uws_service.auth import ANONYMOUS
from uws_service.domain.job import Parameter
from uws_service.runtime import Runtime, running
from uws_service.service.backend import Backend
from uws_service.service.caller import Caller
from uws_service.service.requests import Request
from uws_service.settings import Settings
from uws_service.store.attempts import Take
from uws_service.web.app import App

SITE = "local"


@dataclass(frozen=True, slots=True)
class AgentService:
    """A service, its attempt, and an agent's token."""

    runtime: Runtime
    url: str
    job_id: str
    token: str

    def stored(self) -> dict[str, bytes]:
        """Return all that the depot has of the job."""
        assert self.runtime.depot.folder is not None
        top = self.runtime.depot.folder / "jobs" / self.job_id
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    def issue(self) -> str:
        """Return another agent's token for the attempt."""
        assert self.runtime.agents.tokens is not None
        return self.runtime.agents.tokens.issue(SITE, self.job_id, 1)


@asynccontextmanager
async def serving(folder: Path, **changes: Any) -> AsyncIterator[AgentService]:
    """Run a service with a submitted job of `sleep`.

    Nobody drives its site.
    """
    port = free_port()
    sleep = ROOT / "uws_service" / "apps" / "sleep.yaml"
    values = {"controller": False, "builtin_applications": False, "applications": [sleep], **changes}
    settings = Settings.load(data=folder / "data", **values)
    runtimes: list[Runtime] = []

    @asynccontextmanager
    async def open_backend() -> AsyncIterator[Backend]:
        async with running(settings) as runtime:
            runtimes.append(runtime)
            yield runtime.backend()

    app = App(settings, open_backend)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, access_log=False))
    serve = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
            assert not serve.done()
        (runtime,) = runtimes
        request = Request(parameters=(Parameter("SECONDS", "0"),), run=True)
        job, _ = await runtime.service.create(runtime.applications["sleep"], Caller(ANONYMOUS), request)
        (attempt,) = await runtime.store.attempts.of(job.id)
        assert await runtime.store.attempts.begin(attempt, Take(attempt.site, 1))
        assert runtime.agents.tokens is not None
        token = runtime.agents.tokens.issue(SITE, job.id, 1)
        yield AgentService(runtime, f"http://127.0.0.1:{port}", job.id, token)
    finally:
        server.should_exit = True
        await serve

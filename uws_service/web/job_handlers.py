"""What all handlers of a job's resources share."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import Request

from uws_service.applications.parameters import single_value
from uws_service.auth.policy import Policy
from uws_service.domain.job import Job
from uws_service.service.backend import Backend
from uws_service.web.call import call_of
from uws_service.web.faces.registry import Faces
from uws_service.web.intake import Posted, posted
from uws_service.web.opus import OpusResults

SMALL_FORM_BYTES = 65536
NEW_JOBS = "/{application}/async"
"""The resource that makes jobs."""


class JobPath(NamedTuple):
    """The job that a path names."""

    application: str
    job_id: str

    @classmethod
    def of(cls, request: Request) -> JobPath:
        """Return the job that a request is for."""
        return cls(request.path_params["application"], request.path_params["job_id"])


class JobHandlers:
    """Handlers of resources below ``/{application}/async``."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        self.backend = backend
        self.faces = faces
        self.service = backend.service
        self.limits = backend.limits
        self.opus = OpusResults(backend)

    async def _job(self, request: Request, *, write: bool = False) -> Job:
        """Return a request's job, if its caller may read it.

        ``write``: if the caller may change it.
        """
        path = JobPath.of(request)
        return await self.service.get(path.application, path.job_id, call_of(request).caller, write=write)

    async def _require_new_jobs(self, request: Request) -> None:
        """Raise unless the caller may make jobs of the application, too, at the rates for new jobs."""
        gate = call_of(request).gate
        assert gate is not None, "the gate has admitted the request"
        application = JobPath.of(request).application
        await gate.require_also(request.scope, Policy.USE, NEW_JOBS, "POST", {"application": application})

    def _small_form(self, request: Request, job_id: str) -> AbstractAsyncContextManager[Posted]:
        """Open a form of control words, without files."""
        limits = self.limits.model_copy(update={"body": SMALL_FORM_BYTES, "files": 0, "parameters": 50})
        return posted(request, self.backend.uploads, limits, job_id)


def query_values(request: Request) -> dict[str, list[str]]:
    """Return the query's parameters by upper-case name (D-020)."""
    values: dict[str, list[str]] = {}
    # Not starlette's `query_params`, which the request would keep as long as it waits.
    for name, value in parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True):
        values.setdefault(name.upper(), []).append(value)
    return values


def query_value(query: dict[str, list[str]], name: str) -> str | None:
    """Return the only value of a query's parameter."""
    return single_value(name, query.get(name, []))

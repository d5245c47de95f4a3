"""Names and lives of jobs that are there already (no part of UWS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from uws_service.applications import Application
from uws_service.applications.bounds import clamp_destruction
from uws_service.domain.errors import Forbidden, NotFound
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job, Phase
from uws_service.service.access import JobAccess
from uws_service.service.caller import Caller


class Upkeep:
    """Renames jobs, and keeps them longer."""

    def __init__(self, access: JobAccess, applications: Mapping[str, Application]) -> None:
        self._access = access
        self._applications = applications

    async def extend(self, application: str, job_id: str, caller: Caller, milliseconds: int) -> Job:
        """Keep a job longer, within the application's limits.

        One that is never destroyed stays as it is.
        """

        def decide(job: Job) -> Job:
            if job.phase is Phase.ARCHIVED:
                raise Forbidden("The job is archived; its results are gone.")
            spec = self._applications.get(application)
            if spec is None:
                raise NotFound(f"The application {application!r} is no longer here; its jobs can't be kept longer.")
            if job.destruction is None:
                return job
            now = self._access.clock()
            limited = clamp_destruction(spec, job.created, max(job.destruction, now) + milliseconds, now)
            return job if limited <= job.destruction else replace(job, destruction=limited)

        return await self._access.change(application, job_id, caller, EventKind.DESTRUCTION, decide)

    async def rename(self, application: str, job_id: str, caller: Caller, name: str | None) -> Job:
        """Give a job another RUNID, in any phase.

        None takes it away.
        """

        def decide(job: Job) -> Job:
            return job if job.run_id == name else replace(job, run_id=name)

        return await self._access.change(application, job_id, caller, EventKind.PARAMETERS, decide)

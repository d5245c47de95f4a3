"""Gathers what the page of a job shows: attempts, history, the ends of its logs, its face's part."""

from __future__ import annotations

from markupsafe import Markup

from uws_service.auth import require_access
from uws_service.domain.attempt import Attempt
from uws_service.domain.errors import UwsError
from uws_service.domain.job import FINAL, Job
from uws_service.protocol.provenance import JobRecord
from uws_service.protocol.uws import JobInfoView, JobUrls
from uws_service.service.backend import Backend
from uws_service.web.call import Call
from uws_service.web.faces.registry import Faces
from uws_service.web.job_page import JobView, LogTail
from uws_service.web.picture import picture_section

TAIL_BYTES = 8192
"""Of the end of a log that the page shows."""


class JobOverview:
    """Reads what belongs to the page of a job."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        self.backend = backend
        self.faces = faces
        self.service = backend.service

    async def view(self, job: Job, call: Call, urls: JobUrls) -> JobView:
        """Return what the page of a job shows beside the job itself."""
        application = self.service.application(job.application)
        attempts = await self.service.views.attempts(job.id)
        section = await self.faces.of(application).job_section(job)
        origin = Markup()
        if job.phase in FINAL:
            origin = picture_section(JobRecord(job, application, attempts), call.base)
        may_change = owns(job, call)
        return JobView(
            application=application,
            attempts=attempts,
            events=await self.service.views.events(job.id),
            logs=await self._logs(job, attempts, urls),
            section=section,
            origin=origin,
            may_change=may_change,
            may_share=may_change and job.owner is not None,
        )

    async def _logs(self, job: Job, attempts: list[Attempt], urls: JobUrls) -> list[LogTail]:
        tails = []
        for name, url, size in JobInfoView.of(job, urls).logs:
            content = await self._tail(job, attempts, name, size)
            if content is not None:
                is_cut = len(content) >= TAIL_BYTES and (size is None or size > TAIL_BYTES)
                tails.append(LogTail(name, url, content[-TAIL_BYTES:].decode(errors="replace"), size, is_cut))
        return tails

    async def _tail(self, job: Job, attempts: list[Attempt], name: str, size: int | None) -> bytes | None:
        """Return the end of a log; None if there is none."""
        if size is not None:
            key = f"jobs/{job.id}/logs/{name}"
            stored = await self.backend.depot.head(key)
            if stored is not None:
                start = max(0, stored.size - TAIL_BYTES)
                return b"".join([bytes(chunk) async for chunk in self.backend.depot.read(key, start)])
        for attempt in reversed(attempts):
            text = await self.backend.live_log(attempt, name)
            if text is not None:
                return text
        return None


def owns(job: Job, call: Call) -> bool:
    """Return whether the caller uses the job by their own right, and not by a share."""
    try:
        require_access(job.owner, call.identity)
    except UwsError:
        return False
    return True

"""What the writers need beside the job: absolute URLs, and jobInfo in a form that can be shown."""

from __future__ import annotations

from dataclasses import replace

from uws_service.domain.job import Job
from uws_service.protocol.uws import JobInfoView, JobUrls
from uws_service.service.jobs import Service
from uws_service.web.edge import Call


def job_urls(call: Call, application: str) -> JobUrls:
    """Absolute URLs of an application's jobs (U-011)."""
    return JobUrls(f"{call.base}/{application}/async")


async def info_view(service: Service, job: Job, urls: JobUrls) -> tuple[Job, JobInfoView]:
    """Return the job and its jobInfo; for a queued job with its place in the queue as it is now."""
    job = replace(job, info=await service.views.queue_info(job))
    return job, JobInfoView.of(job, urls)

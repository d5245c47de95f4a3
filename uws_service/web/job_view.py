"""Absolute URLs and jobInfo for the documents of jobs."""

from __future__ import annotations

from dataclasses import replace

from uws_service.domain.job import Job
from uws_service.protocol.uws import JobInfoView, JobUrls
from uws_service.service.jobs import Service
from uws_service.web.call import Call


def job_urls(call: Call, application: str) -> JobUrls:
    """Absolute URLs of an application's jobs (U-011)."""
    return JobUrls(f"{call.base}/{application}/async")


async def info_view(service: Service, job: Job, urls: JobUrls) -> tuple[Job, JobInfoView]:
    """Return a job and its jobInfo.

    A queued job has its place in the queue as it is now.
    """
    job = replace(job, info=await service.views.queue_info(job))
    return job, JobInfoView.of(job, urls)

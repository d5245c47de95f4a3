"""What the writers need beside the job: absolute URLs, and jobInfo in a form that can be shown."""

from __future__ import annotations

from dataclasses import replace

from uws_service.attempt import AttemptState
from uws_service.job import Job, Phase
from uws_service.protocol.uws import JobInfoView, JobUrls
from uws_service.store import Store
from uws_service.web.edge import Call

MANY = 1000
"""Jobs ahead are counted up to here."""


def job_urls(call: Call, application: str) -> JobUrls:
    """Absolute URLs of an application's jobs (U-011)."""
    return JobUrls(f"{call.base}/{application}/async")


async def info_view(store: Store, job: Job, urls: JobUrls) -> tuple[Job, JobInfoView]:
    """The job and its jobInfo; for a queued job with its place in the queue as it is now."""
    if job.phase is Phase.QUEUED:
        attempts = await store.attempts(job.id)
        if not attempts or attempts[-1].state is AttemptState.WAITING:
            ahead = await store.waiting_ahead(attempts[-1], cap=MANY) if attempts else 0
            info = {**job.info, "ahead": ahead}
            slots = attempts[-1].owner_slots if attempts else None
            if slots is not None and await store.at_work(attempts[-1].owner) >= slots:
                info["waiting"] = f"{slots} of your jobs run; more of them wait"
            job = replace(job, info=info)
    return job, JobInfoView.of(job, urls)

"""What an attempt runs.

The launch that was made at RUN and is kept with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from uws_service.applications import Application, check, launch
from uws_service.data.replicas import Storage, bind
from uws_service.domain.attempt import Attempt, Launch
from uws_service.domain.errors import NotFound
from uws_service.domain.job import Job
from uws_service.store import Store


async def launch_of(
    store: Store,
    applications: Mapping[str, Application],
    job: Job,
    attempt: Attempt,
    storage: Sequence[Storage] | None = None,
) -> Launch:
    """Return the launch of an attempt.

    With storage areas, the files of its data sets are inputs at a site with these.

    For one of an older version, which kept none, make it from the job.

    Raises
    ------
    NotFound
        There is no such application any more.
    UsageError
        A file can be neither mounted nor fetched at the site; or the launch must be made, and the application's
        descriptor does not take the parameters any more.
    """
    application = applications.get(job.application)
    if application is None:
        raise NotFound(f"There is no application {job.application!r} now.")
    stored = await store.attempts.launch(attempt.job_id, attempt.number)
    if stored is not None:
        return stored if storage is None or not stored.data else await asyncio.to_thread(bind, stored, storage)
    return replace(launch(application, job, check(application, job.parameters), attempt.number), group=attempt.group)

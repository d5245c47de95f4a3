"""The records of jobs, and of those before and after them, as far as their caller may see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from uws_service.domain.errors import AuthenticationRequired, Forbidden, NotFound
from uws_service.domain.job import FINAL, Job
from uws_service.protocol.provenance import JobRecord, own_result
from uws_service.service.caller import Caller
from uws_service.service.jobs import Service

MAX_JOBS = 100
"""Jobs of one document."""

Check = Callable[[str, str], Awaitable[None]]
"""Raises unless the caller may read the job of an application and an id, beside what the service itself checks."""


class Reach(NamedTuple):
    """How far to go from a job.

    How many steps, and whether to what came before, or after.
    """

    depth: int = 0
    back: bool = True


class Records:
    """Reads the records of jobs; changes nothing."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def record(self, application: str, job_id: str, caller: Caller) -> JobRecord:
        """Return the record of a job that has ended (P-012).

        Raises
        ------
        NotFound
            It has not ended; or see `Service.get`.
        """
        job = await self.service.get(application, job_id, caller)
        if job.phase not in FINAL:
            raise NotFound(f"The job has not ended: its phase is {job.phase.value}. Its record is complete then.")
        return await self._of(job)

    async def _of(self, job: Job) -> JobRecord:
        attempts = await self.service.views.attempts(job.id)
        return JobRecord(job, self.service.applications.get(job.application), tuple(attempts))

    async def around(
        self, start: tuple[str, str], caller: Caller, reach: Reach, base: str, check: Check
    ) -> list[JobRecord]:
        """Return the record of a job, and those of jobs before or after it.

        Jobs that the caller may not see are left out without a word; those that have not ended too.
        """
        await check(*start)
        records = [await self.record(*start, caller)]
        visited = {start[1]}
        edge = [records[0]]
        for _ in range(reach.depth):
            following: list[JobRecord] = []
            for record in edge:
                for neighbour in await self._neighbours(record, reach.back, base):
                    if neighbour[1] in visited or len(visited) >= MAX_JOBS:
                        continue
                    visited.add(neighbour[1])
                    found_record = await self._visible(neighbour, caller, check)
                    if found_record is not None:
                        following.append(found_record)
            if not following:
                break
            records += following
            edge = following
        return records

    async def _neighbours(self, record: JobRecord, back: bool, base: str) -> list[tuple[str, str]]:
        if not back:
            return await self.service.store.sources.followers(record.job.id, MAX_JOBS)
        results = [own_result(source.source, base) for source in record.inputs()]
        return [(result.application, result.job_id) for result in results if result is not None]

    async def _visible(self, job: tuple[str, str], caller: Caller, check: Check) -> JobRecord | None:
        try:
            await check(*job)
            return await self.record(*job, caller)
        except (NotFound, Forbidden, AuthenticationRequired):
            return None

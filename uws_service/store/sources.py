"""Which jobs have results of which others as their inputs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from uws_service.domain.job import Job
from uws_service.domain.record import source_jobs
from uws_service.store.database import Database, Query, Transaction
from uws_service.store.tables import JOB_TABLE, SOURCE_TABLE

p = bindparam
_job: Any = JOB_TABLE.c
_source: Any = SOURCE_TABLE.c
_INSERT = Query(insert(SOURCE_TABLE).values(source=p("source"), job_id=p("job_id")))
_DELETE = Query(delete(SOURCE_TABLE).where(_source.job_id == p("job_id")))
_FOLLOWERS = Query(
    select(_job.application, _job.id)
    .join(SOURCE_TABLE, _source.job_id == _job.id)
    .where(_source.source == p("source"))
    .order_by(_job.id)
    .limit(p("page", required=True))
)


def put_sources(tx: Transaction, job: Job) -> None:
    """Record whose results a new job has as inputs, within a transaction."""
    for source in sorted(source_jobs(parameter.value for parameter in job.parameters)):
        tx.change(_INSERT, {"source": source, "job_id": job.id})


def replace_sources(tx: Transaction, before: Job, after: Job | None) -> None:
    """Record it anew for a job with other parameters, or for one that is deleted (None)."""
    if source_jobs(parameter.value for parameter in before.parameters):
        tx.change(_DELETE, {"job_id": before.id})
    if after is not None:
        put_sources(tx, after)


class Sources:
    """Finds the jobs that come after a job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def followers(self, job_id: str, limit: int) -> list[tuple[str, str]]:
        """Return application and id of the jobs that name a result of a job, oldest first."""
        rows = await self._database.read(_FOLLOWERS, {"source": job_id, "page": limit})
        return [(row[0], row[1]) for row in rows]

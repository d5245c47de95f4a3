"""What those who follow many jobs read of them: where all stand, and how far some are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select

from uws_service.domain.job import Phase, Standing
from uws_service.store.database import Database, Query
from uws_service.store.tables import JOB_TABLE

p = bindparam
job: Any = JOB_TABLE.c
PROGRESS_JOBS = 50
"""Jobs of one statement."""


class Progress(NamedTuple):
    """How far a running job is.

    0..1, and its own words.
    """

    application: str
    progress: float | None
    message: str


@lru_cache(2)
def standings(of_application: bool) -> Query:
    """Return the statement for the newest jobs of an owner."""
    terms = [job.owner_key == p("owner_key"), job.listed.is_(True)]
    if of_application:
        terms.append(job.application == p("application"))
    columns = [job[name] for name in Standing._fields]
    newest = select(*columns).where(*terms).order_by(job.created.desc(), job.id.desc())
    return Query(newest.limit(p("page", required=True)))


INFOS = Query(
    select(job.id, job.application, job.info).where(job.id.in_([p(f"id{number}") for number in range(PROGRESS_JOBS)]))
)


FINISHED = Query(
    select(job.id, job.application, job.phase, job.run_id, job.ended)
    .where(job.owner_key == p("owner_key"), job.ended.is_not(None), job.listed.is_(True))
    .order_by(job.ended.desc(), job.id.desc())
    .limit(p("page", required=True))
)


COUNT = Query(
    select(func.count()).select_from(
        select(job.id)
        .where(job.application == p("application"), job.phase == p("phase"))
        .limit(p("page", required=True))
        .subquery()
    )
)


class Overview:
    """Reads a little of many jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def standings(self, owner_key: str, application: str | None, limit: int) -> list[Standing]:
        """Return where an owner's newest jobs stand, the newest first."""
        values = {"owner_key": owner_key, "page": limit}
        if application is not None:
            values["application"] = application
        rows = await self._database.read(standings(application is not None), values)
        return [Standing(row[0], row[1], Phase(row[2]), *row[3:]) for row in rows]

    async def count(self, application: str, phase: Phase, limit: int) -> int:
        """Return how many jobs of an application are in a phase, at most ``limit``."""
        values = {"application": application, "phase": phase.value, "page": limit}
        return int((await self._database.read(COUNT, values))[0][0])

    async def finished(self, owner_key: str, limit: int) -> list[tuple[str, str, Phase, str | None, int]]:
        """Return id, application, phase, RUNID and end of an owner's jobs that ended last, the latest first."""
        rows = await self._database.read(FINISHED, {"owner_key": owner_key, "page": limit})
        return [(row[0], row[1], Phase(row[2]), row[3], row[4]) for row in rows]

    async def progress(self, job_ids: Sequence[str]) -> dict[str, Progress]:
        """Return how far these jobs are, as many as `PROGRESS_JOBS`."""
        padded = [*job_ids[:PROGRESS_JOBS], *[""] * (PROGRESS_JOBS - len(job_ids))]
        rows = await self._database.read(INFOS, {f"id{number}": name for number, name in enumerate(padded)})
        infos = ((row[0], row[1], json.loads(row[2])) for row in rows)
        return {name: Progress(app, info.get("progress"), info.get("message") or "") for name, app, info in infos}

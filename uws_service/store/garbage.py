"""Jobs whose files are to be removed, once nothing of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.domain.ids import now_ms
from uws_service.store.database import Database, Query, Transaction
from uws_service.store.tables import ATTEMPT_TABLE, GARBAGE_TABLE, JOB_TABLE

p = bindparam
job: Any = JOB_TABLE.c
attempt: Any = ATTEMPT_TABLE.c
garbage: Any = GARBAGE_TABLE.c


def _insert_garbage(kind: Any) -> Any:
    """Return the insertion.

    A deleted job may be garbage already.
    """
    values: dict[str, Any] = {"job_id": p("job_id"), "since": p("since")}
    return kind.insert(GARBAGE_TABLE).values(values).on_conflict_do_nothing(index_elements=["job_id"])


INSERT_GARBAGE = Query(_insert_garbage(sqlite), _insert_garbage(postgresql))
GARBAGE = Query(
    select(garbage.job_id)
    .where(
        ~select(attempt.job_id)
        .where(attempt.job_id == garbage.job_id, attempt.state != literal_column("'CLOSED'"))
        .exists()
    )
    .order_by(garbage.since)
    .limit(p("page", required=True))
)
GARBAGE_DONE = Query(delete(GARBAGE_TABLE).where(garbage.job_id == p("key")))
REFERENCED = Query(
    select(job.id).where(job.id == p("id")).union_all(select(garbage.job_id).where(garbage.job_id == p("id")))
)


def add_garbage(tx: Transaction, job_id: str) -> None:
    """Mark a job's files for removal, within a transaction."""
    tx.change(INSERT_GARBAGE, {"job_id": job_id, "since": now_ms()})


class Garbage:
    """The jobs whose files are to be removed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def removable(self, limit: int) -> list[str]:
        """Return jobs whose files can be removed now."""
        return [row[0] for row in await self._database.read(GARBAGE, {"page": limit})]

    async def remove(self, job_id: str) -> None:
        """Record that a job's files are removed."""
        await self._database.write(lambda tx: tx.change(GARBAGE_DONE, {"key": job_id}))

    async def referenced(self, ids: Sequence[str]) -> set[str]:
        """Return the ids that belong to a job or to garbage."""
        return {row[0] for job_id in ids for row in await self._database.read(REFERENCED, {"id": job_id})}

"""The history of jobs: an event for each change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, literal_column, select

from uws_service.domain.events import EventKind, JobEvent
from uws_service.domain.ids import now_ms
from uws_service.domain.job import Job, Phase
from uws_service.store.database import Database, Query, Transaction
from uws_service.store.outbox import put_deliveries
from uws_service.store.rows import Event, event_of, json_text
from uws_service.store.tables import EVENT_TABLE

CHANNEL = "uws_event"
p = bindparam
event: Any = EVENT_TABLE.c

_EVENT = ("job_id", "at", "kind", "phase", "version", "actor", "origin", "detail", "application", "owner_key")
_INSERT = insert(EVENT_TABLE).values({name: p(name) for name in _EVENT})
_NOTIFY = func.pg_notify(literal_column(f"'{CHANNEL}'"), literal_column("''"))
INSERT_EVENT = Query(_INSERT.returning(event.seq), _INSERT.returning(event.seq, _NOTIFY))
"""On PostgreSQL the same statement tells other processes of the event, when it is committed."""
EVENTS = Query(
    select(event.seq, event.at, event.kind, event.phase, event.version, event.actor, event.origin, event.detail)
    .where(event.job_id == p("job_id"))
    .order_by(event.seq)
)
LAST_EVENT = Query(select(func.coalesce(func.max(event.seq), literal_column("0"))))
FIRST_EVENT = Query(select(func.min(event.seq)))
_PUBLIC = [event[name] for name in JobEvent._fields]
EVENTS_SINCE = Query(select(*_PUBLIC).where(event.seq > p("since")).order_by(event.seq).limit(p("page", required=True)))
EVENTS_BETWEEN = Query(select(*_PUBLIC).where(event.seq >= p("first"), event.seq <= p("final")).order_by(event.seq))
EVENTS_OF_JOB = Query(
    select(*_PUBLIC)
    .where(event.job_id == p("job_id"), event.seq > p("since"))
    .order_by(event.seq)
    .limit(p("page", required=True))
)
EVENTS_OF_OWNER = Query(
    select(*_PUBLIC)
    .where(event.owner_key == p("owner_key"), event.seq > p("since"), event.seq <= p("final"))
    .order_by(event.seq)
    .limit(p("page", required=True))
)
TRIM_EVENTS = Query(delete(EVENT_TABLE).where(event.at < p("before")))


class History:
    """The events of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        tx: Transaction,
        job_id: str,
        kind: EventKind,
        phase: Phase,
        version: int,
        *,
        application: str,
        owner: str | None,
        actor: str,
        origin: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an event; other processes are told of it."""
        values: dict[str, Any] = {
            "job_id": job_id,
            "at": now_ms(),
            "kind": kind.value,
            "phase": phase.value,
            "version": version,
            "actor": actor,
            "origin": origin,
            "detail": json_text(dict(detail)) if detail else None,
            "application": application,
            "owner_key": owner or "",
        }
        seq = int(tx.rows(INSERT_EVENT, values)[0][0])
        put_deliveries(
            tx, JobEvent(seq, job_id, version, values["at"], kind.value, phase.value, application, owner or "")
        )

    def record(
        self,
        tx: Transaction,
        job: Job,
        kind: EventKind,
        actor: str,
        origin: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an event of a job as it is now; see `append`."""
        self.append(
            tx,
            job.id,
            kind,
            job.phase,
            job.version,
            application=job.application,
            owner=job.owner,
            actor=actor,
            origin=origin,
            detail=detail,
        )

    async def of(self, job_id: str) -> list[Event]:
        """Return the events of a job, first to last."""
        return [event_of(row) for row in await self._database.read(EVENTS, {"job_id": job_id})]

    async def of_job_since(self, job_id: str, since: int, page: int) -> list[JobEvent]:
        """Return the first events of a job above a number."""
        values = {"job_id": job_id, "since": since, "page": page}
        return [JobEvent(*row) for row in await self._database.read(EVENTS_OF_JOB, values)]

    async def of_owner_between(self, owner_key: str, since: int, final: int, page: int) -> list[JobEvent]:
        """Return the first events of an owner's jobs above a number, up to another."""
        values = {"owner_key": owner_key, "since": since, "final": final, "page": page}
        return [JobEvent(*row) for row in await self._database.read(EVENTS_OF_OWNER, values)]

    async def span(self) -> tuple[int, int]:
        """Return the numbers of the first and the last event; (1, 0) if there are none."""
        first = (await self._database.read(FIRST_EVENT, {}))[0][0]
        return (int(first), int((await self._database.read(LAST_EVENT, {}))[0][0])) if first is not None else (1, 0)

    async def trim(self, before: int) -> int:
        """Delete the events before an instant.

        Return their number.
        """
        return await self._database.write(lambda tx: tx.change(TRIM_EVENTS, {"before": before}))

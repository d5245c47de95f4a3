"""The history of jobs: an event for each change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, literal_column, select

from uws_service.domain.events import EventKind
from uws_service.domain.ids import now_ms
from uws_service.domain.job import Phase
from uws_service.store.database import Database, Query, Transaction
from uws_service.store.rows import Event, event_of, json_text
from uws_service.store.tables import EventRow

CHANNEL = "uws_event"
p = bindparam
event: Any = EventRow.__table__.c  # type: ignore[attr-defined]

_EVENT = ("job_id", "at", "kind", "phase", "version", "actor", "origin", "detail")
INSERT_EVENT = Query(insert(EventRow).values({name: p(name) for name in _EVENT}).returning(event.seq))
EVENTS = Query(
    select(event.seq, event.at, event.kind, event.phase, event.version, event.actor, event.origin, event.detail)
    .where(event.job_id == p("job_id"))
    .order_by(event.seq)
)
LAST_EVENT = Query(select(func.coalesce(func.max(event.seq), literal_column("0"))))
EVENTS_SINCE = Query(
    select(event.seq, event.job_id, event.version)
    .where(event.seq > p("since"))
    .order_by(event.seq)
    .limit(p("page", required=True))
)
EVENTS_BETWEEN = Query(
    select(event.seq, event.job_id, event.version).where(event.seq >= p("first"), event.seq <= p("final"))
)
TRIM_EVENTS = Query(delete(EventRow).where(event.at < p("before")))
NOTIFY = Query(select(func.pg_notify(p("channel"), p("payload"))))


class History:
    """The events of all jobs.

    Parameters
    ----------
    notify
        Whether the database tells other processes of each event.
    """

    def __init__(self, database: Database, *, notify: bool) -> None:
        self._database = database
        self._notify = notify

    def append(
        self,
        tx: Transaction,
        job_id: str,
        kind: EventKind,
        phase: Phase,
        version: int,
        *,
        actor: str,
        origin: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an event, and notify other processes."""
        values = {
            "job_id": job_id,
            "at": now_ms(),
            "kind": kind.value,
            "phase": phase.value,
            "version": version,
            "actor": actor,
            "origin": origin,
            "detail": json_text(dict(detail)) if detail else None,
        }
        tx.rows(INSERT_EVENT, values)
        if self._notify:
            tx.rows(NOTIFY, {"channel": CHANNEL, "payload": ""})

    async def of(self, job_id: str) -> list[Event]:
        """Return the events of a job, first to last."""
        return [event_of(row) for row in await self._database.read(EVENTS, {"job_id": job_id})]

    async def trim(self, before: int) -> int:
        """Delete the events before an instant; return their number."""
        return await self._database.write(lambda tx: tx.change(TRIM_EVENTS, {"before": before}))

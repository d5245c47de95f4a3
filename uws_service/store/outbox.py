"""Notices of an event, written in its transaction, so that none is lost and none is made of what did not happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Text, bindparam, cast, func, insert, literal_column, or_, select

from uws_service.domain.events import EVENT_NAMES, JobEvent
from uws_service.store.database import Query, Transaction
from uws_service.store.rows import json_text
from uws_service.store.tables import DELIVERY_TABLE, SUBSCRIPTION_TABLE

p = bindparam
_subscription: Any = SUBSCRIPTION_TABLE.c
_DELIVERY = ("subscription_id", "number", "payload", "due", "tries", "created")


def _insert_deliveries(find: Any) -> Any:
    """Return the statement.

    ``find`` is the database's function for the place of a text in another.
    """
    now = cast(p("now"), BigInteger)
    nothing: Any = literal_column("0")
    empty: Any = literal_column("''")

    def holds(column: Any, name: str) -> Any:
        return find(column, cast(p(name), Text)) > nothing

    def may_hold(column: Any, name: str) -> Any:
        return or_(column == empty, holds(column, name))

    source = select(
        _subscription.id,
        cast(p("seq"), BigInteger),
        cast(p("payload"), Text),
        _subscription.delay + now,
        nothing,
        now,
    ).where(
        _subscription.owner == p("owner"),
        _subscription.disabled.is_(None),
        _subscription.kind != literal_column("'feed'"),
        or_(_subscription.job_id == empty, _subscription.job_id == p("job_id")),
        holds(_subscription.events, "event"),
        may_hold(_subscription.phases, "phase"),
        may_hold(_subscription.applications, "application"),
    )
    return insert(DELIVERY_TABLE).from_select(_DELIVERY, source)


_INSERT_DELIVERIES = Query(_insert_deliveries(func.instr), _insert_deliveries(func.strpos))


def marked(word: str) -> str:
    """Return a word as it is found in a stored list."""
    return f",{word},"


def payload_of(event: JobEvent) -> Mapping[str, Any]:
    """Return what a notice keeps of an event.

    URLs are made when it is sent.
    """
    return {"seq": event.seq, **event._asdict(), "owner_key": ""}


def put_deliveries(tx: Transaction, event: JobEvent) -> None:
    """Write a notice of an event for each subscription that wants it."""
    name = EVENT_NAMES.get(event.kind)
    if name is None or not event.owner_key:
        return
    values = {
        "now": event.at,
        "seq": event.seq,
        "payload": json_text(payload_of(event)),
        "owner": event.owner_key,
        "job_id": event.job_id,
        "event": marked(name),
        "phase": marked(event.phase) if name == "phase" else "",
        "application": marked(event.application),
    }
    tx.change(_INSERT_DELIVERIES, values)

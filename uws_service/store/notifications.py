"""Subscriptions and the notices that wait, claimed by whichever process is first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, literal_column, null, select, update

from uws_service.domain.notification import Delivery, Kind, Subscription, Wish
from uws_service.store.database import Database, Query, Row, Transaction
from uws_service.store.tables import DELIVERY_TABLE, JOB_TABLE, SUBSCRIPTION_TABLE

p = bindparam
_subscription: Any = SUBSCRIPTION_TABLE.c
_delivery: Any = DELIVERY_TABLE.c
_job: Any = JOB_TABLE.c
_COLUMNS = (
    "id", "kind", "owner", "job_id", "target", "events", "phases", "applications", "base", "created", "locked",
    "previous", "previous_until", "delay", "failing_since", "disabled", "message",
)  # fmt: skip
_FIELDS = ("subscription_id", "number", "payload", "due", "tries", "created")
_ALL = [_subscription[name] for name in _COLUMNS]
MAX_MESSAGE_CHARACTERS = 300

# Of one owner, one after the other: else several at once would pass the bound.
_LOCK_OWNER = Query(select(literal_column("1")), select(func.pg_advisory_xact_lock(func.hashtext(p("owner")))))
_OF_OWNER = _subscription.owner == p("owner")
_COUNT = Query(select(func.count()).where(_OF_OWNER, _subscription.job_id == p("job_id")))
_COUNT_OF_JOBS = Query(select(func.count()).where(_OF_OWNER, _subscription.job_id != literal_column("''")))
_INSERT = Query(insert(SUBSCRIPTION_TABLE).values({name: p(f"v_{name}") for name in _COLUMNS}))
_LIST = Query(
    select(*_ALL)
    .where(_subscription.owner == p("owner"), _subscription.job_id == p("job_id"))
    .order_by(_subscription.created, _subscription.id)
)
_GET = Query(select(*_ALL).where(_subscription.id == p("key")))
_DELETE = Query(delete(SUBSCRIPTION_TABLE).where(_subscription.id == p("key")))
_DELETE_WAITING = Query(delete(DELIVERY_TABLE).where(_delivery.subscription_id == p("key")))
_ROTATE = Query(
    update(SUBSCRIPTION_TABLE)
    .where(_subscription.id == p("key"))
    .values(locked=p("fresh"), previous=p("old"), previous_until=p("until"))
)
_ENABLE = Query(
    update(SUBSCRIPTION_TABLE)
    .where(_subscription.id == p("key"))
    .values(disabled=null(), failing_since=null(), message=literal_column("''"))
)
_SUCCEEDED = Query(
    update(SUBSCRIPTION_TABLE)
    .where(_subscription.id == p("key"), _subscription.failing_since.is_not(None))
    .values(failing_since=null(), message=literal_column("''"))
)
_FAILED = Query(
    update(SUBSCRIPTION_TABLE)
    .where(_subscription.id == p("key"))
    .values(failing_since=func.coalesce(_subscription.failing_since, p("at")), message=p("words"))
)
_DISABLE = Query(
    update(SUBSCRIPTION_TABLE).where(_subscription.id == p("key")).values(disabled=p("at"), message=p("words"))
)
_PUT = Query(insert(DELIVERY_TABLE).values({name: p(f"v_{name}") for name in _FIELDS}))
_IS_DUE = Query(select(_delivery.due).order_by(_delivery.due).limit(literal_column("1")))
_WHOSE_TURN = Query(
    select(_delivery.subscription_id, func.min(_delivery.due))
    .where(_delivery.due <= p("now"))
    .group_by(_delivery.subscription_id)
    .order_by(func.min(_delivery.due))
    .limit(p("page", required=True))
)
_DUE_OF = Query(
    select(*[_delivery[name] for name in _FIELDS])
    .where(_delivery.subscription_id == p("key"), _delivery.due <= p("now"))
    .order_by(_delivery.due, _delivery.number)
    .limit(p("page", required=True))
)
_TAKE = Query(
    update(DELIVERY_TABLE)
    .where(_delivery.subscription_id == p("key"), _delivery.number == p("seq"), _delivery.due == p("before"))
    .values(due=p("until"))
)
_POSTPONE = Query(
    update(DELIVERY_TABLE)
    .where(_delivery.subscription_id == p("key"), _delivery.number == p("seq"))
    .values(due=p("at"), tries=p("count"))
)
_POSTPONE_ALL = Query(
    update(DELIVERY_TABLE).where(_delivery.subscription_id == p("key"), _delivery.due < p("at")).values(due=p("at"))
)
_HASTEN = Query(
    update(DELIVERY_TABLE).where(_delivery.subscription_id == p("key"), _delivery.due > p("at")).values(due=p("at"))
)
_END = Query(delete(DELIVERY_TABLE).where(_delivery.subscription_id == p("key"), _delivery.number == p("seq")))
_TRIM = Query(
    delete(SUBSCRIPTION_TABLE).where(
        _subscription.job_id != literal_column("''"),
        ~select(_job.id).where(_job.id == _subscription.job_id).exists(),
        ~select(_delivery.number).where(_delivery.subscription_id == _subscription.id).exists(),
    )
)
_TRIM_DELIVERIES = Query(
    delete(DELIVERY_TABLE).where(
        ~select(_subscription.id).where(_subscription.id == _delivery.subscription_id).exists()
    )
)


def _words(items: Sequence[str]) -> str:
    return f",{','.join(items)}," if items else ""


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.strip(",").split(",")) if text else ()


def _values(entry: Subscription) -> dict[str, Any]:
    wish = entry.wish
    lists = {"events": _words(wish.events), "phases": _words(wish.phases), "applications": _words(wish.applications)}
    return {f"v_{name}": lists[name] if name in lists else getattr(entry, name) for name in _COLUMNS}


def _entry(row: Row) -> Subscription:
    fields = dict(zip(_COLUMNS, row, strict=True))
    wish = Wish(*(_split(fields.pop(name)) for name in ("events", "phases", "applications")))
    return Subscription(**{**fields, "kind": Kind(fields["kind"])}, wish=wish)


class Notifications:
    """Subscriptions and notices of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: Subscription, limit: int, jobs_limit: int) -> bool:
        """Insert a subscription.

        False: there are as many as may be for these jobs, or for single jobs together.
        """

        def operation(tx: Transaction) -> bool:
            tx.rows(_LOCK_OWNER, {"owner": entry.owner})
            if int(tx.rows(_COUNT, {"owner": entry.owner, "job_id": entry.job_id})[0][0]) >= limit:
                return False
            if entry.job_id and int(tx.rows(_COUNT_OF_JOBS, {"owner": entry.owner})[0][0]) >= jobs_limit:
                return False
            tx.change(_INSERT, _values(entry))
            return True

        return await self._database.write(operation)

    async def entries(self, owner: str, job_id: str = "") -> list[Subscription]:
        """Return an owner's subscriptions to all jobs, or to one."""
        return [_entry(row) for row in await self._database.read(_LIST, {"owner": owner, "job_id": job_id})]

    async def get(self, key: str) -> Subscription | None:
        """Return a subscription, or None."""
        rows = await self._database.read(_GET, {"key": key})
        return _entry(rows[0]) if rows else None

    async def delete(self, key: str) -> None:
        """Delete a subscription with what waits for it."""

        def operation(tx: Transaction) -> None:
            tx.change(_DELETE, {"key": key})
            tx.change(_DELETE_WAITING, {"key": key})

        await self._database.write(operation)

    async def rotate(self, key: str, locked: str, previous: str, until: int) -> None:
        """Give a subscription another secret.

        The one before holds until an instant.
        """
        values = {"key": key, "fresh": locked, "old": previous, "until": until}
        await self._database.write(lambda tx: tx.change(_ROTATE, values))

    async def enable(self, key: str, now: int) -> None:
        """Try a receiver again, now, that fails or was given up."""

        def operation(tx: Transaction) -> None:
            tx.change(_ENABLE, {"key": key})
            tx.change(_HASTEN, {"key": key, "at": now})

        await self._database.write(operation)

    async def put(self, delivery: Delivery) -> None:
        """Add a notice."""
        values = {f"v_{name}": getattr(delivery, name) for name in _FIELDS}
        await self._database.write(lambda tx: tx.change(_PUT, values))

    async def next_due(self) -> int | None:
        """Return when the first notice is due.

        None if none waits.
        """
        rows = await self._database.read(_IS_DUE, {})
        return int(rows[0][0]) if rows else None

    async def take(self, now: int, until: int, *, receivers: int, page: int) -> list[list[Delivery]]:
        """Return notices that are due, some for each of some receivers; nobody else gets them before ``until``."""
        turns = await self._database.read(_WHOSE_TURN, {"now": now, "page": receivers})
        pages = [
            [Delivery(*row) for row in await self._database.read(_DUE_OF, {"key": turn[0], "now": now, "page": page})]
            for turn in turns
        ]
        if not pages:
            return []

        def operation(tx: Transaction) -> list[list[Delivery]]:
            return [[delivery for delivery in group if _take(tx, delivery, until)] for group in pages]

        return [group for group in await self._database.write(operation) if group]

    async def end(self, deliveries: Sequence[Delivery]) -> None:
        """Forget notices of one receiver that have arrived."""

        def operation(tx: Transaction) -> None:
            for delivery in deliveries:
                tx.change(_END, {"key": delivery.subscription_id, "seq": delivery.number})
                tx.change(_SUCCEEDED, {"key": delivery.subscription_id})

        await self._database.write(operation)

    async def take_of(self, key: str, before: int, until: int, page: int) -> list[Delivery]:
        """Return more notices of one receiver, those that are due before an instant."""
        rows = await self._database.read(_DUE_OF, {"key": key, "now": before, "page": page})
        deliveries = [Delivery(*row) for row in rows if row[3] != until]

        def operation(tx: Transaction) -> list[Delivery]:
            return [delivery for delivery in deliveries if _take(tx, delivery, until)]

        return await self._database.write(operation) if deliveries else []

    async def postpone(
        self, delivery: Delivery, others_taken: Sequence[Delivery], at: int, now: int, message: str
    ) -> None:
        """Try a notice again then, and no other of its receiver before, with the rest of those that were taken."""
        key = delivery.subscription_id

        def operation(tx: Transaction) -> None:
            values = {"key": key, "seq": delivery.number, "at": at, "count": delivery.tries + 1}
            tx.change(_POSTPONE, values)
            for delivery_behind in others_taken:
                tx.change(
                    _POSTPONE, {"key": key, "seq": delivery_behind.number, "at": at, "count": delivery_behind.tries}
                )
            tx.change(_POSTPONE_ALL, {"key": key, "at": at})
            tx.change(_FAILED, {"key": key, "at": now, "words": message[:MAX_MESSAGE_CHARACTERS]})

        await self._database.write(operation)

    async def disable(self, key: str, now: int, message: str) -> None:
        """Send nothing any more, and drop what waits."""

        def operation(tx: Transaction) -> None:
            tx.change(_DISABLE, {"key": key, "at": now, "words": message[:MAX_MESSAGE_CHARACTERS]})
            tx.change(_DELETE_WAITING, {"key": key})

        await self._database.write(operation)

    async def release(self, deliveries: Sequence[Delivery], until: int, now: int) -> None:
        """Let anybody have notices that were taken and not sent."""

        def operation(tx: Transaction) -> None:
            for delivery in deliveries:
                values = {"key": delivery.subscription_id, "seq": delivery.number, "before": until, "until": now}
                tx.change(_TAKE, values)

        await self._database.write(operation)

    async def trim(self) -> None:
        """Delete subscriptions to jobs that are gone, once all was sent, and what waits for nobody."""

        def operation(tx: Transaction) -> None:
            tx.change(_TRIM, {})
            tx.change(_TRIM_DELIVERIES, {})

        await self._database.write(operation)


def _take(tx: Transaction, delivery: Delivery, until: int) -> bool:
    values = {"key": delivery.subscription_id, "seq": delivery.number, "before": delivery.due, "until": until}
    return tx.change(_TAKE, values) == 1

"""Attempts that wait for their data sets to be looked up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.domain.attempt import AWAITS_DATA, Attempt
from uws_service.store.database import Database, Query, Transaction
from uws_service.store.rows import launch_text
from uws_service.store.tables import ATTEMPT_TABLE, LOOKUP_TABLE

p = bindparam
_lookup: Any = LOOKUP_TABLE.c
_attempt: Any = ATTEMPT_TABLE.c
_NAMES = ("job_id", "number", "owner", "due", "tries", "site", "since")


def _insert(kind: Any) -> Any:
    """Return the insertion of a look-up, unless it is there."""
    statement = kind.insert(LOOKUP_TABLE).values({name: p(f"v_{name}") for name in _NAMES})
    return statement.on_conflict_do_nothing(index_elements=["job_id"])


_INSERT = Query(_insert(sqlite), _insert(postgresql))
_DUE = Query(
    select(*[_lookup[name] for name in _NAMES])
    .where(_lookup.due <= p("now"))
    .order_by(_lookup.due, _lookup.job_id)
    .limit(p("page", required=True))
)
_TAKE = Query(update(LOOKUP_TABLE).where(_lookup.job_id == p("key"), _lookup.due == p("before")).values(due=p("until")))
_POSTPONE = Query(
    update(LOOKUP_TABLE)
    .where(_lookup.job_id == p("key"), _lookup.number == p("number"))
    .values(due=p("at"), tries=p("count"))
)
_END = Query(delete(LOOKUP_TABLE).where(_lookup.job_id == p("key"), _lookup.number == p("number")))
_RESOLVE = Query(
    update(ATTEMPT_TABLE)
    .where(
        _attempt.job_id == p("key"),
        _attempt.number == p("at_number"),
        _attempt.state == literal_column("'WAITING'"),
        _attempt.wanted.is_(True),
        _attempt.not_before >= p("awaits"),
    )
    .values(
        launch=p("text"),
        site=p("at"),
        network=p("of_network"),
        lot=p("in_lot"),
        wish=p("needs"),
        not_before=literal_column("0"),
        bytes_moved=p("moved"),
    )
)


# A site has room for an attempt, and none of its data: it waits there until they are brought.
_BRING = Query(
    update(ATTEMPT_TABLE)
    .where(
        _attempt.job_id == p("key"),
        _attempt.number == p("at_number"),
        _attempt.site == p("at"),
        _attempt.state == literal_column("'WAITING'"),
        _attempt.wanted.is_(True),
        _attempt.not_before < p("awaits"),
    )
    .values(site=p("to"), network=literal_column("false"), not_before=p("awaits"))
)
_BROUGHT_TO = Query(select(func.count()).where(_lookup.site == p("site")))


class Lookup(NamedTuple):
    """An attempt whose data sets are to be looked up; ``due`` and ``since`` in milliseconds."""

    job_id: str
    number: int
    owner: str
    due: int
    tries: int
    site: str = ""
    """The site to which they are brought first; empty: none."""
    since: int = 0
    """From when on they are brought."""


def bring_attempt(tx: Transaction, attempt: Attempt, site: str, now: int) -> bool:
    """Let a waiting attempt wait at a site for its data, within a transaction; False if another site was faster."""
    values = {"key": attempt.job_id, "at_number": attempt.number, "at": attempt.site, "to": site, "awaits": AWAITS_DATA}
    if tx.change(_BRING, values) != 1:
        return False
    lookup = Lookup(attempt.job_id, attempt.number, attempt.owner, now, 0, site, now)
    tx.change(_INSERT, {f"v_{name}": value for name, value in lookup._asdict().items()})
    return True


def put_lookup(tx: Transaction, attempt: Attempt) -> None:
    """Ask for the look-up of a new attempt's data, within a transaction; nothing if it has none."""
    if attempt.not_before >= AWAITS_DATA and attempt.launch is not None:
        lookup = Lookup(attempt.job_id, attempt.number, attempt.owner, attempt.created, 0)
        tx.change(_INSERT, {f"v_{name}": value for name, value in lookup._asdict().items()})


def resolve_attempt(tx: Transaction, attempt: Attempt) -> bool:
    """Give a waiting attempt its site and its launch with data; False if it does not wait for data any more."""
    assert attempt.launch is not None
    values = {
        "key": attempt.job_id,
        "at_number": attempt.number,
        "awaits": AWAITS_DATA,
        "text": launch_text(attempt.launch),
        "at": attempt.site,
        "of_network": attempt.network,
        "in_lot": attempt.lot,
        "needs": attempt.wish or None,
        "moved": attempt.bytes_moved,
    }
    if tx.change(_RESOLVE, values) != 1:
        return False
    tx.change(_END, {"key": attempt.job_id, "number": attempt.number})
    return True


class Lookups:
    """The look-ups of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, now: int, until: int, page: int) -> list[Lookup]:
        """Return look-ups that are due, the longest waiting first; nobody else gets them before ``until``."""
        rows = [Lookup(*row) for row in await self._database.read(_DUE, {"now": now, "page": page})]
        if not rows:
            return []

        def operation(tx: Transaction) -> list[Lookup]:
            return [
                row._replace(due=until)
                for row in rows
                if tx.change(_TAKE, {"key": row.job_id, "before": row.due, "until": until}) == 1
            ]

        return await self._database.write(operation)

    async def renew(self, lookups: Sequence[Lookup], until: int) -> list[Lookup]:
        """Return look-ups that were taken and are not postponed or ended; nobody else gets them before ``until``."""

        def operation(tx: Transaction) -> list[Lookup]:
            return [
                lookup._replace(due=until)
                for lookup in lookups
                if tx.change(_TAKE, {"key": lookup.job_id, "before": lookup.due, "until": until}) == 1
            ]

        return await self._database.write(operation)

    async def release(self, lookups: Sequence[Lookup], now: int) -> None:
        """Let anybody have look-ups that were taken, unless they are postponed or ended already."""

        def operation(tx: Transaction) -> None:
            for lookup in lookups:
                tx.change(_TAKE, {"key": lookup.job_id, "before": lookup.due, "until": now})

        await self._database.write(operation)

    async def postpone(self, lookup: Lookup, at: int) -> None:
        """Look again then."""
        values = {"key": lookup.job_id, "number": lookup.number, "at": at, "count": lookup.tries + 1}
        await self._database.write(lambda tx: tx.change(_POSTPONE, values))

    async def brought_to(self, site: str) -> int:
        """Return for how many attempts data are brought to a site now."""
        return int((await self._database.read(_BROUGHT_TO, {"site": site}))[0][0])

    async def end(self, lookup: Lookup) -> None:
        """Forget a look-up whose job has ended, or is deleted."""
        await self._database.write(lambda tx: tx.change(_END, {"key": lookup.job_id, "number": lookup.number}))

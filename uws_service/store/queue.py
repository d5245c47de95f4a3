"""The waiting attempts as a queue: lots and their oldest, and what groups and owners have used."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.domain.attempt import Attempt
from uws_service.store.database import Database, Query, Transaction
from uws_service.store.rows import ATTEMPT_COLUMNS, attempt_of
from uws_service.store.tables import AttemptRow, UseRow

p = bindparam
_attempt: Any = AttemptRow.__table__  # type: ignore[attr-defined]
_use: Any = UseRow.__table__.c  # type: ignore[attr-defined]
NETWORK = ""
"""The queue of the network; those of sites have their names."""


def _waiting(rows: Any) -> Any:
    return (rows.c.site == p("queue")) & (rows.c.state == literal_column("'WAITING'"))


def _ready(rows: Any) -> Any:
    return _waiting(rows) & rows.c.wanted.is_(True) & (rows.c.not_before <= p("now"))


def _lots() -> Any:
    """Return the query of lots: one seek in the index for each, however many attempts it has."""
    first, later, head = (_attempt.alias(name) for name in ("first", "later", "head"))
    lots = select(func.min(first.c.lot).label("lot")).where(_waiting(first)).cte("lots", recursive=True)
    following = select(func.min(later.c.lot)).where(_waiting(later), later.c.lot > lots.c.lot).scalar_subquery()
    lots = lots.union_all(select(following).where(lots.c.lot.is_not(None)))
    oldest = (
        select(head.c.created)
        .where(_ready(head), head.c.lot == lots.c.lot)
        .order_by(head.c.created)
        .limit(1)
        .scalar_subquery()
    )
    return select(lots.c.lot, oldest.label("oldest")).where(lots.c.lot.is_not(None))


LOTS = Query(_lots())
OLDEST_OF_LOT = Query(
    select(*(_attempt.c[name] for name in ATTEMPT_COLUMNS))
    .where(_ready(_attempt), _attempt.c.lot == p("lot"), _attempt.c.created <= p("before"))
    .order_by(_attempt.c.created, _attempt.c.job_id)
    .limit(p("page", required=True))
)
WISH = Query(select(_attempt.c.wish).where(_waiting(_attempt), _attempt.c.lot == p("lot")).limit(p("page", 1)))
_AT_WORK = _attempt.c.state.in_([literal_column("'SUBMITTED'"), literal_column("'RUNNING'")])
AT_WORK = Query(
    select(_attempt.c.group, _attempt.c.owner, func.count(), func.sum(_attempt.c.cpu_requested))
    .where(_AT_WORK)
    .group_by(_attempt.c.group, _attempt.c.owner)
)
USES = Query(select(_use.group, _use.owner, _use.amount, _use.at))
USE = Query(
    select(_use.amount, _use.at).where(_use.group == p("group"), _use.owner == p("owner")),
    select(_use.amount, _use.at).where(_use.group == p("group"), _use.owner == p("owner")).with_for_update(),
)
TRIM_USES = Query(UseRow.__table__.delete().where(_use.at < p("before")))  # type: ignore[attr-defined]


def _upsert(kind: Any) -> Any:
    values: dict[str, Any] = {name: p(f"v_{name}") for name in ("group", "owner", "amount", "at")}
    statement = kind.insert(UseRow).values(values)
    new = {"amount": statement.excluded.amount, "at": statement.excluded.at}
    return statement.on_conflict_do_update(index_elements=["group", "owner"], set_=new)


UPSERT_USE = Query(_upsert(sqlite), _upsert(postgresql))


class WaitingLot(NamedTuple):
    """A lot with the creation of the oldest attempt that may start now."""

    lot: str
    oldest: int


class AtWork(NamedTuple):
    """The attempts of an owner in a group that are at sites, and their cores together."""

    group: str
    owner: str
    attempts: int
    cores: float


class StoredUse(NamedTuple):
    """What the jobs of an owner in a group have used, in seconds of cores, as it counted at an instant."""

    group: str
    owner: str
    amount: float
    at: int


def add_use(tx: Transaction, use: StoredUse, half_life_ms: float) -> None:
    """Add what an attempt has used to what its owner and group had used before, which has decayed meanwhile."""
    rows = tx.rows(USE, {"group": use.group, "owner": use.owner})
    amount, at = (rows[0][0], rows[0][1]) if rows else (0.0, use.at)
    amount = amount * 2.0 ** (-max(0, use.at - at) / half_life_ms) + use.amount
    values = {"v_group": use.group, "v_owner": use.owner, "v_amount": amount, "v_at": max(at, use.at)}
    tx.change(UPSERT_USE, values)


class Queue:
    """Waiting attempts of the network and of sites, as lots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lots(self, queue: str, now: int) -> list[WaitingLot]:
        """Return the lots of a queue that have attempts which may start now."""
        rows = await self._database.read(LOTS, {"queue": queue, "now": now})
        return [WaitingLot(lot, oldest) for lot, oldest in rows if oldest is not None]

    async def oldest(self, queue: str, lot: str, now: int, limit: int, *, before: int) -> list[Attempt]:
        """Return the oldest attempts of a lot that may start now and were made up to an instant."""
        params = {"queue": queue, "lot": lot, "now": now, "page": limit, "before": before}
        return [attempt_of(row) for row in await self._database.read(OLDEST_OF_LOT, params)]

    async def wish(self, queue: str, lot: str) -> str | None:
        """Return what the attempts of a lot need of a site, as JSON.

        None if none is left, or an older version made them.
        """
        rows = await self._database.read(WISH, {"queue": queue, "lot": lot})
        return rows[0][0] if rows else None

    async def at_work(self) -> list[AtWork]:
        """Return what runs or begins now at all sites."""
        rows = await self._database.read(AT_WORK, {})
        return [AtWork(group, owner, int(attempts), float(cores)) for group, owner, attempts, cores in rows]

    async def uses(self) -> list[StoredUse]:
        """Return what closed attempts have used."""
        return [StoredUse(*row) for row in await self._database.read(USES, {})]

    async def trim_uses(self, before: int) -> int:
        """Forget uses so old that they count for nothing; how many."""
        return await self._database.write(lambda tx: tx.change(TRIM_USES, {"before": before}))

"""The waiting attempts as a queue: lots and their oldest, and what groups and owners have used."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Double, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.domain.attempt import Attempt
from uws_service.store.database import Database, Query
from uws_service.store.rows import ATTEMPT_COLUMNS, attempt_of
from uws_service.store.tables import ATTEMPT_TABLE, USE_TABLE

p = bindparam
_attempt: Any = ATTEMPT_TABLE
_use: Any = USE_TABLE.c
NETWORK = ""
"""The queue of the network; those of sites have their names."""


def _waiting(rows: Any) -> Any:
    return (rows.c.site == p("queue")) & (rows.c.state == literal_column("'WAITING'"))


def _ready(rows: Any) -> Any:
    return _waiting(rows) & rows.c.wanted.is_(True) & (rows.c.not_before <= p("now"))


def _lots() -> Any:
    """Return the query of lots.

    One seek in the index for each, however many attempts it has.
    """
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
    select(_attempt.c.group, _attempt.c.owner, _attempt.c.application, func.count(), func.sum(_attempt.c.cpu_requested))
    .where(_AT_WORK)
    .group_by(_attempt.c.group, _attempt.c.owner, _attempt.c.application)
)
USES = Query(select(_use.group, _use.owner, _use.amount, _use.at))
TRIM_USES = Query(USE_TABLE.delete().where(_use.at < p("before")))


def _add(kind: Any, greatest: Any) -> Any:
    """Return the addition to a use, which has decayed since its instant; one round trip at each end of an attempt."""
    values: dict[str, Any] = {name: p(f"u_{name}") for name in ("group", "owner", "amount", "at")}
    statement = kind.insert(USE_TABLE).values(values)
    new = statement.excluded
    age = greatest(literal_column("0"), new.at - _use.at)
    # PostgreSQL takes a power that is too small for a number as an error.
    exponent = greatest(-age / cast(p("half_life_ms"), Double), literal_column("-900.0"))
    decay: Any = func.pow(literal_column("2.0"), exponent)
    sums = {"amount": _use.amount * decay + new.amount, "at": greatest(_use.at, new.at)}
    return statement.on_conflict_do_update(index_elements=["group", "owner"], set_=sums)


ADD_USE = Query(_add(sqlite, func.max), _add(postgresql, func.greatest))


class WaitingLot(NamedTuple):
    """A lot with the creation of the oldest attempt that may start now."""

    lot: str
    oldest: int


class AtWork(NamedTuple):
    """The attempts of an owner in a group that are at sites, of one application, and their cores together."""

    group: str
    owner: str
    application: str
    attempts: int
    cores: float


class StoredUse(NamedTuple):
    """What the jobs of an owner in a group have used, in seconds of cores, as it counted at an instant."""

    group: str
    owner: str
    amount: float
    at: int


def use_values(use: StoredUse, half_life_ms: float) -> dict[str, Any]:
    """Return a use as parameters of its addition to what its owner and group had used before, which has decayed."""
    return {f"u_{name}": value for name, value in zip(use._fields, use, strict=True)} | {"half_life_ms": half_life_ms}


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
        return [
            AtWork(group, owner, application, int(attempts), float(cores))
            for group, owner, application, attempts, cores in rows
        ]

    async def uses(self) -> list[StoredUse]:
        """Return what closed attempts have used."""
        return [StoredUse(*row) for row in await self._database.read(USES, {})]

    async def trim_uses(self, before: int) -> int:
        """Forget uses so old that they count for nothing; how many."""
        return await self._database.write(lambda tx: tx.change(TRIM_USES, {"before": before}))

"""Tokens for data that jobs need, encrypted, as long as they may need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from uws_service.store.database import Database, Query, Transaction
from uws_service.store.tables import GrantRow

p = bindparam
_grant: Any = GrantRow.__table__.c  # type: ignore[attr-defined]
_NAMES = ("job_id", "target", "locked", "expires", "renew", "busy")
_ONE = (_grant.job_id == p("job"), _grant.target == p("one"))

_INSERT = Query(insert(GrantRow).values({name: p(f"v_{name}") for name in _NAMES}))
_END = Query(delete(GrantRow).where(_grant.job_id == p("job")))
_OF = Query(select(*[_grant[name] for name in _NAMES]).where(_grant.job_id == p("job")).order_by(_grant.target))
_DUE = Query(
    select(*[_grant[name] for name in _NAMES])
    .where(_grant.renew <= p("now"), _grant.busy <= p("now"))
    .order_by(_grant.renew)
    .limit(100)
)
_TAKE = Query(
    update(GrantRow).where(*_ONE, _grant.locked == p("seen"), _grant.busy <= p("now")).values(busy=p("until"))
)
_PUT = Query(
    update(GrantRow)
    .where(*_ONE, _grant.locked == p("seen"))
    .values(locked=p("locked"), expires=p("expires"), renew=p("renew"), busy=p("busy"))
)


@dataclass(frozen=True, slots=True)
class Grant:
    """An encrypted token of one job. All instants are in milliseconds."""

    job_id: str
    target: str
    """What it is for: one word, each once in a job."""
    locked: str
    expires: int
    renew: int
    """From when on a new one should be asked for."""
    busy: int = 0
    """Until when somebody else is asking, or until when nobody should."""


def put_grant(tx: Transaction, grant: Grant) -> None:
    """Insert, in the transaction that starts the job."""
    tx.change(_INSERT, {f"v_{name}": getattr(grant, name) for name in _NAMES})


def end_grants(tx: Transaction, job_id: str) -> None:
    """Forget all tokens of a job, in the transaction that ends or deletes it."""
    tx.change(_END, {"job": job_id})


class GrantStore:
    """The part of the store with tokens for data."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, job_id: str) -> list[Grant]:
        """The tokens of a job."""
        return [Grant(*row) for row in await self._database.read(_OF, {"job": job_id})]

    async def due(self, now: int) -> list[Grant]:
        """Tokens that should be renewed now, by whoever takes them first."""
        return [Grant(*row) for row in await self._database.read(_DUE, {"now": now})]

    async def take(self, seen: Grant, now: int, until: int) -> bool:
        """Be the only one who renews this token until then: a refresh token must not be used twice."""
        values = {"job": seen.job_id, "one": seen.target, "seen": seen.locked, "now": now, "until": until}
        return await self._database.write(lambda tx: tx.change(_TAKE, values)) == 1

    async def put(self, seen: Grant, after: Grant) -> bool:
        """Replace a token; False if the job has ended meanwhile."""
        values = {
            "job": seen.job_id,
            "one": seen.target,
            "seen": seen.locked,
            **{name: getattr(after, name) for name in ("locked", "expires", "renew", "busy")},
        }
        return await self._database.write(lambda tx: tx.change(_PUT, values)) == 1

"""Encrypted tokens for data that jobs need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from uws_service.store.database import Database, Query, Transaction
from uws_service.store.tables import GRANT_TABLE

p = bindparam
_grant: Any = GRANT_TABLE.c
_NAMES = ("job_id", "target", "locked", "expires", "renew", "busy")
_KEY = (_grant.job_id == p("job"), _grant.target == p("target"))

_INSERT = Query(insert(GRANT_TABLE).values({name: p(f"v_{name}") for name in _NAMES}))
_END = Query(delete(GRANT_TABLE).where(_grant.job_id == p("job")))
_OF = Query(select(*[_grant[name] for name in _NAMES]).where(_grant.job_id == p("job")).order_by(_grant.target))
_DUE = Query(
    select(*[_grant[name] for name in _NAMES])
    .where(_grant.renew <= p("now"), _grant.busy <= p("now"))
    .order_by(_grant.renew)
    .limit(100)
)
_TAKE = Query(
    update(GRANT_TABLE).where(*_KEY, _grant.locked == p("before"), _grant.busy <= p("now")).values(busy=p("until"))
)
_PUT = Query(
    update(GRANT_TABLE)
    .where(*_KEY, _grant.locked == p("before"))
    .values(locked=p("locked"), expires=p("expires"), renew=p("renew"), busy=p("busy"))
)


@dataclass(frozen=True, slots=True)
class Grant:
    """An encrypted token of a job.

    Instants in milliseconds.
    """

    job_id: str
    target: str
    """What it is for: a word, unique in a job."""
    locked: str
    expires: int
    renew: int
    """When to renew it."""
    busy: int = 0
    """Until when it is being renewed, or must not be."""


def put_grant(tx: Transaction, grant: Grant) -> None:
    """Insert a grant, within a transaction."""
    tx.change(_INSERT, {f"v_{name}": getattr(grant, name) for name in _NAMES})


def end_grants(tx: Transaction, job_id: str) -> None:
    """Delete all grants of a job, within a transaction."""
    tx.change(_END, {"job": job_id})


class GrantStore:
    """The tokens of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, job_id: str) -> list[Grant]:
        """Return the tokens of a job."""
        return [Grant(*row) for row in await self._database.read(_OF, {"job": job_id})]

    async def due(self, now: int) -> list[Grant]:
        """Return the tokens to renew now."""
        return [Grant(*row) for row in await self._database.read(_DUE, {"now": now})]

    async def take(self, grant: Grant, now: int, until: int) -> bool:
        """Reserve a token for renewal until then.

        False if another process did.

        A refresh token must not be used twice.
        """
        values = {"job": grant.job_id, "target": grant.target, "before": grant.locked, "now": now, "until": until}
        return await self._database.write(lambda tx: tx.change(_TAKE, values)) == 1

    async def put(self, before: Grant, after: Grant) -> bool:
        """Replace a token.

        False if its job has ended.
        """
        values = {
            "job": before.job_id,
            "target": before.target,
            "before": before.locked,
            **{name: getattr(after, name) for name in ("locked", "expires", "renew", "busy")},
        }
        return await self._database.write(lambda tx: tx.change(_PUT, values)) == 1

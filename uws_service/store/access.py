"""Secrets, sessions, shares and owners in the store.

Of callers' secrets only hashes are stored: whoever reads the database can't act as anybody.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, or_, select

from uws_service.domain.share import Share
from uws_service.store.database import Database, Query, Transaction
from uws_service.store.meta import get_or_set
from uws_service.store.tables import JOB_TABLE, SESSION_TABLE, SHARE_TABLE

p = bindparam
_session: Any = SESSION_TABLE.c
_share: Any = SHARE_TABLE.c
_job: Any = JOB_TABLE.c

_HOLDING = Query(
    select(_job.phase, func.count(), func.coalesce(func.sum(_job.stored), 0))
    .where(_job.owner_key == p("owner_key"))
    .group_by(_job.phase)
)
_INSERT_SESSION = Query(
    insert(SESSION_TABLE).values({name: p(name) for name in ("key", "kind", "content", "created", "expires", "owner")})
)
_GET_SESSION = Query(
    select(_session.content, _session.expires).where(
        _session.key == p("id"), _session.kind == p("what"), _session.expires > p("now")
    )
)
_END_SESSION = Query(delete(SESSION_TABLE).where(_session.key == p("id")))
_END_SESSIONS = Query(delete(SESSION_TABLE).where(_session.owner == p("owner")))
_TRIM_SESSIONS = Query(delete(SESSION_TABLE).where(_session.expires <= p("now")))
_LOCK_JOB = Query(select(_job.id).where(_job.id == p("job")).with_for_update())
_COUNT_SHARES = Query(select(func.count()).where(_share.job_id == p("job"), _share.expires > p("now")))
_SHARE = ("id", "job_id", "key", "group", "actor", "created", "expires")
_INSERT_SHARE = Query(insert(SHARE_TABLE).values({name: p(f"v_{name}") for name in _SHARE}))
_SHARES = Query(
    select(*[_share[name] for name in _SHARE])
    .where(_share.job_id == p("job"), _share.expires > p("now"))
    .order_by(_share.created, _share.id)
)
_OWNERS_SHARES = Query(
    select(*[_share[name] for name in _SHARE], _job.application, _job.run_id)
    .join_from(SHARE_TABLE, JOB_TABLE, _job.id == _share.job_id)
    .where(_job.owner_key == p("owner_key"), _share.expires > p("now"))
    .order_by(_share.expires, _share.id)
    .limit(p("page", required=True))
)
_END_SHARE = Query(delete(SHARE_TABLE).where(_share.job_id == p("job"), _share.id == p("share")))
_TRIM_SHARES = Query(
    delete(SHARE_TABLE).where(
        or_(_share.expires <= p("now"), ~select(_job.id).where(_job.id == _share.job_id).exists())
    )
)


def hashed(secret: str) -> str:
    """Return the hash of a secret.

    As that is random and long, a plain hash is enough.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


class AccessStore:
    """Secrets, sessions and shares."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def holding(self, owner: str | None) -> dict[str, tuple[int, int]]:
        """Return number and bytes of an owner's jobs by phase; None: of anonymous jobs."""
        rows = await self._database.read(_HOLDING, {"owner_key": owner or ""})
        return {row[0]: (int(row[1]), int(row[2])) for row in rows}

    async def secret(self, name: str) -> bytes:
        """Return a secret that all processes share, created at the first call."""
        value = await self._database.write(lambda tx: get_or_set(tx, name, secrets.token_hex(32)))
        return bytes.fromhex(value)

    async def open_session(self, kind: str, content: str, now: int, expires: int, owner: str | None = None) -> str:
        """Create a session; return its secret."""
        secret = secrets.token_urlsafe(32)
        values = {
            "key": hashed(secret), "kind": kind, "content": content, "created": now, "expires": expires, "owner": owner
        }  # fmt: skip

        def operation(tx: Transaction) -> None:
            tx.change(_TRIM_SESSIONS, {"now": now})
            tx.change(_INSERT_SESSION, values)

        await self._database.write(operation)
        return secret

    async def session(self, kind: str, secret: str, now: int) -> tuple[str, int] | None:
        """Return content and end of a session, unless it has ended."""
        rows = await self._database.read(_GET_SESSION, {"id": hashed(secret), "what": kind, "now": now})
        return (rows[0][0], int(rows[0][1])) if rows else None

    async def end_session(self, secret: str) -> bool:
        """Delete a session; False if it has ended."""
        return await self._database.write(lambda tx: tx.change(_END_SESSION, {"id": hashed(secret)})) == 1

    async def end_sessions(self, owner: str) -> int:
        """Delete all sessions of an owner; return how many."""
        return await self._database.write(lambda tx: tx.change(_END_SESSIONS, {"owner": owner}))

    async def add_share(self, share: Share, now: int, limit: int) -> bool:
        """Insert a share, and delete those that have ended or whose job is deleted.

        False: the job has as many shares as it may have.
        """
        values = {f"v_{name}": getattr(share, name) for name in _SHARE}

        def operation(tx: Transaction) -> bool:
            tx.change(_TRIM_SHARES, {"now": now})
            tx.rows(_LOCK_JOB, {"job": share.job_id})  # shares of one job are added one after the other
            if int(tx.rows(_COUNT_SHARES, {"job": share.job_id, "now": now})[0][0]) >= limit:
                return False
            tx.change(_INSERT_SHARE, values)
            return True

        return await self._database.write(operation)

    async def shares(self, job_id: str, now: int) -> list[Share]:
        """Return the present shares of a job."""
        return [Share(*row) for row in await self._database.read(_SHARES, {"job": job_id, "now": now})]

    async def shares_of(self, owner: str, now: int, limit: int) -> list[tuple[Share, str, str | None]]:
        """Return the present shares of an owner's jobs, with application and RUNID; those that end first."""
        values = {"owner_key": owner, "now": now, "page": limit}
        rows = await self._database.read(_OWNERS_SHARES, values)
        return [(Share(*row[: len(_SHARE)]), row[-2], row[-1]) for row in rows]

    async def end_share(self, job_id: str, share_id: str) -> bool:
        """End a share; False if there is none."""
        return await self._database.write(lambda tx: tx.change(_END_SHARE, {"job": job_id, "share": share_id})) == 1

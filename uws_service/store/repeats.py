"""Requests that may come again: the jobs of idempotency keys."""

from __future__ import annotations

from typing import NamedTuple

from uws_service.domain.errors import IdempotencyConflict
from uws_service.store import queries
from uws_service.store.database import Database


class Keyed(NamedTuple):
    """A job that was made with a key, and the digest of its request."""

    job_id: str
    fingerprint: str | None

    def require_same(self, fingerprint: str | None) -> None:
        """Raise `IdempotencyConflict` if the key comes with another request."""
        if self.fingerprint != fingerprint:
            raise IdempotencyConflict("This Idempotency-Key was used for another request; use a new one.")


class Repeats:
    """The jobs of an owner's keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, application: str, owner: str | None, key: str) -> Keyed | None:
        """Return the job that an owner made with a key."""
        params = {"application": application, "owner_key": owner or "", "key": key}
        rows = await self._database.read(queries.BY_IDEMPOTENCY, params)
        return Keyed(*rows[0]) if rows else None

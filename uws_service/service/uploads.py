"""Uploads in progress: each byte counts as it comes, for its caller's quota and for the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from uws_service.auth.identity import Identity
from uws_service.auth.policy import Rules
from uws_service.depot import Depot
from uws_service.domain.errors import Forbidden, ServiceUnavailable
from uws_service.store import Store

RETRY_SECONDS = 30


class Account:
    """The bytes that a request has uploaded."""

    def __init__(self, uploads: Uploads, identity: Identity) -> None:
        self._uploads = uploads
        self._identity = identity
        self._allowed: int | None = None
        self._has_quota = False
        self.size = 0

    async def spend(self, size: int) -> None:
        """Count the next bytes.

        Raises
        ------
        Forbidden
            The caller's quota is exceeded.
        ServiceUnavailable
            All uploads in progress are too large together.
        """
        if not self._has_quota:
            self._has_quota = True
            self._allowed = await self._uploads.allowed(self._identity)
        self.size += size
        self._uploads.count(self._identity, size, self._allowed)


class Uploads:
    """The depot, and the uploads in progress.

    Parameters
    ----------
    max_bytes
        Bytes of uploads that may be in progress in this process.
    """

    def __init__(self, depot: Depot, store: Store, rules: Rules, max_bytes: int) -> None:
        self.depot = depot
        self.max_bytes = max_bytes
        self._store = store
        self._rules = rules
        self._open: Counter[str] = Counter()

    @asynccontextmanager
    async def account(self, identity: Identity) -> AsyncIterator[Account]:
        """Count uploads while the block runs.

        At its end they are stored, or removed.
        """
        account = Account(self, identity)
        try:
            yield account
        finally:
            owner = identity.owner or ""
            self._open[owner] -= account.size
            if self._open[owner] <= 0:
                del self._open[owner]

    async def allowed(self, identity: Identity) -> int | None:
        """Return the bytes that a caller may still store; None: any number."""
        quota = self._rules.quota(identity).stored if self._rules.has_quotas else None
        if quota is None:
            return None
        phases = await self._store.access.holding(identity.owner)
        return max(0, quota - sum(stored for _, stored in phases.values()))

    def count(self, identity: Identity, size: int, allowed: int | None) -> None:
        """Count bytes; see `Account.spend`."""
        owner = identity.owner or ""
        self._open[owner] += size
        if allowed is not None and self._open[owner] > allowed:
            raise Forbidden(
                f"Your quota leaves room for {allowed} bytes, and your uploads that are on their way are larger. "
                "Delete jobs that are no longer needed."
            )
        if self._open.total() > self.max_bytes:
            raise ServiceUnavailable(
                f"More than {self.max_bytes} bytes are being uploaded at the moment.", retry_after=RETRY_SECONDS
            )

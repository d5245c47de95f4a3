"""Requests in progress: each byte counts as it comes, for its caller and for the process.

Files count for the caller's quota and the disk, the rest of a form for the memory that it takes.
"""

from __future__ import annotations

from collections import Counter

from uws_service.auth.identity import Identity
from uws_service.auth.policy import Rules
from uws_service.auth.quotas import party_of
from uws_service.depot import Depot
from uws_service.domain.errors import Forbidden, ServiceUnavailable, TooManyRequests
from uws_service.service.limits import Limits
from uws_service.store import Store

RETRY_SECONDS = 30
SMALL_BYTES = 64 * 1024
"""A form of so many bytes is always taken; no more wait in any connection's buffers."""


class Account:
    """The bytes that a request has uploaded, and those that it holds in memory."""

    def __init__(self, uploads: Uploads, identity: Identity, origin: str) -> None:
        self._uploads = uploads
        self._identity = identity
        self.owner = identity.owner or ""
        self.caller = party_of(identity, origin)
        self.memory = 0
        self._allowed: int | None = None
        self._has_quota = False
        self.size = 0

    def __enter__(self) -> Account:
        return self

    def __exit__(self, *_: object) -> None:
        self._uploads.settle(self)

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

    def hold(self, size: int) -> None:
        """Count the next bytes of a form that stay in memory until the request is answered.

        Raises
        ------
        TooManyRequests
            The caller's forms are too large together.
        ServiceUnavailable
            All forms in progress are too large together.
        """
        before, self.memory = self.memory, self.memory + size
        if self.memory > SMALL_BYTES:
            self._uploads.hold(self.caller, self.memory - max(before, SMALL_BYTES))


class Uploads:
    """The depot, and the requests in progress.

    Parameters
    ----------
    limits
        What may be in progress in this process.
    """

    def __init__(self, depot: Depot, store: Store, rules: Rules, limits: Limits) -> None:
        self.depot = depot
        self.max_bytes = limits.unfinished
        self.max_memory = max(limits.form_memory, limits.form_text)
        self.max_caller_memory = max(limits.form_memory // 4, limits.form_text)
        self._memory: Counter[str] = Counter()
        self._store = store
        self._rules = rules
        self._open: Counter[str] = Counter()

    def account(self, identity: Identity, origin: str) -> Account:
        """Return what counts uploads and memory while a ``with`` block runs.

        At its end files are stored, or removed, and values forgotten.
        """
        return Account(self, identity, origin)

    def settle(self, account: Account) -> None:
        """Count the bytes of a request that has ended no more."""
        owner = account.owner
        self._open[owner] -= account.size
        if self._open[owner] <= 0:
            del self._open[owner]
        self._memory[account.caller] -= max(0, account.memory - SMALL_BYTES)
        if self._memory[account.caller] <= 0:
            del self._memory[account.caller]

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

    def hold(self, caller: str, size: int) -> None:
        """Count bytes in memory; see `Account.hold`."""
        self._memory[caller] += size
        if self._memory[caller] > self.max_caller_memory:
            raise TooManyRequests(
                f"Your requests that are on their way hold more than {self.max_caller_memory} bytes of values; "
                "send large ones one after the other, or as files.",
                retry_after=RETRY_SECONDS,
            )
        if self._memory.total() > self.max_memory:
            raise ServiceUnavailable(
                f"Requests with more than {self.max_memory} bytes of values are on their way at the moment.",
                retry_after=RETRY_SECONDS,
            )

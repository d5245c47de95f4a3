"""Shares: others may read a job until an instant (no part of UWS)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from uws_service.auth.groups import GroupNames
from uws_service.domain.errors import Forbidden, NotFound, UsageError
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job
from uws_service.domain.share import Share
from uws_service.service.access import JobAccess
from uws_service.service.caller import Caller
from uws_service.store.access import hashed

MAX_SHARE_SECONDS = 365 * 86400
MAX_LISTED = 1000
"""Shares of all jobs of an owner, in one list."""
MAX_SHARES = 100
"""Shares of one job: whoever reads it by a link or as a member of a group has all of them looked through."""


class Shares:
    """Creates, lists and ends shares."""

    def __init__(self, access: JobAccess, groups: GroupNames) -> None:
        self.access = access
        self.groups = groups

    async def create(
        self, application: str, job_id: str, caller: Caller, *, expires: int, group: str | None = None
    ) -> tuple[Share, str | None]:
        """Let a group, or whoever has a link, read a job.

        Returns the share and the link's secret, which is not stored but for its hash.
        """
        now = self.access.clock()
        if not now < expires <= now + MAX_SHARE_SECONDS * 1000:
            raise UsageError(f"A share ends in the future, and in at most {MAX_SHARE_SECONDS // 86400} days.")
        secret = secrets.token_urlsafe(32) if group is None else None
        share = Share(
            id=secrets.token_hex(8),
            job_id=job_id,
            key=hashed(secret) if secret is not None else None,
            group=self.groups.of_caller(group, caller.identity) if group is not None else None,
            actor=caller.actor,
            created=now,
            expires=expires,
        )
        if len(await self.list(application, job_id, caller)) >= MAX_SHARES:
            raise _too_many()
        detail = {"share": share.id, "group": share.group, "expires": expires}
        await self.access.change(application, job_id, caller, EventKind.SHARED, _touch_owned, detail)
        if not await self.access.store.access.add_share(share, now, MAX_SHARES):  # others came at the same moment
            raise _too_many()
        return share, secret

    async def list(self, application: str, job_id: str, caller: Caller) -> list[Share]:
        """Return the present shares of a job."""
        await self.access.glance(application, job_id, caller, write=True)
        return await self.access.store.access.shares(job_id, self.access.clock())

    async def of_owner(self, caller: Caller) -> Sequence[tuple[Share, str, str | None]]:
        """Return the present shares of all the caller's jobs, with application and RUNID."""
        if caller.owner is None:
            return []
        return await self.access.store.access.shares_of(caller.owner, self.access.clock(), MAX_LISTED)

    async def end(self, application: str, job_id: str, caller: Caller, share_id: str) -> None:
        """End a share at once."""
        await self.access.glance(application, job_id, caller, write=True)
        if not await self.access.store.access.end_share(job_id, share_id):
            raise NotFound(f"The job has no share {share_id[:64]!r}.")
        await self.access.change(application, job_id, caller, EventKind.UNSHARED, replace, {"share": share_id})


def _too_many() -> Forbidden:
    return Forbidden(f"The job has {MAX_SHARES} shares already; take some back by DELETE.")


def _touch_owned(job: Job) -> Job:
    """Return an equal job, which counts as changed.

    A job that belongs to nobody is refused.
    """
    if job.owner is None:
        raise Forbidden("The job is anonymous: whoever knows its URL may use it. There is nothing to share.")
    return replace(job)

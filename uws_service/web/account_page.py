"""The page of what a caller has here: jobs, quotas, shares. Pure: values to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from uws_service.auth import Identity
from uws_service.auth.settings import Quota
from uws_service.domain.job import Phase
from uws_service.domain.share import Share
from uws_service.web.pages import Account, render
from uws_service.web.shown import size_text


class Bar(NamedTuple):
    """What is used of a quota.

    ``limit`` None: there is none.
    """

    name: str
    used: int
    limit: int | None
    used_text: str
    limit_text: str


@dataclass(frozen=True, slots=True)
class Possessions:
    """What a caller has: numbers and bytes of jobs by phase, quotas, shares with application and RUNID."""

    holding: Mapping[str, tuple[int, int]]
    quota: Quota
    shares: Sequence[tuple[Share, str, str | None]] = ()

    def bars(self) -> list[Bar]:
        """Return waiting, running, stored against what is allowed."""
        stored = sum(size for _, size in self.holding.values())
        waiting = self.holding.get(Phase.QUEUED, (0, 0))[0]
        running = self.holding.get(Phase.EXECUTING, (0, 0))[0]
        quota = self.quota
        limit = size_text(quota.stored) if quota.stored is not None else ""
        return [
            Bar("Waiting jobs", waiting, quota.queued, str(waiting), str(quota.queued)),
            Bar("Running jobs", running, quota.running, str(running), str(quota.running)),
            Bar("Stored files", stored, quota.stored, size_text(stored), limit),
        ]


def account_page(identity: Identity, own: Possessions, base: str, account: Account | None = None) -> str:
    """Return the page of a caller's account."""
    return render(
        "account.html",
        base,
        account,
        "/account",
        owner=identity.owner or "",
        name=identity.name,
        groups=sorted(identity.groups),
        bars=own.bars(),
        total=sum(number for number, _ in own.holding.values()),
        shares=own.shares,
        has_session=account is not None and bool(account.owner),
    )

"""An hour of two sites that take jobs of groups with shares from one queue, in a store, on both databases.

Time is the test's own; queue, transactions, uses and plans are those of the service.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.sites.test_network import network, take, wait
from uws_service.domain.attempt import Attempt, AttemptState
from uws_service.placement.model import Wish
from uws_service.placement.settings import Placement
from uws_service.placement.shares import FairShares, GroupShare
from uws_service.sites.network import SiteQueue
from uws_service.store import Store

pytestmark = pytest.mark.anyio
START = 10_000_000
HOUR_MS, STEP_MS, JOB_MS = 3_600_000, 60_000, 240_000
SLOTS = {"a": 6, "b": 4}
SHARES = {"gold": 60.0, "silver": 30.0, "bronze": 10.0}
LATE, LATE_AT_MS = "late", HOUR_MS // 2


async def test_groups_get_their_shares_within_five_points(store: Store) -> None:
    """Three groups have more work than there is room; a fourth one that comes late starts with the next free slots."""
    groups = {name: GroupShare(share=share) for name, share in (*SHARES.items(), (LATE, 10.0))}
    sites = network(store, SLOTS, Placement(shares=FairShares(groups=groups)))
    queues = {site: SiteQueue(sites, site) for site in SLOTS}
    running: dict[str, list[tuple[int, Attempt]]] = {site: [] for site in SLOTS}
    used: Counter[str] = Counter()
    first_late = None
    for group in SHARES:
        await wait(store, 160, Wish("app", group=group, cpu=1.0), owner=f"o-{group}", created=START)
    for now in range(START, START + HOUR_MS, STEP_MS):
        if now == START + LATE_AT_MS:
            await wait(store, 5, Wish("app", group=LATE, cpu=1.0), owner="o-late", created=now)
        for site, slots in SLOTS.items():
            for began, attempt in [entry for entry in running[site] if entry[0] + JOB_MS <= now]:
                usage = replace(attempt.usage, wall=JOB_MS / 1000)
                await store.attempts.save(
                    replace(attempt, wanted=False, state=AttemptState.CLOSED, usage=usage, started=began, ended=now)
                )
            running[site] = [entry for entry in running[site] if entry[0] + JOB_MS > now]
            sites.placer.forget_views()
            for taken in await queues[site].next(slots - len(running[site]), now):
                assert await take(store, taken.attempt, site)
                (row,) = await store.attempts.of(taken.attempt.job_id)
                running[site].append((now, replace(row, cpu_requested=1.0)))
                used[row.group] += 1
                if row.group == LATE and first_late is None:
                    first_late = now
        assert sum(map(len, running.values())) == sum(SLOTS.values()), "no slot is idle"
    assert first_late is not None and first_late - (START + LATE_AT_MS) <= JOB_MS
    whole = sum(used[group] for group in SHARES)
    for group, share in SHARES.items():
        assert abs(100 * used[group] / whole - share) <= 5, used

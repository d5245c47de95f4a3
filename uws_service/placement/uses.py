"""What groups and owners have used, read from the store."""

from __future__ import annotations

from uws_service.placement.history import Experience
from uws_service.placement.shares import Ledger, Use, added
from uws_service.store.ends import MIN_CPU
from uws_service.store.queue import Queue


async def read_ledger(queue: Queue, half_life_seconds: float, now_ms: int, experience: Experience) -> Ledger:
    """Return the uses of groups and owners, with what their running jobs are expected to use.

    That is by what jobs of their application usually take. With a fixed length, a few short jobs at work would count
    more than all that ended, and small sites would not keep to the shares.
    """
    groups: dict[str, Use] = {}
    owners: dict[tuple[str, str], Use] = {}

    def add(group: str, owner: str, amount: float, at_ms: int) -> None:
        groups[group] = added(groups.get(group, Use(0.0, at_ms)), amount, at_ms, half_life_seconds)
        owner_use = owners.get((group, owner), Use(0.0, at_ms))
        owners[group, owner] = added(owner_use, amount, at_ms, half_life_seconds)

    for use in sorted(await queue.uses(), key=lambda use: use.at):
        add(*use)
    for work in await queue.at_work():
        seconds = experience.job_seconds(work.application)
        add(work.group, work.owner, seconds * max(work.cores, MIN_CPU * work.attempts), now_ms)
    return Ledger(groups, owners)

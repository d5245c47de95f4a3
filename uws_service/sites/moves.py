"""Waiting jobs of a site that can't take them, which go to other sites."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import structlog

from uws_service.applications import Application
from uws_service.applications.provenance import versions
from uws_service.domain.attempt import Attempt
from uws_service.domain.errors import UsageError, UwsError
from uws_service.domain.events import EventKind
from uws_service.domain.job import FINAL
from uws_service.placement.choice import shortened
from uws_service.placement.placer import Placer
from uws_service.store import StaleJob, Store

log = structlog.get_logger(__name__)

ACTOR = "controller"
MOST_AT_ONCE = 1_000
LOOK_SECONDS = 30.0


async def move_attempt(
    store: Store, placer: Placer, applications: Mapping[str, Application], attempt: Attempt, reason: str
) -> bool:
    """Find another site for a waiting job.

    If there is none it waits on, and the answer is False.

    Raises
    ------
    StaleJob
        The job or its attempt changed at the same moment.
    """
    job = await store.get(attempt.job_id)
    application = applications.get(attempt.application)
    if job is None or application is None or job.phase in FINAL:
        return False
    launch = await store.attempts.launch(attempt.job_id, attempt.number)
    try:
        choice = await placer.choose(job, application, group=attempt.group, without=attempt.site, launch=launch)
    except UsageError:
        return False
    site = choice.site
    if not (await placer.reachable()).get(site):
        return False
    info = replace(
        job.info,
        site=site,
        site_reason=f"moved here because {attempt.site} {reason}",
        placement=shortened(choice.table),
        waiting=f"waiting for a free slot at {site}",
        versions=versions(application, placer.image_at(site, application, launch)),
    )
    await store.save(job, replace(job, info=info), kind=EventKind.SITE, actor=ACTOR, move=(attempt, site))
    log.info("job moved", job=job.id, attempt=attempt.number, to=site, why=f"{attempt.site} {reason}")
    return True


class AbsentSites:
    """Looks after the jobs of sites that are not in the settings any more, or have another name there.

    Those that wait go to other sites. Those that were there can only be warned of.
    """

    def __init__(self, store: Store, placer: Placer, applications: Mapping[str, Application]) -> None:
        self.store = store
        self.placer = placer
        self.applications = applications
        self._warned: set[str] = set()

    async def run(self) -> None:
        """Loop until cancelled."""
        while True:
            try:
                await self.look()
            except UwsError as error:
                log.warning("jobs of sites that are gone can't be looked after", error=error.message)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Move what waits, and warn of what was there."""
        for site, (waiting, there) in (await self.store.attempts.loads()).items():
            if not site or site in self.placer.configured:
                continue
            if site not in self._warned:
                log.warning(
                    "there are jobs of a site that is not in the settings", site=site, waiting=waiting, there=there
                )
                self._warned.add(site)
            for attempt in await self.store.attempts.waiting_at(site, MOST_AT_ONCE):
                try:
                    await move_attempt(self.store, self.placer, self.applications, attempt, "is not in the settings")
                except StaleJob:
                    continue

"""Hand an attempt to its site.

So that nothing is lost and nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from uws_service import telemetry
from uws_service.applications import Application
from uws_service.applications.provenance import versions
from uws_service.auth.data_tokens import DataAccess, tell_waiting
from uws_service.domain.attempt import Attempt, AttemptState, Reason
from uws_service.domain.errors import NotFound, ServiceUnavailable, StorageFull, UsageError, UwsError
from uws_service.domain.events import EventKind
from uws_service.domain.job import FINAL
from uws_service.sites.executor import Executor, NotNow, Refused
from uws_service.sites.launches import launch_of
from uws_service.sites.live import LiveAttempts
from uws_service.sites.network import Network, Taken
from uws_service.sites.recorder import ACTOR, Recorder
from uws_service.store import StaleJob, Store
from uws_service.store.attempts import Take

PAUSE_PART = 20
"""The part of its wait after which an attempt that can't be handed over is tried again: each try is an event."""
PAUSE_MAX_MS = 60_000


def pause_ms(waited_ms: int, retry_after: int | None) -> int:
    """Return how long an attempt that can't be handed over waits before it is tried again."""
    return max((retry_after or 1) * 1000, min(waited_ms // PAUSE_PART, PAUSE_MAX_MS))


class Submitter:
    """Hands the attempts of one site over.

    Parameters
    ----------
    store, executor, applications, recorder, live, clock
        Those of the site's controller.
    data
        The jobs' access to data, which must be good when a job is handed over.
    network
        What it shares with the other sites.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        applications: Mapping[str, Application],
        recorder: Recorder,
        live: LiveAttempts,
        clock: Callable[[], int],
        data: DataAccess | None,
        network: Network,
    ) -> None:
        self.store = store
        self.executor = executor
        self.applications = applications
        self.recorder = recorder
        self.live = live
        self.clock = clock
        self.data = data
        self.network = network
        self.driver = ""
        """The holder of the site's lease, if there is one: it must be held when an attempt begins or is given back."""
        self.current = 0
        """How many are being begun now."""

    async def begin(self, taken: Taken) -> None:
        """Record that the attempt goes to the site, then hand it over: in this order, so that nothing is lost."""
        attempt = taken.attempt
        key = attempt.job_id, attempt.number
        take = Take(self.executor.site, self.clock(), self.driver, taken.brings)
        self.current += 1
        self.network.beginning.add(key)
        try:
            with_reason = attempt.network or taken.brings
            if not await (self._take(taken, take) if with_reason else self.store.attempts.begin(attempt, take)):
                return
            if taken.brings:
                return
            submitted = replace(attempt, site=take.site, state=AttemptState.SUBMITTED, submitted=take.now)
            self.live.put(submitted)
            self.network.beginning.discard(key)
            if await self._has_data(submitted):
                await self.submit(submitted)
        finally:
            self.network.beginning.discard(key)
            self.current -= 1

    async def _take(self, taken: Taken, take: Take) -> bool:
        """Record that the site has taken an attempt of the network, and why; False if another one was faster."""
        attempt = taken.attempt
        job, application = await self.store.get(attempt.job_id), self.applications.get(attempt.application)
        if job is None or job.phase in FINAL:
            return False
        placer, image = self.network.placer, ""
        if application is not None:
            launch = None  # it is read for those alone whose image it names
            if application.standard.names_image or job.info.original is not None:
                launch = await self.store.attempts.launch(attempt.job_id, attempt.number)
            image = placer.image_at(take.site, application, launch)
        info = replace(
            job.info,
            site=take.site,
            site_reason=taken.reason,
            placement=taken.table,
            waiting=f"its data are brought to {take.site}" if take.brings else f"handed to {take.site}",
            versions=versions(application, image) if application is not None else job.info.versions,
        )
        event, after = EventKind.SITE, replace(job, info=info)
        try:
            await self.store.save(job, after, kind=event, actor=ACTOR, take=(attempt, take))
        except StaleJob:
            return False
        if not take.brings:
            placer.count(take.site)
        return True

    async def _has_data(self, attempt: Attempt) -> bool:
        """Return whether the job's access to data is good.

        If its issuer is down the job waits on, and says so.
        """
        if self.data is None:
            return True
        try:
            await self.data.held(attempt.job_id)
        except ServiceUnavailable as error:
            await tell_waiting(self.store, attempt.job_id, error.message)
            await self._give_back(attempt, error)
            return False
        except UwsError as error:
            job = await self.store.get(attempt.job_id)
            if job is not None and job.phase not in FINAL:
                await self.recorder.fail(job, attempt, None, Reason.STAGE_IN, error.message)
            return False
        return True

    async def _give_back(self, attempt: Attempt, error: ServiceUnavailable) -> None:
        """Let an attempt that certainly is not at the site wait once more, there or at another site."""
        now = self.clock()
        not_before = now + pause_ms(now - attempt.created, error.retry_after)
        if await self.store.attempts.give_back(attempt, not_before, self.driver):
            self.live.drop((attempt.job_id, attempt.number))
        else:
            self.live.touch(attempt.job_id)

    async def submit(self, attempt: Attempt) -> None:
        """Hand an attempt over.

        What the site does not take is the job's end.

        Raises
        ------
        ServiceUnavailable, StorageFull
            Not now: call again.
        """
        job = await self.store.get(attempt.job_id)
        if job is None or job.phase in FINAL:
            self.live.touch(attempt.job_id)
            return
        try:
            launch = await launch_of(self.store, self.applications, job, attempt, self.executor.storage)
        except NotFound as error:
            await self.recorder.fail(job, attempt, None, Reason.COMMAND, error.message)
            return
        except UsageError as error:  # the descriptor changed after RUN
            await self.recorder.fail(job, attempt, None, Reason.USAGE, error.message)
            return
        try:
            await self.executor.submit(launch)
        except NotNow as error:
            if not error.sent:
                await self._give_back(attempt, error)
            raise
        except (ServiceUnavailable, StorageFull):
            raise
        except Refused as error:
            await self.recorder.fail(job, attempt, None, Reason.REFUSED, error.message)
            return
        except UwsError as error:
            await self.recorder.fail(job, attempt, None, Reason.STAGE_IN, error.message)
            return
        telemetry.QUEUE_WAIT.labels(job.application).observe((self.clock() - (job.queued or job.created)) / 1000)

"""A site that only calls out, as its controller sees it.

What there is to see is what the runner has last reported, and what it is to do are orders that it fetches. Both are in
the database: whichever process drives the site, the runner may call any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import replace

import structlog

from uws_service.depot import Depot
from uws_service.domain.attempt import Attempt, Launch, Observation, Seen
from uws_service.domain.errors import NotFound, UwsError
from uws_service.domain.job import Result
from uws_service.sites.batch.collection import collect_reported
from uws_service.sites.executor import Collected, Executor, Health, NotNow, live_key, log_key
from uws_service.sites.remote import messages
from uws_service.sites.remote.desk import Desk, handed_key
from uws_service.sites.remote.messages import ENDED, Key, Reported
from uws_service.sites.remote.settings import RemoteSite
from uws_service.store import Store
from uws_service.store.rows import launch_text
from uws_service.store.runners import FORGET, KILL, RemoteAttempt, RunnerState

log = structlog.get_logger(__name__)

BEAT_SECONDS = 1.0
"""Pause between two looks whether the runner's lease holds."""
LOOK_SECONDS = 0.25
"""Pause between two looks for reports that another process has got."""
HANDED_SECONDS = 60.0
"""So long the files of an ended attempt are waited for; then the step is tried again."""
LOG_SECONDS = 5.0
"""So long the runner is waited for when somebody reads a log."""
READER_MS = 10_000
"""So long after a look at a log the runner goes on sending it."""


class RemoteExecutor(Executor):
    """Leaves orders for a site's runner, and shows what it reports.

    Parameters
    ----------
    site
        The site's settings.
    depot
        Where logs go; results come there by the runner's calls.
    store
        Where orders and reports are.
    """

    def __init__(self, site: RemoteSite, depot: Depot, store: Store) -> None:
        self.site = site.name
        self.capacity = site.slots
        self.depot = depot
        self.store = store
        self.desk = Desk(site, store)
        self._state: RunnerState | None = None
        self._has_looked = False
        self._beating: asyncio.Task[None] | None = None
        self._stamp = self._waited = (-1, -1)
        self._observations: dict[Key, tuple[RemoteAttempt, Observation | None]] = {}

    # -- the site --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to look whether the runner calls."""
        await self._look()
        self._beating = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Look no more."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            self._beating = None

    def health(self) -> Health:
        """Return whether the runner's lease holds, and it has said what there is."""
        state = self._state
        if state is None or not state.epoch:
            return Health(False, 0, f"site {self.site}: its runner has not called yet")
        if state.now >= state.until:
            return Health(False, state.contact, f"site {self.site}: its runner does not call")
        if not state.complete:
            words = state.problem or "it has not yet said what is there"
            return Health(False, state.contact, f"site {self.site}: its runner does not see it: {words}")
        return Health(True)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            with contextlib.suppress(UwsError):  # the database is away: what was seen last counts
                await self._look()

    async def _look(self) -> None:
        was_reachable = self.health().reachable
        self._state = await self.store.runners.state(self.site)
        health = self.health()
        if self._state is not None:
            streams = json.loads(self._state.announced).get("streams") or self.streams
            self.streams = tuple(streams)
        if health.reachable != was_reachable or not self._has_looked:
            self._has_looked = True
            log.info("site is reachable" if health.reachable else "site can't be reached", site=self.site,
                     why=health.message)  # fmt: skip
            self.desk.reported.set()

    async def wait_change(self, timeout: float) -> None:
        """Wait for a report.

        Return after so many seconds in any case.
        """
        end = time.monotonic() + timeout
        while (rest := end - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.desk.reported.wait(), min(LOOK_SECONDS, rest))
                return
            state = await self.store.runners.state(self.site)
            if state is not None and (state.stamp, state.orders) != self._waited:
                self._waited = state.stamp, state.orders
                return

    # -- look ------------------------------------------------------------------------------------------------------

    async def observe(self) -> list[Observation]:
        """Return what the runner has reported, and what it was told of."""
        self.desk.reported.clear()
        await self._look()
        if self._state is None or not self.health().reachable:
            raise NotNow(self.health().message, sent=False)
        stamp = self._state.stamp, self._state.orders
        self._waited = stamp
        if stamp != self._stamp:
            earlier = self._observations
            self._observations = {}
            for row in await self.store.runners.attempts(self.site):
                key = row.job_id, row.number
                if key in earlier and earlier[key][0] == row:  # the very same object, at which nobody looks again
                    self._observations[key] = earlier[key]
                else:
                    self._observations[key] = row, _observation(row)
            self._stamp = stamp
        return [observation for _, observation in self._observations.values() if observation is not None]

    async def read_log(self, job_id: str, number: int, name: str) -> bytes | None:
        """Return the end of a log, as the runner sends it while somebody reads it."""
        key = job_id, number
        target = live_key(*key, name)
        before = await self.depot.head(target) if name in ("stdout", "stderr") else None
        if name not in self.streams or not await self.store.runners.read_log(self.site, key, _now_ms() + READER_MS):
            return None
        self.desk.ordered.set()
        end = time.monotonic() + LOG_SECONDS
        while time.monotonic() < end:
            stored = await self.depot.head(target)
            if stored is not None and stored != before:
                break
            await asyncio.sleep(0.1)
        content = b""
        with contextlib.suppress(NotFound):
            async for chunk in self.depot.read(target):
                content += chunk
        return content

    # -- orders ----------------------------------------------------------------------------------------------------

    async def submit(self, launch: Launch) -> None:
        """Order that an attempt runs.

        Nothing new if it is ordered already.
        """
        if await self.store.runners.run(self.site, (launch.job_id, launch.number), launch_text(launch)):
            self._ordered()

    async def kill(self, job_id: str, number: int) -> None:
        """Order that an attempt is stopped."""
        if await self.store.runners.end(self.site, (job_id, number), KILL):
            self._ordered()

    async def forget(self, job_id: str, number: int) -> None:
        """Order that everything of an attempt is removed."""
        if await self.store.runners.end(self.site, (job_id, number), FORGET):
            self._ordered()

    def _ordered(self) -> None:
        self.desk.ordered.set()
        self.desk.reported.set()

    # -- files -----------------------------------------------------------------------------------------------------

    async def collect(self, observation: Observation, attempt: Attempt) -> Collected:
        """Return what the runner, or the site's agents by way of it, have handed over."""
        key = observation.job_id, observation.number
        rows = await self.store.attempts.of(observation.job_id)
        report = next((row.report for row in rows if row.number == observation.number), attempt.report)
        if report is not None and report.end is not None:  # its agent ran the command, and handed over all of it
            return await collect_reported(self.depot, observation, replace(attempt, report=report))
        reported = await self._handed(key) if observation.seen in ENDED and not _is_lost(observation) else None
        handed = reported.handed if reported is not None and reported.handed is not None else messages.Handed()
        logs = [await self._keep_log(key, *entry) for entry in handed.logs]
        succeeded = observation.seen is Seen.SUCCEEDED
        outputs = report.outputs if report is not None else ()
        results = tuple(
            Result(output.id, output.source, output.media_type, output.size, output.sha256)
            for output in outputs
            if succeeded or (report is not None and output.id in report.settled)
        )
        problem = handed.problem if succeeded else ""
        return Collected(results, tuple(log for log in logs if log is not None), handed.tail, problem)

    async def _handed(self, key: Key) -> Reported:
        """Return the report of an ended attempt whose files are here; raise `NotNow` if they take long."""
        end = time.monotonic() + HANDED_SECONDS
        while time.monotonic() < end:
            text = await self.store.runners.last_report(self.site, key)
            if text is None:
                return Reported(Observation(*key, Seen.FAILED))
            reported = messages.reported_of(key, text)
            if reported.handed is not None:
                return reported
            await asyncio.sleep(LOOK_SECONDS)
        raise NotNow(f"site {self.site}: its runner has not handed the files over yet")

    async def _keep_log(self, key: Key, name: str, size: int, sha256: str) -> Result | None:
        """Put a log to its place, now that its attempt counts."""
        target = log_key(key[0], name)
        try:
            stored = await self.depot.put(target, self.depot.read(handed_key(key, name)), max_size=size)
        except NotFound:
            log.warning("a log is lost", job=key[0], attempt=key[1], site=self.site)
            return None
        return Result(name, target, "text/plain", stored.size, stored.sha256)


def _observation(row: RemoteAttempt) -> Observation | None:
    """Return an attempt as it is shown.

    None: nothing of it is at the site.
    """
    key = row.job_id, row.number
    if row.report is None:
        return None if row.absent else Observation(*key, Seen.STARTING, waiting="it is handed to the site's runner")
    reported = messages.reported_of(key, row.report)
    observation = reported.observation
    if observation.seen not in ENDED or reported.handed is not None:
        return observation
    # Its command has ended, and its files are on their way: nobody takes it for lost meanwhile.
    if observation.seen is Seen.SUCCEEDED:
        return replace(observation, reports=True, gone=False)
    return replace(observation, gone=False) if observation.reports else observation


def _is_lost(observation: Observation) -> bool:
    """Return whether nothing is left of an attempt, as its controller has concluded itself."""
    return observation.reports and observation.gone and not observation.ended and observation.exit_code is None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

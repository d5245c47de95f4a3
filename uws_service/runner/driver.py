"""The loops of a runner: they carry out the service's orders at the site, and report what there is.

Nothing is kept in memory that the site does not show. A runner that is killed at any point goes on from what it finds:
orders that it has not confirmed come again, and carrying one out twice changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import structlog

from uws_service.depot import Depot
from uws_service.domain.attempt import Observation, Seen
from uws_service.domain.errors import ServiceUnavailable, UwsError
from uws_service.runner.handover import Handover
from uws_service.runner.link import Link, LinkDown, Refusal, pause
from uws_service.runner.live_logs import LiveLogs
from uws_service.runner.orders import Orders
from uws_service.runner.spool import Spool
from uws_service.sites.executor import Executor
from uws_service.sites.remote import messages
from uws_service.sites.remote.messages import ENDED, Key, Reported

log = structlog.get_logger(__name__)

ROUND_SECONDS = 1.0
"""After this time the site is looked at although nothing has happened."""
PAUSE_SECONDS = 0.5
PAUSE_MAX_SECONDS = 10.0
ABSENCE_PERCENT = 90
"""Of the time after which the service gives attempts up: what has not started by then is not started any more."""


class Driver:
    """Drives a site for as long as one session lasts.

    Parameters
    ----------
    link
        The way to the service.
    executor
        The site.
    depot
        The depot on the runner's disk, for files on their way.
    spool
        What the site's agents have handed over and the service does not have yet.
    brings_inputs
        Whether the runner brings the inputs itself: the site's agents do not call.
    """

    def __init__(
        self, link: Link, executor: Executor, depot: Depot, spool: Spool | None, *, brings_inputs: bool
    ) -> None:
        self.link = link
        self.executor = executor
        self.depot = depot
        self.spool = spool
        self.brings_inputs = brings_inputs
        self.wake = asyncio.Event()
        self.handover = Handover(link, executor, depot, self.wake.set)
        self.live_logs = LiveLogs(link, executor)
        self.lost_after = float("inf")
        """Seconds without the service after which it gives attempts up."""
        self.orders = Orders(
            link, executor, depot, spool, self.handover, self._look, self.wake.set, brings_inputs=brings_inputs
        )
        self._reported: dict[Key, dict[str, Any]] = {}
        self._spoken: set[Key] = set()
        self._sequence = 0
        self._is_complete = False

    async def run(self) -> None:
        """Drive the site until the session is over (`SessionOver`) or this is cancelled."""
        self._sequence, self._is_complete = 0, False
        self._reported.clear()
        self._spoken.clear()
        loops = [asyncio.create_task(loop) for loop in (self._poll(), self._watch(), self._look_after_lost())]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                loop.result()
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def stop(self) -> None:
        """End what is under way.

        The site's jobs go on.
        """
        await self.orders.stop()
        await self.handover.stop()
        await self.live_logs.stop()

    # -- orders ----------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Fetch orders and begin to carry them out."""
        while not self._is_complete:  # what is here was reported before anything comes to it
            await pause(0.05)
        after, seconds = 0, PAUSE_SECONDS
        while True:
            try:
                content = {"after": after, "wait": messages.POLL_SECONDS}
                answer = await self.link.post("orders", content, wait=messages.POLL_SECONDS)
                for order in answer["orders"]:
                    after = max(after, int(order["order"]))
                    self.orders.begin(messages.key_of(order), order)
                self.live_logs.send([(str(job), int(number)) for job, number in answer["logs"]])
                seconds = PAUSE_SECONDS
            except (LinkDown, Refusal, KeyError, TypeError, ValueError) as error:
                log.info("no orders", error=str(error))
                after = 0  # what was not carried out comes again
                await pause(seconds)
                seconds = min(PAUSE_MAX_SECONDS, seconds * 1.7)

    # -- reports ---------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Report what has changed, as soon as it has."""
        seconds = PAUSE_SECONDS
        while True:
            self.wake.clear()
            try:
                more = await self._round()
                seconds = PAUSE_SECONDS
            except (LinkDown, Refusal) as error:
                log.info("nothing is reported", error=error.message)
                await pause(seconds)
                seconds = min(PAUSE_MAX_SECONDS, seconds * 1.7)
                continue
            if not more:
                await self._wait_news()

    async def _wait_news(self) -> None:
        waits = [
            asyncio.ensure_future(self.wake.wait()),
            asyncio.ensure_future(self.executor.wait_change(ROUND_SECONDS)),
        ]
        try:
            await asyncio.wait(waits, timeout=ROUND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _round(self) -> bool:
        """Look at the site once and report.

        Return whether there is more to say.
        """
        orders = self.orders
        done, refused, known = dict(orders.done), dict(orders.refused), set(orders.known)
        done = dict(list(done.items())[: messages.PAGE])
        try:
            observations = await self._look()
        except UwsError as error:
            await self._report({"problem": error.message or "the site can't be seen"}, done, refused)
            self._is_complete = False
            self._reported.clear()
            return False
        entries = {key: self._entry(observation) for key, observation in observations.items()}
        changed = {key: entry for key, entry in entries.items() if self._reported.get(key) != entry}
        page = dict(list(changed.items())[: messages.PAGE])
        content: dict[str, Any] = {"changed": list(page.values())}
        content["speaks"] = [list(key) for key in page if self._speaks_for(observations[key])]
        absent = [key for key in known - entries.keys() if not orders.is_current(key)]
        content["absent"] = [list(key) for key in absent]
        is_last = len(page) == len(changed) and len(done) == len(orders.done)
        if not self._is_complete and is_last:
            content["present"] = [list(key) for key in entries]
        if page or absent or done or not self._is_complete:
            answer = await self._report(content, done, refused)
            self._reported |= page
            self._spoken |= {(job, number) for job, number in content["speaks"]}
            orders.known = (orders.known | entries.keys()) - set(absent)
            for key in absent:
                self._reported.pop(key, None)
                self._spoken.discard(key)
            for job, number in answer["foreign"]:
                await self._remove_foreign((str(job), int(number)))
            self._is_complete = self._is_complete or is_last
        for key, observation in observations.items():
            if observation.seen in ENDED and key in self._reported and key not in orders.ending:
                self.handover.begin(observation)
        return not is_last

    async def _look(self) -> dict[Key, Observation]:
        health = self.executor.health()
        if not health.reachable:
            raise ServiceUnavailable(health.message)
        try:
            return {(item.job_id, item.number): item for item in await self.executor.observe()}
        except UwsError:
            raise
        except Exception as error:  # a fault in a kind of another package
            log.exception("the site can't be seen")
            raise ServiceUnavailable(f"{type(error).__name__}: {error}") from None

    def _entry(self, observation: Observation) -> dict[str, Any]:
        key = observation.job_id, observation.number
        if observation.gone and self.spool is not None and self.spool.has(key):
            observation = replace(observation, gone=False)  # its agent is, but what it handed over is here
        if observation.seen not in ENDED:
            return messages.entry_of(Reported(observation))
        return messages.entry_of(Reported(observation, self.handover.handed.get(key)))

    def _speaks_for(self, observation: Observation) -> bool:
        """Return whether the runner has still to say that it hands over an attempt's results."""
        has_begun = observation.seen is Seen.RUNNING or observation.seen in ENDED
        key = observation.job_id, observation.number
        return self.brings_inputs and has_begun and not observation.reports and key not in self._spoken

    async def _report(self, content: dict[str, Any], done: dict[Key, int], refused: dict[Key, str]) -> Any:
        self._sequence += 1
        entries = [
            {"job": job, "attempt": number, "order": order, "refused": refused.get((job, number))}
            for (job, number), order in done.items()
        ]
        answer = await self.link.post("report", {**content, "sequence": self._sequence, "done": entries})
        for key in self.orders.settle(done):
            self._reported.pop(key, None)
            self._spoken.discard(key)
        return answer

    async def _remove_foreign(self, key: Key) -> None:
        """Remove an attempt that the service knows nothing of."""
        log.warning("removing what the service did not send here", job=key[0], attempt=key[1])
        with contextlib.suppress(UwsError):
            await self.handover.drop(key)
            await self.executor.forget(*key)
            self._reported.pop(key, None)

    # -- a service that does not answer ----------------------------------------------------------------------------

    async def _look_after_lost(self) -> None:
        """Begin nothing that the service is about to give up: it may run elsewhere."""
        while True:
            await pause(ROUND_SECONDS)
            if self.link.silence() < self.lost_after * ABSENCE_PERCENT / 100:
                continue
            with contextlib.suppress(UwsError):
                for key, observation in (await self._look()).items():
                    if observation.seen is Seen.STARTING:
                        log.warning("not started: the service has been away too long", job=key[0], attempt=key[1])
                        await self.executor.kill(*key)

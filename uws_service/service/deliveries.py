"""The loop that sends notices (E-024, E-025): at least once each, to each receiver one after the other.

What waits is in the database and is claimed as attempts are, so every process may send, and none is lost when one is
killed. A receiver that fails holds up its own notices alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable
from typing import Any

import structlog

from uws_service import telemetry
from uws_service.domain.errors import UwsError
from uws_service.domain.events import EventKind, JobEvent
from uws_service.domain.job import FINAL
from uws_service.domain.notification import Delivery, Kind, Subscription, is_given_up, next_try
from uws_service.protocol import sse, webhook
from uws_service.protocol.uws import format_instant
from uws_service.service.mailer import Mailer, MailError
from uws_service.service.notifications import Notices
from uws_service.service.receiver import Answer, Unreached
from uws_service.store import Store

log = structlog.get_logger(__name__)

RECEIVERS = 16
"""Receivers that get notices at once, from one process."""
PAGE = 50
LEASE_MS = 180_000
"""After this time a process that has not sent a notice counts as dead; if it only was slow, it is sent twice."""
TURN_SECONDS = 90.0
"""How long one receiver is served before it waits again; with one more try it is below the lease."""
IDLE_SECONDS = 5.0
LEAST_PAUSE_SECONDS = 0.1
GONE_STATUS = 410
TRIM_SECONDS = 3600.0


class Deliveries:
    """Sends the notices of a store.

    Parameters
    ----------
    notices
        Has the subscriptions' secrets, and sends requests.
    mailer
        Sends mail; None: there is none.
    """

    def __init__(self, store: Store, notices: Notices, mailer: Mailer | None, *, clock: Callable[[], int]) -> None:
        self.store = store
        self.waiting = store.notifications
        self.notices = notices
        self.mailer = mailer
        self.clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._trimmed = float("-inf")

    async def run(self) -> None:
        """Loop until cancelled.

        What was taken and not sent is there for others at once.
        """
        try:
            while True:
                try:
                    pause = await self._round()
                except UwsError as error:
                    log.warning("notices can't be read", error=error.message)
                    pause = IDLE_SECONDS
                await asyncio.sleep(LEAST_PAUSE_SECONDS)
                if pause > 0:
                    await self.store.feed.wait_any(pause)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.notices.receivers.close()

    async def _round(self) -> float:
        """Begin with what is due.

        Return for how many seconds there is nothing to do.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - self._trimmed > TRIM_SECONDS:
            await self.waiting.trim()
            self._trimmed = loop.time()
        due = await self.waiting.next_due()
        now = self.clock()
        if due is None or due > now:
            return IDLE_SECONDS if due is None else min(IDLE_SECONDS, (due - now) / 1000)
        room = RECEIVERS - len(self._tasks)
        if room <= 0:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            return 0
        until = now + LEASE_MS
        groups = await self.waiting.take(now, until, receivers=room, page=PAGE)
        for group in groups:
            task = asyncio.create_task(self._serve(group, until))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return 0 if groups else LEAST_PAUSE_SECONDS

    async def _serve(self, group: list[Delivery], until: int) -> None:
        """Send the notices of one receiver."""
        unsent = list(group)
        try:
            entry = await self.waiting.get(group[0].subscription_id)
            if entry is None or entry.disabled is not None:
                await self.waiting.end(group)
                unsent.clear()
            elif entry.kind is Kind.MAIL:
                await self._mail(entry, unsent, until)
            else:
                await self._send_all(entry, unsent)
        except UwsError as error:
            log.warning("notices can't be recorded", error=error.message)
        except Exception:
            log.exception("notices could not be sent")
        finally:
            if unsent:
                with contextlib.suppress(UwsError):
                    await asyncio.shield(self.waiting.release(unsent, until, self.clock()))

    async def _send_all(self, entry: Subscription, unsent: list[Delivery]) -> None:
        """Send webhooks until one fails, or the receiver's turn is over; what is done with leaves ``unsent``."""
        keys = self.notices.secrets_of(entry)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TURN_SECONDS
        while unsent and loop.time() < deadline:
            delivery = unsent[0]
            data, number = told(delivery, entry)
            body = webhook.cloud_event(data, number)
            try:
                if keys is None:
                    raise Unreached("its secret can't be read with this service's key")
                seconds = self.clock() // 1000
                headers = {"content-type": webhook.MEDIA_TYPE, **webhook.signed_headers(body, number, seconds, keys)}
                answer = await self.notices.receivers.post(entry.target, body, headers)
                problem = problem_of(answer)
            except Unreached as error:
                answer, problem = Answer(0), str(error)
            unsent.pop(0)
            telemetry.NOTICES.labels("webhook", "failed" if problem else "sent").inc()
            if answer.status == GONE_STATUS:
                await self.waiting.delete(entry.id)
                unsent.clear()
            elif problem:
                await self._fail(entry, delivery, unsent, problem, answer.retry_after)
                return
            else:
                await self.waiting.end([delivery])
                if entry.job_id and is_last(delivery):
                    await self.waiting.delete(entry.id)
                    unsent.clear()

    async def _mail(self, entry: Subscription, unsent: list[Delivery], until: int) -> None:
        """Send one mail of all that waits, also of what is not due yet (one digest in some minutes)."""
        unsent += await self.waiting.take_of(entry.id, self.clock() + entry.delay, until, PAGE * 20)
        deliveries = list(unsent)
        try:
            if self.mailer is None:
                raise MailError("this service sends no mail now")
            await self.mailer.send(entry, [told(delivery, entry)[0] for delivery in deliveries])
        except MailError as error:
            telemetry.NOTICES.labels("mail", "failed").inc()
            first = unsent.pop(0)
            await self._fail(entry, first, unsent, str(error), None)
        else:
            telemetry.NOTICES.labels("mail", "sent").inc()
            unsent.clear()
            await self.waiting.end(deliveries)

    async def _fail(
        self, entry: Subscription, delivery: Delivery, unsent: list[Delivery], problem: str, retry_after: int | None
    ) -> None:
        """Try again later, with all that waits for the same receiver; or give it up."""
        now = self.clock()
        if is_given_up(entry.failing_since, now):
            await self.waiting.disable(entry.id, now, problem)
            unsent.clear()
            log.info("a receiver of notices is given up", subscription=entry.id, owner=entry.owner, problem=problem)
            return
        at = next_try(delivery.tries + 1, now, random.random(), retry_after)
        await self.waiting.postpone(delivery, unsent, at, now, problem)
        unsent.clear()


def told(delivery: Delivery, entry: Subscription) -> tuple[dict[str, Any], str]:
    """Return the data and the number of a notice."""
    payload = json.loads(delivery.payload)
    if payload["kind"] == "TEST":
        url = f"{entry.base}/notifications/{entry.id}"
        return {
            "job": url,
            "id": entry.id,
            "event": "test",
            "at": format_instant(payload["at"]),
        }, f"test-{-delivery.number}"
    event = JobEvent(**{name: payload[name] for name in JobEvent._fields})
    url = f"{entry.base}/{event.application}/async/{event.job_id}"
    return sse.job_event(event, url), str(event.seq)


def is_last(delivery: Delivery) -> bool:
    """Return whether nothing more is to be told of the job."""
    payload = json.loads(delivery.payload)
    return payload["kind"] == EventKind.DELETED or (payload["kind"] == EventKind.PHASE and payload["phase"] in FINAL)


def problem_of(answer: Answer) -> str:
    """Return why an answer is none that ends the matter; empty: it does (E-024)."""
    if 200 <= answer.status < 300:
        return ""
    redirect = "; redirects are not followed" if 300 <= answer.status < 400 else ""
    return f"it answers {answer.status}{redirect}"

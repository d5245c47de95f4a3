"""The orders of the service, as the runner carries them out.

An order is open at the service until a report says that it is done. So nothing is written down here: one that was under
way when the runner was killed comes again, and carrying it out twice changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from uws_service.depot import Depot
from uws_service.domain.attempt import Launch, Observation
from uws_service.domain.errors import ServiceUnavailable
from uws_service.runner.handover import Handover
from uws_service.runner.link import Link, LinkDown, Refusal, attempt_path, pause
from uws_service.runner.spool import Spool
from uws_service.sites.executor import Executor, Refused
from uws_service.sites.remote.messages import Key
from uws_service.store.rows import launch_of

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 0.5
PAUSE_MAX_SECONDS = 10.0
REMOVAL_SECONDS = 1.0
"""Pause between two looks whether a site has removed an attempt."""
INPUT_BYTES_MAX = 2**50


class Orders:
    """Carries out orders.

    Parameters
    ----------
    link, executor, depot, spool, handover
        Those of the site's driver.
    brings_inputs
        Whether the runner brings the inputs itself: the site's agents do not call.
    look
        Returns what there is at the site.
    on_done
        Called when an order is done.
    """

    def __init__(
        self,
        link: Link,
        executor: Executor,
        depot: Depot,
        spool: Spool | None,
        handover: Handover,
        look: Callable[[], Awaitable[dict[Key, Observation]]],
        on_done: Callable[[], None],
        *,
        brings_inputs: bool,
    ) -> None:
        self.link = link
        self.executor = executor
        self.depot = depot
        self.spool = spool
        self.handover = handover
        self.look = look
        self.on_done = on_done
        self.brings_inputs = brings_inputs
        self.numbers: dict[str, int] = {}
        """The latest attempt of each job here, for what asks by job alone."""
        self.known: set[Key] = set()
        """What was handed to the site, or seen there."""
        self.done: dict[Key, int] = {}
        """Orders that are done and not reported."""
        self.refused: dict[Key, str] = {}
        """Why the site never takes an attempt."""
        self.ending: set[Key] = set()
        """What is to be forgotten."""
        self._tasks: dict[Key, tuple[int, asyncio.Task[None]]] = {}

    async def stop(self) -> None:
        """End what is under way; it comes again."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def is_current(self, key: Key) -> bool:
        """Return whether an order of an attempt is under way."""
        order = self._tasks.get(key)
        return order is not None and not order[1].done()

    def settle(self, done: Mapping[Key, int]) -> list[Key]:
        """Leave out orders that were reported as done.

        Return the attempts that are forgotten by that.
        """
        forgotten = []
        for key, order in done.items():
            if self.done.get(key) != order:
                continue
            del self.done[key]
            self.refused.pop(key, None)
            if key in self._tasks and self._tasks[key][0] == order:
                del self._tasks[key]
            if key in self.ending:
                self.ending.discard(key)
                self.known.discard(key)
                forgotten.append(key)
                if self.numbers.get(key[0]) == key[1]:
                    del self.numbers[key[0]]
        return forgotten

    def begin(self, key: Key, order: Mapping[str, Any]) -> None:
        """Begin an order.

        The latest one of an attempt counts.
        """
        number = int(order["order"])
        current = self._tasks.get(key)
        if current is not None and current[0] >= number:
            if not current[1].done():
                return
            if current[0] == number and number in (self.done.get(key), None):
                return  # it is done, and the next report says so
        earlier = current[1] if current is not None and not current[1].done() else None
        self._tasks[key] = number, asyncio.create_task(self._carry_out(key, number, order, earlier))

    async def _carry_out(
        self, key: Key, number: int, order: Mapping[str, Any], earlier: asyncio.Task[None] | None
    ) -> None:
        if earlier is not None:
            earlier.cancel()
            await asyncio.gather(earlier, return_exceptions=True)
        seconds = PAUSE_SECONDS
        while True:
            try:
                await self._obey(key, order)
                break
            except Refused as error:
                self.refused[key] = error.message
                break
            except ServiceUnavailable as error:
                log.warning("an order waits", job=key[0], attempt=key[1], order=order.get("do"), error=error.message)
            except Exception:  # such as a fault in a kind of another package
                log.exception("an order failed", job=key[0], attempt=key[1], order=order.get("do"))
            await pause(seconds)
            seconds = min(PAUSE_MAX_SECONDS, seconds * 1.7)
        self.done[key] = number
        self.on_done()

    async def _obey(self, key: Key, order: Mapping[str, Any]) -> None:
        match order.get("do"):
            case "run":
                await self._submit(key, launch_of(json.dumps(order["launch"])))
                self.known.add(key)
            case "kill":
                await self.executor.kill(*key)
                self.known.add(key)
            case "forget":
                self.ending.add(key)
                await self.handover.drop(key)
                await self.executor.forget(*key)
                while key in await self.look():  # what a site removes slowly is shown meanwhile
                    await pause(REMOVAL_SECONDS)
                    await self.executor.forget(*key)
                if self.spool is not None:
                    await self.spool.drop(key)
                await self.depot.delete_prefix(_inputs_of(key))
            case other:
                raise Refused(f"The runner does not know the order {other!r}: it is of another version.")

    async def _submit(self, key: Key, launch: Launch) -> None:
        """Hand an attempt to the site, if the runner certainly speaks for it."""
        if (launch.job_id, launch.number) != key:
            raise Refused("The order names another attempt than its launch.")
        self.numbers[key[0]] = key[1]
        if self.brings_inputs:
            launch = await self._bring_inputs(key, launch)
        if not self.link.may_act():
            raise LinkDown("the link is down: nothing new is begun")
        await self.executor.submit(launch)

    async def _bring_inputs(self, key: Key, launch: Launch) -> Launch:
        """Bring the inputs that the service has to this disk; one that it refuses is missed when the job starts."""
        inputs = []
        for index, item in enumerate(launch.inputs):
            if item.depot_key is None:
                inputs.append(item)
                continue
            target = f"{_inputs_of(key)}{index}"
            if await self.depot.head(target) is None:
                try:
                    chunks = self.link.download(attempt_path(key, f"inputs/{index}"))
                    await self.depot.put(target, chunks, max_size=item.max_size or INPUT_BYTES_MAX)
                except Refusal as error:
                    log.warning("an input can't be had", job=key[0], attempt=key[1], error=error.message)
            inputs.append(replace(item, depot_key=target))
        return replace(launch, inputs=tuple(inputs))


def _inputs_of(key: Key) -> str:
    return f"inputs/{key[0]}-{key[1]}/"

"""The files of ended attempts, from the site to the service.

The local kind puts them into a depot on the runner's disk, as it would into the service's. From there they are sent, as
often as it takes, and they are removed once the service has them or does not want them any more.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

import structlog

from uws_service.depot import Depot
from uws_service.domain.attempt import Attempt, Observation
from uws_service.domain.errors import UwsError
from uws_service.domain.job import Result
from uws_service.runner.link import Link, LinkDown, Refusal, SessionOver, attempt_path
from uws_service.sites.executor import Collected, Executor
from uws_service.sites.remote.messages import Handed, Key

log = structlog.get_logger(__name__)

AT_ONCE = 4
"""So many attempts are handed over at a time: no more of their files lie on the runner's disk twice."""
PAUSE_SECONDS = 0.2
PAUSE_MAX_SECONDS = 15.0
VOICE = "agents/site"
"""Below an attempt: where the runner speaks for it."""


class Handover:
    """Hands over the files of ended attempts.

    Parameters
    ----------
    link
        The way to the service.
    executor
        The site.
    depot
        The depot on the runner's disk.
    on_end
        Called when an attempt's files are handed over, or are not wanted.
    """

    def __init__(self, link: Link, executor: Executor, depot: Depot, on_end: Callable[[], None]) -> None:
        self.link = link
        self.executor = executor
        self.depot = depot
        self.on_end = on_end
        self.handed: dict[Key, Handed] = {}
        """What was handed over of each attempt that is at the site."""
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._jobs: dict[str, asyncio.Lock] = {}

    def begin(self, observation: Observation) -> None:
        """Begin to hand over an attempt's files, unless that has begun."""
        key = observation.job_id, observation.number
        if key not in self.handed and key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._run(key, observation))

    async def drop(self, key: Key) -> None:
        """Forget an attempt.

        What of it lies here is removed.
        """
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.handed.pop(key, None)

    async def stop(self) -> None:
        """Stop; a restart begins again with what is left."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    async def _run(self, key: Key, observation: Observation) -> None:
        """Hand over until it is done.

        Attempts of one job do so one after the other.
        """
        seconds = PAUSE_SECONDS
        try:
            async with self._jobs.setdefault(key[0], asyncio.Lock()):
                while True:
                    try:
                        async with self._room:
                            self.handed[key] = await self._hand_over(key, observation)
                        return
                    except (LinkDown, SessionOver) as error:
                        log.info("files wait for the service", job=key[0], attempt=key[1], error=error.message)
                    except UwsError as error:
                        log.warning("files can't be handed over yet", job=key[0], attempt=key[1], error=error.message)
                    except Exception:  # such as a fault in a kind of another package
                        log.exception("files can't be handed over yet", job=key[0], attempt=key[1])
                    await asyncio.sleep(seconds)
                    seconds = min(PAUSE_MAX_SECONDS, seconds * 1.7)
        finally:
            self._tasks.pop(key, None)
            if not any(job == key[0] for job, _ in self._tasks):
                self._jobs.pop(key[0], None)
            self.on_end()

    async def _hand_over(self, key: Key, observation: Observation) -> Handed:
        if not self.link.may_act():
            raise LinkDown("the link is down")  # before anything is put on this disk
        collected = await self.executor.collect(observation, _attempt_of(key, self.executor.site))
        problem = collected.problem
        try:
            if not observation.reports:
                problem = await self._send_results(key, observation, collected) or problem
            logs = [await self._send_log(key, entry) for entry in collected.logs]
        except Refusal as error:
            log.warning("the service does not want an attempt's files", job=key[0], attempt=key[1], why=error.message)
            await self.depot.delete_prefix(f"jobs/{key[0]}/")
            return Handed(problem=error.message)
        await self.depot.delete_prefix(f"jobs/{key[0]}/")
        return Handed(tuple(logs), collected.tail, problem)

    async def _send_results(self, key: Key, observation: Observation, collected: Collected) -> str:
        """Send the results, then say that these are all; return what was refused of them."""
        outputs, problem = [], ""
        for result in collected.results:
            path = attempt_path(key, f"{VOICE}/outputs/{result.id}")
            try:
                await self.link.put(path, self.depot.read(result.key), result.size, result.sha256)
            except Refusal as error:
                if error.status == 403:
                    raise
                problem = problem or f"{result.id}: {error.message}"
                continue
            fields = {"id": result.id, "media_type": result.media_type, "size": result.size, "sha256": result.sha256}
            outputs.append({**fields, "settled": True})
        usage = observation.usage
        names = ("bytes_in", "bytes_moved", "cpu", "peak_memory")
        report = {"outputs": outputs, **{name: getattr(usage, name) for name in names}}
        await self.link.post(attempt_path(key, f"{VOICE}/report"), report)
        return problem

    async def _send_log(self, key: Key, entry: Result) -> tuple[str, int, str]:
        digest, size = hashlib.sha256(), 0
        async for chunk in self.depot.read(entry.key):
            digest.update(chunk)
            size += len(chunk)
        path = attempt_path(key, f"logs/{entry.id}")
        await self.link.put(path, self.depot.read(entry.key), size, digest.hexdigest())
        return entry.id, size, digest.hexdigest()


def _attempt_of(key: Key, site: str) -> Attempt:
    return Attempt(*key, site, "", "")

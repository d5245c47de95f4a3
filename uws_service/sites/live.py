"""The attempts at one site that are not closed.

Their rows as last read, and what is under way with each of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from uws_service.domain.attempt import Attempt, AttemptState, Observation
from uws_service.domain.errors import Forbidden, UwsError
from uws_service.store import StaleJob, Store

log = structlog.get_logger(__name__)

Key = tuple[str, int]
"""Job id and number of an attempt."""
FULL_READ_SECONDS = 10.0
"""All live attempts are read from the store at least this often."""
FULL_READ_ATTEMPTS = 200
"""With no more of them, all are read in every round."""
FAILURE_PAUSE_SECONDS = 1.0


class Rest(NamedTuple):
    """A look at an attempt that found nothing to do, and until when that holds unless something changes."""

    attempt: Attempt
    observation: Observation | None
    until: int

    def holds(self, attempt: Attempt, observation: Observation | None, now: int) -> bool:
        """Return whether nothing has changed since.

        Mostly they are the very same objects.
        """
        if self.until <= now:
            return False
        same_row = self.attempt is attempt or self.attempt == attempt
        return same_row and (self.observation is observation or self.observation == observation)


@dataclass(slots=True)
class LiveAttempt:
    """One attempt that is not closed."""

    row: Attempt | None = None
    """None: it is not live any more, but a step of it is under way."""
    step: asyncio.Task[None] | None = None
    rest: Rest | None = None


class LiveAttempts:
    """The live attempts of one site.

    Parameters
    ----------
    store
        Where their rows are.
    site
        The site's name.
    """

    def __init__(self, store: Store, site: str) -> None:
        self.store = store
        self.site = site
        self.step_ended = asyncio.Event()
        """Set when a step has ended; whoever waits for it clears it."""
        self._records: dict[Key, LiveAttempt] = {}
        self._touched: set[str] = set()
        self._full_read = -FULL_READ_SECONDS

    # -- rows ------------------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Begin to collect the ids of jobs that change."""
        self._touched = self.store.feed.follow()
        self._full_read = -FULL_READ_SECONDS

    async def stop(self) -> None:
        """Follow no more, and cancel the steps that are under way."""
        self.store.feed.unfollow(self._touched)
        steps = [record.step for record in self._records.values() if record.step is not None]
        for step in steps:
            step.cancel()
        await asyncio.gather(*steps, return_exceptions=True)

    def touch(self, job_id: str) -> None:
        """Look at a job's attempts again in the next round."""
        self._touched.add(job_id)

    async def read(self) -> None:
        """Read the rows.

        All of them, or only those of jobs of which there is news.
        """
        touched = set(self._touched)
        self._touched.difference_update(touched)
        if touched:
            for (job_id, _), record in self._records.items():
                if job_id in touched:
                    record.rest = None
        if self.count() > FULL_READ_ATTEMPTS and time.monotonic() - self._full_read < FULL_READ_SECONDS:
            for job_id in touched:
                await self._read_job(job_id)
            return
        rows = {(row.job_id, row.number): row for row in await self.store.attempts.live(self.site)}
        for key in [key for key in self._records if key not in rows]:
            self.drop(key)
        for row in rows.values():
            self.put(row)
        self._full_read = time.monotonic()

    async def _read_job(self, job_id: str) -> None:
        for row in await self.store.attempts.of(job_id):
            is_live = row.site == self.site and row.state is not AttemptState.CLOSED
            if is_live and (row.state is not AttemptState.WAITING or not row.wanted):
                self.put(row)
            else:
                self.drop((row.job_id, row.number))

    def put(self, row: Attempt) -> None:
        """Take an attempt in, or its newer row."""
        self._records.setdefault((row.job_id, row.number), LiveAttempt()).row = row

    def drop(self, key: Key) -> None:
        """Leave an attempt out from now on.

        A step of it that is under way goes on.
        """
        record = self._records.get(key)
        if record is not None:
            record.row = record.rest = None
            self._forget_if_idle(key, record)

    def _forget_if_idle(self, key: Key, record: LiveAttempt) -> None:
        if record.row is None and record.step is None:
            self._records.pop(key, None)

    def __contains__(self, key: Key) -> bool:
        """Return whether an attempt is live, or a step of it under way."""
        return key in self._records

    def count(self) -> int:
        """Return how many are live."""
        return sum(1 for record in self._records.values() if record.row is not None)

    def occupied(self) -> tuple[int, int]:
        """Return how many are at the site, and how many steps go on of attempts that are live no more."""
        rows = [record.row for record in self._records.values()]
        at_site = sum(1 for row in rows if row is not None and row.state is not AttemptState.WAITING)
        return at_site, sum(1 for row in rows if row is None)

    def not_begun(self) -> Counter[str]:
        """Return how many attempts of each group are at the site and do not run yet."""
        rows = [record.row for record in self._records.values()]
        return Counter(row.group for row in rows if row is not None and row.state is AttemptState.SUBMITTED)

    # -- steps -----------------------------------------------------------------------------------------------------

    def due(self, observations: dict[Key, Observation], now: int) -> Iterator[tuple[Attempt, Observation | None]]:
        """Yield the attempts of which something has changed since a look found nothing to do."""
        for key, record in list(self._records.items()):
            if record.row is not None:
                observation = observations.get(key)
                if record.rest is None or not record.rest.holds(record.row, observation, now):
                    yield record.row, observation

    def due_blind(self, now: int) -> Iterator[Attempt]:
        """Yield the attempts to look at while the site can't be observed."""
        for record in list(self._records.values()):
            row, rest = record.row, record.rest
            if row is not None and (rest is None or not rest.holds(row, rest.observation, now)):
                yield row

    def rest(self, attempt: Attempt, observation: Observation | None, until: int) -> None:
        """Note that there is nothing to do before an instant, unless the row or the observation changes."""
        record = self._records.get((attempt.job_id, attempt.number))
        if record is not None:
            record.rest = Rest(attempt, observation, until)

    def start_step(self, key: Key, work: Coroutine[Any, Any, None]) -> None:
        """Start a step of an attempt unless one is under way; attempts do not wait for each other."""
        record = self._records.setdefault(key, LiveAttempt())
        if record.step is not None:
            work.close()
            return
        record.step = asyncio.create_task(self._run_step(key, record, work))

    async def _run_step(self, key: Key, record: LiveAttempt, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (StaleJob, Forbidden):
            self.touch(key[0])  # the job moved on; the next round sees how
        except UwsError as error:
            log.warning("step failed", job=key[0], attempt=key[1], error=error.message)
            await asyncio.sleep(FAILURE_PAUSE_SECONDS)
        except Exception:
            log.exception("step failed", job=key[0], attempt=key[1])
            await asyncio.sleep(FAILURE_PAUSE_SECONDS)
        finally:
            record.step = None
            self._forget_if_idle(key, record)
            self.step_ended.set()

"""The change feed: wakes those who wait for a job.

A single reader in each process follows the event table. A waiter is a future in a dictionary; it costs no thread and no
query. SQLite: the reader is rung after each of this process's own commits, and looks at ``PRAGMA data_version`` for
those of others. PostgreSQL: notifications, sent in the transaction, and a slow poll for what they may have missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING
from typing import cast as typed

from sqlalchemy import cast, func, select
from sqlalchemy.types import BigInteger, Text

from uws_service.domain.errors import UwsError
from uws_service.domain.events import JobEvent
from uws_service.store import queries
from uws_service.store.database import Database, Query
from uws_service.store.history import CHANNEL, EVENTS_BETWEEN, EVENTS_SINCE, LAST_EVENT
from uws_service.store.order import MAX_GAP, Order
from uws_service.store.sqlite import SQLite

if TYPE_CHECKING:
    from uws_service.store.postgresql import PostgreSQL

PAGE_SIZE = 1000
POLL_SQLITE_SECONDS = 0.05
POLL_POSTGRESQL_SECONDS = 1.0
GAP_SECONDS = 30.0
"""How long to look for a missing number: a transaction may commit after a later one."""
GAP_POLL_SECONDS = 0.05
Listener = Callable[[Sequence[JobEvent]], None]


def _transaction(name: str) -> Query:
    """Return the statement for a bound of the transactions that run now (PostgreSQL)."""
    snapshot = getattr(func, f"pg_snapshot_{name}")(func.pg_current_snapshot())
    return Query(select(cast(cast(snapshot, Text), BigInteger)))


OLDEST_TRANSACTION, NEXT_TRANSACTION = _transaction("xmin"), _transaction("xmax")


class Feed:
    """Follows the events of one store."""

    def __init__(self) -> None:
        self._waiters: dict[str, dict[asyncio.Future[None], int]] = {}  # with the version that each has read
        self._anybody: set[asyncio.Future[None]] = set()
        self._followers: list[set[str]] = []
        self._listeners: list[Listener] = []
        self._bell = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._order = Order(has_gaps=False)
        self._database: Database | None = None

    def bind(self, database: Database) -> None:
        """Set the database to read from."""
        self._database = database

    def ring(self) -> None:
        """Look for new events now.

        This process has committed.
        """
        self._bell.set()

    async def start(self) -> None:
        """Start to follow, from the newest event on."""
        assert self._database is not None
        last = int((await self._database.read(LAST_EVENT, {}))[0][0])
        self._order = Order(has_gaps=not isinstance(self._database, SQLite))
        recent = {"first": last - MAX_GAP, "final": last}
        rows = await self._database.read(EVENTS_BETWEEN, recent) if self._order.has_gaps else ()
        self._order.begin(last, (row[0] for row in rows), time.monotonic())
        self._tasks.append(asyncio.create_task(self._follow()))
        if not isinstance(self._database, SQLite):
            self._tasks.append(asyncio.create_task(self._listen(typed("PostgreSQL", self._database))))

    async def stop(self) -> None:
        """Stop, and wake every waiter."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.wake_all()

    def wake_all(self) -> None:
        """Let every waiter return."""
        for waiters in list(self._waiters.values()):
            _wake(waiters)
        _wake(self._anybody)

    def follow(self) -> set[str]:
        """Return a set to which ids of changed jobs are added; the caller empties it."""
        follower: set[str] = set()
        self._followers.append(follower)
        return follower

    def unfollow(self, follower: set[str]) -> None:
        """Stop adding to a set."""
        self._followers = [item for item in self._followers if item is not follower]

    @property
    def horizon(self) -> int:
        """Return the number up to which all events have been told to listeners, or could have been."""
        return self._order.horizon

    def listen(self, listener: Listener) -> None:
        """Call a function with all events from now on, each once and in the order of their numbers."""
        self._listeners.append(listener)

    async def wait_change(self, job_id: str, version: int, timeout: float) -> None:
        """Wait for the next event of a job above ``version``.

        The row is read once after the waiter stands in the dictionary, so that no change can slip by in between.
        """
        future = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(job_id, {})
        waiters[future] = version
        try:
            assert self._database is not None
            rows = await self._database.read(queries.GLANCE, {"id": job_id})
            if not rows or rows[0][0] > version:
                return
            await _until(future, timeout)
        finally:
            del waiters[future]
            if not waiters and self._waiters.get(job_id) is waiters:
                del self._waiters[job_id]

    async def wait_any(self, timeout: float) -> None:
        """Wait for the next event of any job."""
        future = asyncio.get_running_loop().create_future()
        self._anybody.add(future)
        try:
            await _until(future, timeout)
        finally:
            self._anybody.discard(future)

    async def _follow(self) -> None:
        sqlite = self._database if isinstance(self._database, SQLite) else None
        pause = POLL_SQLITE_SECONDS if sqlite is not None else POLL_POSTGRESQL_SECONDS
        last_version = -1
        while True:
            self._bell.clear()
            with contextlib.suppress(UwsError):  # the database is away: try again after the pause
                await self._read()
            while not self._bell.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GAP_POLL_SECONDS if self._order.gaps else pause):
                        await self._bell.wait()
                if sqlite is None:
                    break
                with contextlib.suppress(UwsError):
                    version = sqlite.data_version()
                    if version != last_version:
                        last_version = version
                        break

    async def _read(self) -> None:
        assert self._database is not None
        if self._order.gaps:
            await self._fill_gaps(self._database)
        while True:
            rows = await self._database.read(EVENTS_SINCE, {"since": self._order.last, "page": PAGE_SIZE})
            self._take([JobEvent(*row) for row in rows])
            if len(rows) < PAGE_SIZE:
                break
        if self._order.gaps:
            self._order.set_bound(int((await self._database.read(NEXT_TRANSACTION, {}))[0][0]))

    async def _fill_gaps(self, database: Database) -> None:
        """Look for missing numbers.

        Those whose transactions have ended without them are given up.
        """
        oldest = int((await database.read(OLDEST_TRANSACTION, {}))[0][0])
        first, final = min(self._order.gaps), max(self._order.gaps)
        rows = await database.read(EVENTS_BETWEEN, {"first": first, "final": final})
        self._take([JobEvent(*row) for row in rows if row[0] in self._order.gaps])
        self._publish(self._order.close(oldest, time.monotonic() - GAP_SECONDS))

    def _take(self, events: Sequence[JobEvent]) -> None:
        for event in events:
            self._wake(event.job_id, event.version)
        self._publish(self._order.add(events, time.monotonic()))

    def _publish(self, events: Sequence[JobEvent]) -> None:
        if events:
            for listener in self._listeners:
                listener(events)

    def _wake(self, job_id: str, version: int) -> None:
        for follower in self._followers:
            follower.add(job_id)
        _wake([future for future, old in self._waiters.get(job_id, {}).items() if old < version])
        _wake(self._anybody)

    async def _listen(self, database: PostgreSQL) -> None:
        while True:
            try:
                async with database.listening(CHANNEL) as connection:
                    async for _ in connection.notifies():
                        self._bell.set()
            except Exception:  # any broken connection: the slow poll goes on meanwhile
                await asyncio.sleep(1)


def _wake(waiters: Iterable[asyncio.Future[None]]) -> None:
    for future in waiters:
        if not future.done():
            future.set_result(None)


async def _until(future: asyncio.Future[None], timeout: float) -> None:
    """Wait until the future is done, or the time is over."""
    handle = asyncio.get_running_loop().call_later(timeout, _finish, future)
    try:
        await future
    finally:
        handle.cancel()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

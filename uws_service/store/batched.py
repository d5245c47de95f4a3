"""Reads by primary key that arrive together, as one statement.

Where a read is a round trip to a server, most of its cost is the trip. Each statement is sent after all the requests
that it answers have come, so nobody gets a row that is older than their request: unlike a cache it shows what any
process has committed before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from uws_service.store.database import Database, Query, Row

MAX_TRIPS = 2
"""Statements at once: one waits for the database while the answers of the other are written."""
MAX_KEYS = 256
"""Keys of one statement."""
_Waiting = tuple[str, "asyncio.Future[Row | None]"]


class BatchedReads:
    """Rows by key.

    Parameters
    ----------
    query
        Takes the list ``keys``; its first column is the key, which it does not return twice.
    """

    def __init__(self, database: Database, query: Query) -> None:
        self._database = database
        self._query = query
        self._waiting: list[_Waiting] = []
        self._trips: set[asyncio.Task[None]] = set()
        self._begins = False

    async def get(self, key: str) -> Row | None:
        """Return the columns after the key, or None if there is no such row."""
        if not (key.isascii() and key.isprintable()):  # no id of ours, and one that a database may refuse
            return None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Row | None] = loop.create_future()
        self._waiting.append((key, future))
        if not self._begins and len(self._trips) < MAX_TRIPS:
            self._begins = True
            loop.call_soon(self._begin)  # after what else arrived in this round of the loop
        return await future

    def _begin(self) -> None:
        self._begins = False
        batch, self._waiting = self._waiting[:MAX_KEYS], self._waiting[MAX_KEYS:]
        if batch:
            trip = asyncio.get_running_loop().create_task(self._read(batch))
            self._trips.add(trip)
            trip.add_done_callback(self._end)

    def _end(self, trip: asyncio.Task[None]) -> None:
        self._trips.discard(trip)
        if self._waiting and not self._begins:
            self._begin()

    async def _read(self, batch: Sequence[_Waiting]) -> None:
        try:
            rows = await self._database.read(self._query, {"keys": list({key for key, _ in batch})})
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    _refuse(future, error)
            return
        values = {row[0]: row[1:] for row in rows}
        for key, future in batch:
            if not future.done():
                future.set_result(values.get(key))


def _refuse(future: asyncio.Future[Row | None], error: BaseException) -> None:
    if isinstance(error, Exception):
        future.set_exception(error)
    else:
        future.cancel()

"""PostgreSQL through psycopg 3: reads on asynchronous connections, writes as short transactions on threads.

Connections that break are replaced; a database that is away answers ServiceUnavailable until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from uws_service.errors import ServiceUnavailable, StorageFull
from uws_service.store.database import Params, Query, Row, Transaction

T = TypeVar("T")
READERS = 6
WRITERS = 8
WAIT = 5.0
"""Seconds to wait for a free connection."""
RETRIES = 5


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise StorageFull("The database's disk is full.", retry_after=60) from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise ServiceUnavailable("The database can't be reached.", retry_after=5) from error


class _Tx:
    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def rows(self, query: Query, params: Params) -> Sequence[Row]:
        return self._connection.execute(query.postgresql, {**query.defaults, **params}).fetchall()

    def change(self, query: Query, params: Params) -> int:
        return self._connection.execute(query.postgresql, {**query.defaults, **params}).rowcount


class PostgreSQL:
    """One database, by its URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._readers: AsyncConnectionPool[Any] | None = None
        self._writers: ConnectionPool[psycopg.Connection[Row]] | None = None
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="uws-store-writer")

    async def open(self) -> None:
        """Open the pools; raises ServiceUnavailable when the database does not answer."""
        options = {"autocommit": True, "prepare_threshold": 2, "connect_timeout": 5}
        with _translated():
            self._readers = AsyncConnectionPool(
                self.url, min_size=1, max_size=READERS, open=False, kwargs=options, timeout=WAIT, reconnect_timeout=30
            )
            await self._readers.open(wait=True, timeout=15)
            self._writers = ConnectionPool(
                self.url,
                min_size=1,
                max_size=WRITERS,
                open=False,
                kwargs={**options, "autocommit": False},
                timeout=WAIT,
                reconnect_timeout=30,
            )
            await asyncio.to_thread(self._writers.open, True, 15)

    async def read(self, query: Query, params: Params) -> Sequence[Row]:
        """Rows; tried once more when the connection turns out to be dead."""
        assert self._readers is not None
        with _translated():
            for last in (False, True):
                try:
                    async with self._readers.connection() as connection:
                        cursor = await connection.execute(query.postgresql, {**query.defaults, **params})
                        rows: Sequence[Row] = await cursor.fetchall()
                        return rows
                except (psycopg.OperationalError, psycopg.InterfaceError):
                    if last:
                        raise
                    await self._readers.check()
        raise AssertionError("unreachable")

    async def write(self, operation: Callable[[Transaction], T]) -> T:
        """The operation in a transaction of its own, again if it met another one."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._write, operation)

    def _write(self, operation: Callable[[Transaction], T]) -> T:
        assert self._writers is not None
        with _translated():
            for attempt in range(RETRIES):
                try:
                    with self._writers.connection() as connection:
                        return operation(_Tx(connection))
                except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                    if attempt == RETRIES - 1:
                        raise
                except psycopg.OperationalError as error:
                    # Broken before the first answer: nothing was committed, so it may be done again.
                    if attempt or not isinstance(error, psycopg.errors.AdminShutdown):
                        self._writers.check()
                        raise
                    self._writers.check()
        raise AssertionError("unreachable")

    @contextlib.asynccontextmanager
    async def listening(self, channel: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection that hears the notifications of a channel."""
        with _translated():
            connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True, connect_timeout=5)
            async with connection:
                await connection.execute(f"LISTEN {channel}")
                yield connection

    async def close(self) -> None:
        """Close the pools."""
        if self._readers is not None:
            await self._readers.close()
        if self._writers is not None:
            await asyncio.to_thread(self._writers.close)
        self._threads.shutdown(wait=False)

"""PostgreSQL through psycopg 3.

Reads use asynchronous connections, writes are short transactions on threads.

Connections that break are replaced; a database that is away answers ServiceUnavailable until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper
from psycopg_pool import ConnectionPool, PoolTimeout

from uws_service.domain.errors import ServiceUnavailable, StorageFull
from uws_service.store.database import Joint, Params, Query, Row, Transaction

T = TypeVar("T")
READERS = 6
WRITERS = 8
CONNECTION_WAIT_SECONDS = 5.0
"""How long to wait for a free connection."""
MAX_TRIES = 5
SUMS_MEMORY_MIB = 128
"""What the server may use for each step of a long statement."""
_Reader = psycopg.AsyncConnection[tuple[Any, ...]]


def _adapters() -> AdaptersMap:
    """Return how values are sent: whole numbers always as ``bigint``.

    The driver prepares a statement for each combination of types, and would choose the type by each number's size: a
    statement of many numbers would be parsed and planned nearly every time.
    """
    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_dumper(int, Int8BinaryDumper)
    return adapters


_ADAPTERS = _adapters()


async def _fetch(connection: _Reader, query: Query, params: Params) -> Sequence[Row]:
    cursor = await connection.execute(query.postgresql, params)
    return await cursor.fetchall()


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

    def together(self, joint: Joint, params: Params) -> None:
        text, names = joint.postgresql
        values = {**joint.defaults, **params}
        psycopg.RawCursor(self._connection).execute(text, [values[name] for name in names])


class PostgreSQL:
    """One database, by its URL."""

    duplicate: type[Exception] = psycopg.errors.UniqueViolation

    def __init__(self, url: str) -> None:
        self.url = url
        # Idle connections, the last used one first; None: a connection that can be opened. The library's pool costs as
        # much as a third of a read by primary key.
        self._readers: asyncio.LifoQueue[_Reader | None] = asyncio.LifoQueue()
        for _ in range(READERS):
            self._readers.put_nowait(None)
        self._writers: ConnectionPool[psycopg.Connection[Row]] | None = None
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="uws-store-writer")

    async def open(self) -> None:
        """Open the pools, or raise `ServiceUnavailable`."""
        options = {"prepare_threshold": 2, "connect_timeout": 5, "context": _ADAPTERS}
        with _translated():
            self._writers = ConnectionPool(
                self.url,
                min_size=1,
                max_size=WRITERS,
                open=False,
                kwargs={**options, "autocommit": False},
                timeout=CONNECTION_WAIT_SECONDS,
                reconnect_timeout=30,
            )
            await asyncio.to_thread(self._writers.open, True, 15)

    async def read(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows; retry once if the connection is dead."""
        values = {**query.defaults, **params} if query.defaults else params
        with _translated():
            connection = await self._readers.get()
            try:
                try:
                    connection = connection or await self._connect()
                    return await _fetch(connection, query, values)
                except (psycopg.OperationalError, psycopg.InterfaceError):
                    if connection is not None:
                        await connection.close()
                    connection = None
                    connection = await self._connect()
                    return await _fetch(connection, query, values)
            except psycopg.DataError:
                if any(isinstance(value, str) and "\0" in value for value in values.values()):
                    return ()  # its texts hold no NUL, so nothing can be equal to one
                raise
            finally:
                usable = connection is not None and not connection.closed
                self._readers.put_nowait(connection if usable else None)

    async def pages(self, query: Query, params: Params, size: int) -> AsyncIterator[Sequence[Row]]:
        """Yield the rows of a statement page by page, as the server makes them, through a connection of its own.

        A cursor of the server would bar it from working on the statement with several processes.
        """
        with _translated():
            connection = await psycopg.AsyncConnection.connect(self.url, connect_timeout=5, context=_ADAPTERS)
            async with connection, connection.cursor() as cursor:
                # So that sums over many groups are made in memory rather than by sorting all rows.
                await cursor.execute(f"SET LOCAL work_mem = '{SUMS_MEMORY_MIB}MB'")
                page: list[Row] = []
                async for row in cursor.stream(query.postgresql, {**query.defaults, **params}):
                    page.append(row)
                    if len(page) == size:
                        yield page
                        page = []
                if page:
                    yield page

    async def read_large(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows; they arrive in parts, between which the event loop goes on."""
        return await self.read(query, params)

    async def _connect(self) -> _Reader:
        return await psycopg.AsyncConnection.connect(
            self.url, autocommit=True, prepare_threshold=2, connect_timeout=5, context=_ADAPTERS
        )

    async def write(self, operation: Callable[[Transaction], T]) -> T:
        """Run the operation in a transaction.

        Retry if it met another.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._write, operation)

    def _write(self, operation: Callable[[Transaction], T]) -> T:
        assert self._writers is not None
        with _translated():
            for attempt in range(MAX_TRIES):
                try:
                    with self._writers.connection() as connection:
                        return operation(_Tx(connection))
                except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                    if attempt == MAX_TRIES - 1:
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
        """Open a connection that receives a channel's notifications."""
        with _translated():
            connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True, connect_timeout=5)
            async with connection:
                await connection.execute(f"LISTEN {channel}")
                yield connection

    async def close(self) -> None:
        """Close the pools."""
        for _ in range(READERS):
            if (connection := await self._readers.get()) is not None:
                await connection.close()
        if self._writers is not None:
            await asyncio.to_thread(self._writers.close)
        self._threads.shutdown(wait=False)

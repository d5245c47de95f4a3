"""SQLite: reads on the event loop, writes on a thread that commits in groups.

A read by primary key takes microseconds, less than handing it to a thread would. A commit waits for the disk
(``synchronous=FULL``), so the writer takes all operations that wait, each in a savepoint, and commits them at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from uws_service.domain.errors import ServiceUnavailable, StorageFull, UwsError
from uws_service.store.database import Params, Query, Row, Transaction

T = TypeVar("T")
MAX_OPERATIONS = 256
"""Operations in one commit."""
_Item = tuple[Callable[[Transaction], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_FULL" or "disk is full" in str(error):
            raise StorageFull("The database's disk is full.", retry_after=60) from error
        raise ServiceUnavailable(f"The database can't be used: {error}.", retry_after=5) from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise ServiceUnavailable(f"The database can't be used: {error}.", retry_after=5) from error


class _Tx:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, query: Query, params: Params) -> Sequence[Row]:
        return self._connection.execute(query.sqlite, {**query.defaults, **params}).fetchall()

    def change(self, query: Query, params: Params) -> int:
        return self._connection.execute(query.sqlite, {**query.defaults, **params}).rowcount


class SQLite:
    """One database file.

    Parameters
    ----------
    path
        The file; it must have its tables already.
    committed
        Called on the event loop after each group of writes.
    """

    def __init__(self, path: str, committed: Callable[[], None]) -> None:
        self.path = path
        self._committed = committed
        self._reader = self._connect()
        self._reader.execute("PRAGMA query_only=ON")
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="uws-store-writer", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        with _translated():
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=20
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA busy_timeout=20000")
            connection.execute("PRAGMA cache_size=-32000")
            return connection

    def fetch(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows."""
        with _translated():
            return self._reader.execute(query.sqlite, {**query.defaults, **params}).fetchall()

    async def read(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows, read on the event loop's thread."""
        return self.fetch(query, params)

    def data_version(self) -> int:
        """Return a number that other connections' commits change."""
        with _translated():
            return int(self._reader.execute("PRAGMA data_version").fetchone()[0])

    async def write(self, operation: Callable[[Transaction], T]) -> T:
        """Run the operation on the writer's thread, until it is on disk."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put((operation, future, loop))
        return await future

    async def close(self) -> None:
        """Finish what waits, then close."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, 30)
        self._reader.close()

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        ending = False
        while not ending:
            batch: list[_Item] = []
            item = self._queue.get()
            while True:
                if item is None:
                    ending = True
                    break
                batch.append(item)
                if len(batch) >= MAX_OPERATIONS or self._queue.empty():
                    break
                item = self._queue.get()
            if not batch:
                continue
            try:
                connection = connection or self._connect()
                outcomes = self._commit(connection, batch)
            except (UwsError, sqlite3.Error) as error:
                outcomes = [(None, error)] * len(batch)
                if connection is not None:
                    connection.close()
                    connection = None
            self._answer(batch, outcomes)
        if connection is not None:
            connection.close()

    def _commit(self, connection: sqlite3.Connection, batch: list[_Item]) -> list[tuple[Any, BaseException | None]]:
        outcomes: list[tuple[Any, BaseException | None]] = []
        transaction = _Tx(connection)
        with _translated():
            connection.execute("BEGIN IMMEDIATE")
            try:
                for operation, _, _ in batch:
                    connection.execute("SAVEPOINT operation")
                    try:
                        outcomes.append((operation(transaction), None))
                        connection.execute("RELEASE operation")
                    except sqlite3.OperationalError:
                        raise
                    except Exception as error:
                        connection.execute("ROLLBACK TO operation")
                        connection.execute("RELEASE operation")
                        outcomes.append((None, error))
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        return outcomes

    def _answer(self, batch: list[_Item], outcomes: list[tuple[Any, BaseException | None]]) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any, BaseException | None]]] = {}
        for (_, future, loop), (value, error) in zip(batch, outcomes, strict=True):
            loops.setdefault(loop, []).append((future, value, error))
        for loop, settled in loops.items():
            with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits
                loop.call_soon_threadsafe(self._settle, settled)

    def _settle(self, settled: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
        self._committed()
        for future, value, error in settled:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

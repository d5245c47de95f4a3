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
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

from uws_service.domain.errors import ServiceUnavailable, StorageFull, UwsError
from uws_service.store.database import Joint, Params, Query, Row, Transaction

T = TypeVar("T")
MAX_OPERATIONS = 256
"""Operations in one commit."""
_Item = tuple[Callable[[Transaction], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]
_Outcome = tuple[Any, BaseException | None]


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translation(error) from error


def _translation(error: sqlite3.DatabaseError) -> Exception:
    """Return what a failure of the database means for callers; a fault of the statement is itself."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return error
    full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL" or "disk is full" in str(error)
    if full and isinstance(error, sqlite3.OperationalError):
        return StorageFull("The database's disk is full.", retry_after=60)
    return ServiceUnavailable(f"The database can't be used: {error}.", retry_after=5)


class _Tx:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, query: Query, params: Params) -> Sequence[Row]:
        return self._connection.execute(query.sqlite, {**query.defaults, **params}).fetchall()

    def change(self, query: Query, params: Params) -> int:
        return self._connection.execute(query.sqlite, {**query.defaults, **params}).rowcount

    def together(self, joint: Joint, params: Params) -> None:
        values = {**joint.defaults, **params}
        for text in joint.sqlite:
            self._connection.execute(text, values)


class SQLite:
    """One database file.

    Parameters
    ----------
    path
        The file; it must have its tables already.
    committed
        Called on the event loop after each group of writes.
    """

    duplicate: type[Exception] = sqlite3.IntegrityError

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
            connection.create_function("pow", 2, pow, deterministic=True)  # not every build of SQLite has it
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA busy_timeout=20000")
            connection.execute("PRAGMA cache_size=-32000")
            return connection

    def fetch(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows."""
        values = {**query.defaults, **params} if query.defaults else params
        try:
            return self._reader.execute(query.sqlite, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise _translation(error) from error

    async def read(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows, read on the event loop's thread."""
        return self.fetch(query, params)

    async def pages(self, query: Query, params: Params, size: int) -> AsyncIterator[Sequence[Row]]:
        """Yield the rows of a statement page by page, read on threads by a connection of its own."""
        connection = await asyncio.to_thread(self._connect)
        try:
            with _translated():
                values = {**query.defaults, **params}
                cursor = await asyncio.to_thread(connection.execute, query.sqlite, values)
                while rows := await asyncio.to_thread(cursor.fetchmany, size):
                    yield rows
        finally:
            connection.close()

    async def read_large(self, query: Query, params: Params) -> Sequence[Row]:
        """Return rows, read on a thread by a connection of its own."""
        return await asyncio.to_thread(self._fetch_aside, query, params)

    def _fetch_aside(self, query: Query, params: Params) -> Sequence[Row]:
        with contextlib.closing(self._connect()) as connection, _translated():
            connection.execute("PRAGMA query_only=ON")
            return connection.execute(query.sqlite, {**query.defaults, **params}).fetchall()

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

    def _commit(self, connection: sqlite3.Connection, batch: list[_Item]) -> list[_Outcome]:
        """Run all operations in one transaction; the one that fails leaves nothing.

        Most batches hold none that fails, so savepoints, which cost as much as a change, are for the second try.
        """
        with _translated():
            try:
                return self._run(connection, batch, self._plainly)
            except sqlite3.OperationalError:
                raise
            except Exception:  # of an operation: it fails again in its savepoint
                return self._run(connection, batch, self._in_savepoint)

    def _run(
        self,
        connection: sqlite3.Connection,
        batch: list[_Item],
        run: Callable[[sqlite3.Connection, Callable[[Transaction], Any]], _Outcome],
    ) -> list[_Outcome]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [run(connection, operation) for operation, _, _ in batch]
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return outcomes

    def _plainly(self, connection: sqlite3.Connection, operation: Callable[[Transaction], Any]) -> _Outcome:
        return operation(_Tx(connection)), None

    def _in_savepoint(self, connection: sqlite3.Connection, operation: Callable[[Transaction], Any]) -> _Outcome:
        connection.execute("SAVEPOINT operation")
        try:
            outcome = (operation(_Tx(connection)), None)
            connection.execute("RELEASE operation")
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            connection.execute("ROLLBACK TO operation")
            connection.execute("RELEASE operation")
            return None, error
        return outcome

    def _answer(self, batch: list[_Item], outcomes: list[_Outcome]) -> None:
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

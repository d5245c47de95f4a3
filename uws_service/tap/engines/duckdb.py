"""Queries on Parquet files with DuckDB, within this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import structlog

from uws_service.adql.model import Dialect, Table, Translation
from uws_service.adql.physical import bare, column_names, identifier, table_name, table_sql
from uws_service.domain.errors import UsageError, UwsError
from uws_service.tap.engines.arrow import Stream, conform, schema
from uws_service.tap.engines.base import Bounds
from uws_service.tap.engines.deadlines import Deadlines
from uws_service.tap.engines.errors import bad_value, engine_failure, too_big, too_slow, with_row_limit
from uws_service.tap.engines.parquet import FILE
from uws_service.tap.engines.sandbox import lock, open_sandbox

_BATCH_ROWS = 10_000
log = structlog.get_logger(__name__)


class DuckDBEngine:
    """Runs queries on Parquet tables and on small ones in memory.

    Parameters
    ----------
    published
        Each table with the folder of its files, or with its rows (TAP_SCHEMA).
    temporary
        A folder for what does not fit into memory.
    temporary_bytes
        How large that may get, for all queries together.
    threads
        How many threads a database uses; all cores by default.

    Queries with the same memory bound share a database, and so that memory. Every query has a cursor of its own, so
    several threads may run queries.
    """

    dialect: Dialect = "duckdb"

    def __init__(
        self,
        published: Sequence[tuple[Table, Path | pa.Table]],
        temporary: Path,
        temporary_bytes: int = 10_000_000_000,
        threads: int | None = None,
    ) -> None:
        self._published = tuple(published)
        self._temporary = temporary
        self._temporary_bytes = temporary_bytes
        self._threads = threads or os.cpu_count() or 1
        self._databases: dict[int, duckdb.DuckDBPyConnection] = {}
        self._missing: dict[int, dict[str, tuple[Table, Path | pa.Table]]] = {}
        """Tables that a database does not have yet, by its memory and their full names."""
        self._lock = threading.Lock()
        self._deadlines = Deadlines()

    def query(
        self,
        translation: Translation,
        bounds: Bounds,
        uploads: Mapping[str, tuple[Table, Iterable[pa.RecordBatch]]],
    ) -> Iterator[pa.RecordBatch]:
        """See `Engine.query`."""
        with self._lock:
            cursor = self._database(bounds.memory, translation.tables).cursor()
        with self._deadlines.within(bounds.seconds, cursor.interrupt) as deadline:
            try:
                yield from self._run(cursor, translation, bounds, uploads)
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise _translated_error(error, bounds, deadline.passed) from error
            finally:
                deadline.call_off()
                cursor.close()

    def _run(
        self,
        cursor: duckdb.DuckDBPyConnection,
        translation: Translation,
        bounds: Bounds,
        uploads: Mapping[str, tuple[Table, Iterable[pa.RecordBatch]]],
    ) -> Iterator[pa.RecordBatch]:
        for table, batches in uploads.values():
            upload_schema = schema(table.columns, column_names(table, self.dialect))
            stream = Stream(conform(batches, upload_schema, table.full_name), upload_schema)
            cursor.register("arriving", stream.reader)
            try:
                cursor.execute(f"CREATE TEMP TABLE {table_sql(table)} AS SELECT * FROM arriving")
            except duckdb.Error as error:
                if stream.error is not None:
                    raise stream.error from None
                if isinstance(error, duckdb.InterruptException | duckdb.OutOfMemoryException):
                    raise
                # What a library of the reader has thrown, which reaches no Python.
                raise UsageError(f"The table {table.full_name} can't be read: {str(error)[:200]}") from None
            cursor.unregister("arriving")
        result_schema = schema(translation.columns, [c.name for c in translation.columns])
        remaining = bounds.rows + 1
        statements = cursor.extract_statements(with_row_limit(translation, remaining))
        if [s.type for s in statements] != [duckdb.StatementType.SELECT]:
            raise duckdb.PermissionException("the SQL is not one SELECT")
        reader = cursor.sql(statements[0]).to_arrow_reader(_BATCH_ROWS)
        for batch in conform(reader, result_schema, "The result"):
            if batch.num_rows:
                yield batch.slice(0, remaining)
                remaining -= batch.num_rows
            if remaining <= 0:
                return

    def _database(self, memory: int, names: Iterable[str]) -> duckdb.DuckDBPyConnection:
        """Return a database that has the tables of these names: each is made when a query first reads it."""
        database = self._databases.get(memory)
        if database is None:
            self._temporary.mkdir(parents=True, exist_ok=True)
            folders = [rows_or_folder for _, rows_or_folder in self._published if isinstance(rows_or_folder, Path)]
            database = open_sandbox(folders, memory, self._temporary, self._temporary_bytes, self._threads)
            lock(database)
            self._databases[memory] = database
            self._missing[memory] = {table.full_name: (table, rows) for table, rows in self._published}
        missing = self._missing[memory]
        for name in names:
            if name in missing:
                self._create(database, *missing[name])
                del missing[name]
        return database

    def _create(self, database: duckdb.DuckDBPyConnection, table: Table, rows_or_folder: Path | pa.Table) -> None:
        if isinstance(rows_or_folder, Path):
            path = str(rows_or_folder.resolve() / FILE).replace("'", "''")
            database.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(bare(table.schema))}")
            database.execute(f"CREATE VIEW {table_sql(table)} AS SELECT * FROM read_parquet('{path}')")
            return
        table_schema = schema(table.columns, column_names(table, self.dialect))
        rows = pa.Table.from_batches(conform(rows_or_folder.to_batches(), table_schema, table.full_name), table_schema)
        database.register("arriving", rows)
        database.execute(f"CREATE TABLE {identifier(table_name(table))} AS SELECT * FROM arriving")
        database.unregister("arriving")

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            for database in self._databases.values():
                database.close()
            self._databases.clear()
            self._missing.clear()


def _translated_error(error: Exception, bounds: Bounds, out_of_time: bool) -> UwsError:
    message = str(error)
    if out_of_time or isinstance(error, duckdb.InterruptException) or "INTERRUPT" in message:
        return too_slow(bounds)
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in message or "max_temp_directory" in message:
        return too_big(bounds)
    bad_value_error = bad_value(message)
    if bad_value_error is None:
        log.error("query engine failed", engine="duckdb", error=message)
    return bad_value_error or engine_failure()

"""Queries on PostgreSQL, with pgsphere and q3c if installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import psycopg
import pyarrow as pa
import structlog
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from uws_service.adql.model import Dialect, Table, Translation
from uws_service.adql.physical import column_names, table_name
from uws_service.adql.types import type_of
from uws_service.domain.errors import ServiceUnavailable, UwsError
from uws_service.tap.engines.arrow import conform, schema
from uws_service.tap.engines.base import Bounds
from uws_service.tap.engines.deadlines import Deadlines
from uws_service.tap.engines.errors import bad_value, engine_failure, too_big, too_slow, with_row_limit

_BATCH_ROWS = 10_000
_CONNECT_SECONDS = 10
_TYPES = {
    "boolean": "boolean",
    "unsignedByte": "smallint",
    "short": "smallint",
    "int": "integer",
    "long": "bigint",
    "float": "real",
    "double": "double precision",
    "char": "text",
    "unicodeChar": "text",
    "timestamp": "timestamp",
}
log = structlog.get_logger(__name__)
Connection = psycopg.Connection[tuple[Any, ...]]


class PostgreSQLEngine:
    """Runs queries in read-only transactions.

    Parameters
    ----------
    url
        The database, with a user that may read the published tables and nothing else, and create temporary tables.
    passing
        Small tables that the database does not have (TAP_SCHEMA), with their rows.
    connections
        How many queries run at the same time; more wait for their turn.
    """

    def __init__(self, url: str, small_tables: Sequence[tuple[Table, pa.Table]] = (), connections: int = 4) -> None:
        self._deadlines = Deadlines()
        self._loaded: WeakKeyDictionary[Connection, set[str]] = WeakKeyDictionary()
        self._small_tables = {table.full_name: (table, rows) for table, rows in small_tables}
        try:  # a single connection first, since a pool retries without an end
            with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_SECONDS) as connection:
                self._extensions = _extensions(connection)
        except psycopg.OperationalError as error:
            raise ServiceUnavailable("The database of the tables can't be reached.", retry_after=30) from error
        self._pool = ConnectionPool(
            url,
            min_size=1,
            max_size=connections,
            open=True,
            timeout=_CONNECT_SECONDS,
            kwargs={"autocommit": True, "application_name": "uws-service tap"},
            name="tap",
        )
        self.dialect = cast(Dialect, "+".join(["postgresql", *sorted(self._extensions)]))

    def query(
        self,
        translation: Translation,
        bounds: Bounds,
        uploads: Mapping[str, tuple[Table, Iterable[pa.RecordBatch]]],
    ) -> Iterator[pa.RecordBatch]:
        """See `Engine.query`."""
        try:
            with self._pool.connection(timeout=bounds.seconds) as connection:
                yield from self._run(connection, translation, bounds, uploads)
        except PoolTimeout as error:
            raise ServiceUnavailable("Too many queries are running.", retry_after=30) from error
        except psycopg.Error as error:
            raise _translated_error(error, bounds) from error

    def _run(
        self,
        connection: Connection,
        translation: Translation,
        bounds: Bounds,
        uploads: Mapping[str, tuple[Table, Iterable[pa.RecordBatch]]],
    ) -> Iterator[pa.RecordBatch]:
        temporary_tables: list[str] = []
        with self._deadlines.within(bounds.seconds, connection.cancel_safe) as deadline:
            try:
                self._load_small_tables(connection, translation)
                for table, batches in uploads.values():
                    temporary_tables.append(_load(connection, table, batches))
                yield from self._rows(connection, translation, bounds)
            finally:
                deadline.call_off()
                idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
                if not connection.closed and idle:
                    for name in temporary_tables:
                        connection.execute(sql.SQL("DROP TABLE IF EXISTS pg_temp.{}").format(sql.Identifier(name)))

    def _load_small_tables(self, connection: Connection, translation: Translation) -> None:
        """Load the small tables of a query.

        They live as long as the connection.
        """
        loaded = self._loaded.setdefault(connection, set())
        for name in translation.tables:
            if name in self._small_tables and name not in loaded:
                table, rows = self._small_tables[name]
                _load(connection, table, rows.to_batches())
                loaded.add(name)

    def _rows(self, connection: Connection, translation: Translation, bounds: Bounds) -> Iterator[pa.RecordBatch]:
        result_schema = schema(translation.columns, [c.name for c in translation.columns])
        row_limit = bounds.rows + 1
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ ONLY")
            for name, value in self._settings(bounds):
                connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            with connection.cursor(name="rows", binary=True) as cursor:
                cursor.execute(cast(Any, with_row_limit(translation, row_limit)))
                while rows := cursor.fetchmany(_BATCH_ROWS):
                    columns = zip(*rows, strict=True)
                    arrays = [_array(values, field.type) for values, field in zip(columns, result_schema, strict=True)]
                    yield pa.RecordBatch.from_arrays(arrays, schema=result_schema)

    def _settings(self, bounds: Bounds) -> list[tuple[str, str]]:
        schemas = ["pg_catalog", *dict.fromkeys(self._extensions.values()), "pg_temp"]
        path = ", ".join('"' + name.replace('"', '""') + '"' for name in schemas)
        return [
            ("statement_timeout", f"{max(1, int(bounds.seconds * 1000))}"),
            ("work_mem", f"{min(max(64, bounds.memory // 8 // 1024), 1_000_000)}kB"),
            # Only what is named with its schema is found, besides functions and this session's temporary tables.
            ("search_path", path),
            ("standard_conforming_strings", "on"),
            ("timezone", "UTC"),
            ("datestyle", "ISO"),
            ("extra_float_digits", "1"),
        ]

    def close(self) -> None:
        """See `Engine.close`."""
        self._pool.close()


def _extensions(connection: Connection) -> dict[str, str]:
    """Return the sky extensions and their schemas.

    The keys are the extensions' names in `Dialect`.
    """
    extensions = connection.execute(
        "SELECT e.extname, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname IN ('pg_sphere', 'q3c')"
    ).fetchall()
    return {name.replace("_", ""): schema for name, schema in extensions}


def _load(connection: Connection, table: Table, batches: Iterable[pa.RecordBatch]) -> str:
    """Create a temporary table of rows.

    Return its name.
    """
    name = table_name(table)
    names = column_names(table, "postgresql")
    types = [_TYPES.get(type_of(c)) or _TYPES.get(c.datatype, "bytea") + "[]" for c in table.columns]
    target = sql.Identifier("pg_temp", name)
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(target))
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(cast(Any, t))) for n, t in zip(names, types, strict=True)
    )
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(sql.Identifier(name), columns))
    table_schema = schema(table.columns, names)
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(target)) as copy,
    ):
        copy.set_types(["float8[]" if t.startswith("double precision[") else t for t in types])
        for batch in conform(batches, table_schema, table.full_name):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                copy.write_row(tuple(_without_nul(value) for value in row))
    connection.execute(sql.SQL("ANALYZE {}").format(target))
    return name


def _without_nul(value: Any) -> Any:
    """Remove NUL characters, which PostgreSQL's text cannot hold."""
    return value.replace("\0", "") if isinstance(value, str) and "\0" in value else value


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError):
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):  # numeric
            change = float if pa.types.is_floating(kind) else int
            return pa.array([None if v is None else change(v) for v in values], kind)
        if pa.types.is_string(kind):
            return pa.array([None if v is None else str(v) for v in values], kind)
        raise


def _translated_error(error: psycopg.Error, bounds: Bounds) -> UwsError:
    message = str(error)
    if isinstance(error, psycopg.errors.QueryCanceled):
        return too_slow(bounds)
    if isinstance(
        error, (psycopg.errors.OutOfMemory, psycopg.errors.DiskFull, psycopg.errors.ConfigurationLimitExceeded)
    ):
        return too_big(bounds)
    if isinstance(error, (psycopg.DataError, psycopg.errors.CardinalityViolation)):
        bad_value_error = bad_value(message)
        if bad_value_error is not None:
            return bad_value_error
    log.error("query engine failed", engine="postgresql", error=message)
    if isinstance(error, psycopg.OperationalError):
        return ServiceUnavailable("The database of the tables can't be reached.", retry_after=30)
    return engine_failure()

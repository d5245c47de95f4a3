"""Published tables as Parquet files.

They are sorted by position on the sky, so that a query on a small region reads little.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from uws_service.adql.model import Table
from uws_service.adql.physical import HEALPIX, bare, column_names, has_healpix, identifier
from uws_service.tap.engines.arrow import Stream, conform, schema
from uws_service.tap.engines.healpix import healpix

FILE = "rows.parquet"
# Small enough that a cone reads little, large enough that the index of ten million rows is short.
_ROWS_IN_GROUP = 61_440
_MEMORY = "1GB"


def write_table(
    batches: Iterable[pa.RecordBatch],
    table: Table,
    folder: Path,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write a table's rows into a new folder.

    Return their number.

    The batches have the columns of the table in its order. ``progress`` hears how many rows were read so far. Sorting
    takes at most 1 GB of memory, and disk space beside the folder. Raises `UsageError` when a value
    does not fit its column.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    names = column_names(table, "duckdb")
    row_schema = schema(table.columns, names)
    sky = has_healpix(table, "duckdb")
    counted = _RowCounter(conform(batches, row_schema, table.full_name), progress)
    rows: Iterator[pa.RecordBatch] = iter(counted)
    if sky:
        row_schema = row_schema.append(pa.field(HEALPIX, pa.int64()))
        rows = _with_healpix(rows, table, names, row_schema)
    try:
        connection = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(work / "sorting")})
        try:
            stream = Stream(rows, row_schema)
            connection.register("rows", stream.reader)
            order = f"ORDER BY {identifier(HEALPIX)}" if sky else ""
            target = str(work / FILE).replace("'", "''")
            try:
                connection.execute(
                    f"COPY (SELECT * FROM rows {order}) TO '{target}' "
                    f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROWS_IN_GROUP})"
                )
            except duckdb.Error:
                if stream.error is not None:
                    raise stream.error from None
                raise
        finally:
            connection.close()
        shutil.rmtree(work / "sorting", ignore_errors=True)
        work.chmod(0o755)
        work.rename(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return counted.rows


class _RowCounter:
    def __init__(self, batches: Iterable[pa.RecordBatch], progress: Callable[[int], None] | None) -> None:
        self._batches = batches
        self._progress = progress
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch
            if self._progress:
                self._progress(self.rows)


def _with_healpix(
    batches: Iterable[pa.RecordBatch], table: Table, names: tuple[str, ...], row_schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    assert table.position is not None
    column_names_bare = [bare(c.name) for c in table.columns]
    lon, lat = (names[column_names_bare.index(bare(p))] for p in table.position)
    for batch in batches:
        cells = healpix(batch.column(lon), batch.column(lat))
        yield pa.RecordBatch.from_arrays([*batch.columns, cells], schema=row_schema)

"""Safe reading of users' tables, for applications.

Libraries of the field follow what a file names: `astropy.io.votable` opens the URL of a ``STREAM``, for one. This
reader opens nothing but the file itself, and bounds rows and memory. In a program:

>>> from uws_service.tables import read_table
>>> table = read_table(path)  # an astropy.table.Table

For programs in other languages, ``python -m uws_service.tables FILE --output FILE --format csv`` writes what it has
read as VOTable, CSV, TSV, FITS or Parquet, and one line to standard error with exit code 2 if it is no table.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from uws_service.adql.model import Column
from uws_service.domain.errors import UsageError
from uws_service.tap.readers import FORMATS, Unreadable
from uws_service.tap.readers import read_table as read_source
from uws_service.tap.types import arrow_schema
from uws_service.tap.writers import WRITERS, Document, Rows

if TYPE_CHECKING:
    from astropy.table import Table

MAX_ROWS = 10_000_000
MAX_BYTES = 2**30
"""Memory that the rows of a table may take."""


@dataclass(frozen=True, slots=True)
class UserTable:
    """A table in memory.

    Columns in VOTable's terms, rows as an Arrow table, notes on what was left out.
    """

    columns: tuple[Column, ...]
    rows: pa.Table
    notes: tuple[str, ...]


def read_arrow(
    path: Path, form: str | None = None, *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES
) -> UserTable:
    """Read the first table of a file as an Arrow table.

    Raises
    ------
    uws_service.domain.errors.UsageError
        It is no table, a broken one, refers to another place, or is larger than it may be; one line says why.
    """
    source = read_source(path, form)
    batches, size, count = [], 0, 0
    for batch in source.batches:
        size += batch.nbytes
        count += batch.num_rows
        if count > max_rows:
            raise Unreadable(f"The table has more than {max_rows} rows.")
        if size > max_bytes:
            raise Unreadable(f"The table takes more than {max_bytes} bytes of memory.")
        batches.append(batch)
    rows = pa.Table.from_batches(batches, arrow_schema(source.columns))
    return UserTable(source.columns, rows, source.notes)


def read_table(path: Path, form: str | None = None, *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> Table:
    """Read the first table of a file as an astropy table.

    Units, descriptions, UCDs and utypes come along.

    Missing values are masked. Texts and arrays without a fixed size are columns of objects. What was left out stands
    in ``table.meta["notes"]``. Raises as `read_arrow` does.
    """
    from astropy.table import Table

    source = read_arrow(path, form, max_rows=max_rows, max_bytes=max_bytes)
    table = Table(meta={"notes": list(source.notes)} if source.notes else None)
    for column, values in zip(source.columns, source.rows.columns, strict=True):
        table[column.name] = _astropy_column(column, values)
    return table


def _astropy_column(column: Column, values: Any) -> Any:
    from astropy.table import MaskedColumn

    kind = values.type
    mask = np.asarray(values.is_null().to_numpy())
    if pa.types.is_list(kind) or pa.types.is_string(kind):
        filler: Any = "" if pa.types.is_string(kind) else []
        data = np.empty(len(values), object)
        for index, value in enumerate(values.to_pylist()):
            data[index] = filler if value is None else value if isinstance(value, str) else np.array(value)
    else:
        zero = pa.scalar(False if pa.types.is_boolean(kind) else 0, kind)
        data = values.fill_null(zero).to_numpy()
    meta = {word: text for word in ("ucd", "utype", "xtype") if (text := getattr(column, word))}
    return MaskedColumn(
        data, mask=mask, unit=column.unit, description=column.description or None, meta=meta, copy=False
    )


def main() -> int:
    """Convert a user's table.

    Exit with 2 if it is none.
    """
    parser = argparse.ArgumentParser(prog="python -m uws_service.tables", description="Convert a user's table safely.")
    parser.add_argument("file", type=Path, help="the table, in any of the formats")
    parser.add_argument("--input-format", choices=FORMATS, help="the file's format; found by its content if not set")
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--format", choices=sorted(WRITERS), default="votable", help="the format to write")
    options = parser.parse_args()
    try:
        user_table = read_arrow(options.file, options.input_format)
        rows = Rows(user_table.rows.to_batches(), user_table.columns, max(1, user_table.rows.num_rows))
        with options.output.open("wb") as file:
            for part in WRITERS[options.format](Document(user_table.columns), rows):
                file.write(part)
    except (UsageError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for note in user_table.notes:
        print(note, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

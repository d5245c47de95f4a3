"""Publishing a file as a table.

Its metadata become a description, its rows take the engine's form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uws_service.adql.model import Column, Table
from uws_service.adql.names import needs_quotes
from uws_service.domain.errors import UsageError
from uws_service.tap.catalogue import Folder, check_name
from uws_service.tap.database import position_of
from uws_service.tap.engines.parquet import write_table
from uws_service.tap.position_names import columns_named, is_angle
from uws_service.tap.readers import read_table

UCDS = {"ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}


@dataclass(frozen=True, slots=True)
class IngestResult:
    """A published table, with warnings for the operator."""

    table: Table
    rows: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """The operator's metadata, in place of the file's."""

    name: str
    description: str = ""
    ra: str = ""
    dec: str = ""
    replace: bool = False


def default_name(path: Path, schema: str) -> str:
    """Derive ``schema.table`` from a file's name."""
    stem = re.sub(r"[^a-z0-9]+", "_", path.name.partition(".")[0].lower()).strip("_") or "table"
    return f"{schema}.{stem if stem[0].isalpha() and not needs_quotes(stem) else f't_{stem}'}"


def ingest(
    path: Path, folder: Folder, options: IngestOptions, progress: Callable[[int, int | None], None]
) -> IngestResult:
    """Read a file and publish it.

    ``progress`` gets the number of rows so far, and of all rows if the file has it.

    Raises
    ------
    UsageError
        The file is no table, or the name is wrong or taken.
    """
    schema, name = check_name(options.name)
    for word in (schema, name):
        if needs_quotes(word):
            raise UsageError(f"{word!r} is a word of ADQL's own; choose another name.")
    if not options.replace and any(
        published.table.full_name.lower() == options.name.lower() for published in folder.tables()
    ):
        raise UsageError(f"The table {options.name} is there; --replace puts this one in its place.")
    source = read_table(path)
    columns, position, warnings = _with_positions(source.columns, options)
    table = Table(schema, name, columns, options.description or source.description, position=position)
    folder_of_rows = folder.new_folder(table)
    rows = write_table(source.batches, table, folder_of_rows, lambda count: progress(count, source.rows))
    folder.describe(table, rows, folder_of_rows)
    return IngestResult(table, rows, (*source.notes, *warnings, *_metadata_gaps(table)))


def _with_positions(
    columns: tuple[Column, ...], options: IngestOptions
) -> tuple[tuple[Column, ...], tuple[str, str] | None, list[str]]:
    """Mark the position columns.

    Return warnings on guesses too.
    """
    warnings: list[str] = []
    names: dict[str, str] = {}
    for axis, name in (("ra", options.ra), ("dec", options.dec)):
        if name:
            names[axis] = _named_column(columns, name)
    position = position_of(columns) if not names else None
    if position is not None:
        return columns, position, warnings
    for axis in ("ra", "dec"):
        if axis not in names:
            candidates = [columns[number].name for number in columns_named(axis, columns)]
            if candidates:
                names[axis] = candidates[0]
    if len(names) < 2:
        warnings.append("there are no positions, so no cones and no matches on the sky (name them with --ra and --dec)")
        return columns, None, warnings
    if not (options.ra and options.dec):
        warnings.append(f"{names['ra']} and {names['dec']} are taken for the positions (ICRS, degrees), by their names")
    marked = tuple(
        replace(column, ucd=UCDS[axis], unit="deg")
        if (axis := next((key for key, name in names.items() if name == column.name), ""))
        else column
        for column in columns
    )
    return marked, (names["ra"], names["dec"]), warnings


def _named_column(columns: Sequence[Column], name: str) -> str:
    for column in columns:
        if column.name.lower() == name.lower():
            if not is_angle(column):
                unit = f" in {column.unit}" if column.unit else ""
                raise UsageError(
                    f"The column {column.name!r} ({column.datatype}{unit}) does not hold degrees as numbers."
                )
            return column.name
    raise UsageError(f"There is no column {name!r}; there are: {', '.join(column.name for column in columns)[:500]}.")


def _metadata_gaps(table: Table) -> Iterator[str]:
    """Yield a line for each kind of missing metadata."""
    quoted = [column.name for column in table.columns if needs_quotes(column.name)]
    if quoted:
        yield f"names that queries must write in double quotes: {_abbreviated(quoted)}"
    if not table.description:
        yield "the table has no description (--description)"
    numbers = [column for column in table.columns if column.datatype in ("float", "double")]
    for item, names in (
        ("unit", [column.name for column in numbers if not column.unit]),
        ("UCD", [column.name for column in table.columns if not column.ucd]),
        ("description", [column.name for column in table.columns if not column.description]),
    ):
        if names:
            yield f"no {item}: {_abbreviated(names)}"


def _abbreviated(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")

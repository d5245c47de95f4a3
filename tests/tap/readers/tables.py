"""Random tables, and formats to write them in."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from hypothesis import strategies as st

from uws_service.adql.model import Column
from uws_service.tap.readers import Source, read_table
from uws_service.tap.types import arrow_schema
from uws_service.tap.writers import WRITERS, Document, Rows

COLUMNS = (
    Column("id", "long"),
    Column("count", "int"),
    Column("small", "short"),
    Column("flag", "boolean"),
    Column("x", "double", unit="deg"),
    Column("y", "float"),
    Column("word", "char", "*"),
    Column("name", "unicodeChar", "*"),
    Column("vector", "double", "3"),
    Column("numbers", "int", "2"),
)
MINIMA = {"long": -(2**63), "int": -(2**31), "short": -(2**15)}
Row = tuple[Any, ...]
ASCII = st.text("ab Z09,;'\"<&>|\\-_", max_size=12).map(lambda text: f"x{text}".rstrip())
WIDE = st.text('aøé ☉,"<&', max_size=8).map(lambda text: f"é{text}".rstrip())
DOUBLES = st.floats(-1e12, 1e12) | st.sampled_from([1e300, -1e-300, 0.1, 1 / 3])
FLOATS = st.floats(-1e6, 1e6, width=32)


def _optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def _vector(values: st.SearchStrategy[Any], size: int) -> st.SearchStrategy[Any]:
    several = st.lists(_optional(values), min_size=size, max_size=size)
    return _optional(several).map(lambda vector: None if vector is None or all(v is None for v in vector) else vector)


ROW = st.tuples(
    _optional(st.integers(-(2**63) + 1, 2**63 - 1)),
    _optional(st.integers(-(2**31) + 1, 2**31 - 1)),
    _optional(st.integers(-(2**15) + 1, 2**15 - 1)),
    _optional(st.booleans()),
    _optional(DOUBLES),
    _optional(FLOATS),
    _optional(ASCII),
    _optional(WIDE),
    _vector(DOUBLES, 3),
    _vector(st.integers(-(2**31) + 1, 2**31 - 1), 2),
)
ROWS = st.lists(ROW, min_size=1, max_size=6)


@dataclass(frozen=True)
class Form:
    """A way to write tables."""

    write: Callable[[list[Column], list[Row], Path], None]
    arrays: bool = True
    null_flags: bool = True
    null_arrays: bool = True
    wide: bool = True

    def supports(self, column: Column) -> bool:
        """Return whether the format can hold a column's values."""
        return (
            (self.arrays or column.name not in ("vector", "numbers"))
            and (self.null_flags or column.name != "flag")
            and (self.null_arrays or column.name != "numbers")
            and (self.wide or column.name != "name")
        )


def own(form: str) -> Callable[[list[Column], list[Row], Path], None]:
    """Return a writer of the service's own."""

    def write(columns: list[Column], rows: list[Row], path: Path) -> None:
        schema = arrow_schema(columns)
        batch = pa.RecordBatch.from_arrays(
            [pa.array([row[n] for row in rows], field.type) for n, field in enumerate(schema)], schema=schema
        )
        document = Document(tuple(columns))
        path.write_bytes(b"".join(WRITERS[form](document, Rows([batch], columns, 10**6))))

    return write


def astropy_table(columns: list[Column], rows: list[Row]) -> Any:
    """Return the rows with masks for missing values."""
    from astropy.table import MaskedColumn, Table

    kinds = {"long": "i8", "int": "i4", "short": "i2", "boolean": "?", "double": "f8", "float": "f4"}
    table = Table()
    for number, column in enumerate(columns):
        values = [row[number] for row in rows]
        if column.datatype in kinds:
            size = int(column.arraysize) if column.arraysize else 0
            empty: Any = [None] * size if size else None
            flat = np.array([empty if value is None else value for value in values], object)
            mask = np.vectorize(lambda value: value is None, otypes=[bool])(flat)
            data = np.where(mask, 0, flat).astype(kinds[column.datatype])
            table[column.name] = MaskedColumn(data, mask=mask, unit=column.unit)
        else:
            table[column.name] = [value or "" for value in values]
    return table


def astropy_votable(form: str) -> Callable[[list[Column], list[Row], Path], None]:
    """Return a writer of astropy's VOTables."""

    def write(columns: list[Column], rows: list[Row], path: Path) -> None:
        from astropy.io.votable import from_table, writeto

        with warnings.catch_warnings(action="ignore"):
            document = from_table(astropy_table(columns, rows))
            for field in document.get_first_table().fields:
                if field.datatype in MINIMA:
                    field.values.null = MINIMA[field.datatype]
            writeto(document, str(path), tabledata_format=form)

    return write


def astropy_file(form: str) -> Callable[[list[Column], list[Row], Path], None]:
    """Return astropy's writer of FITS or ECSV."""

    def write(columns: list[Column], rows: list[Row], path: Path) -> None:
        with warnings.catch_warnings(action="ignore"):
            astropy_table(columns, rows).write(path, format=form, overwrite=True)

    return write


def plain(delimiter: str) -> Callable[[list[Column], list[Row], Path], None]:
    """Return Python's writer of CSV."""

    def write(columns: list[Column], rows: list[Row], path: Path) -> None:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter)
        writer.writerow([column.name for column in columns])
        for row in rows:
            writer.writerow(["" if value is None else str(value) for value in row])
        path.write_text(text.getvalue(), encoding="utf-8", newline="")

    return write


def parquet(columns: list[Column], rows: list[Row], path: Path) -> None:
    """Write Parquet as pandas does, with NaN and empty texts."""
    schema = arrow_schema(columns)
    arrays = []
    for number, field in enumerate(schema):
        empty = float("nan") if pa.types.is_floating(field.type) else "" if pa.types.is_string(field.type) else None
        arrays.append(pa.array([empty if row[number] is None else row[number] for row in rows], field.type))
    pyarrow.parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), path)


FORMS = {
    "votable": Form(own("votable")),
    "votable/b2": Form(own("votable/b2")),
    "fits": Form(own("fits"), wide=False),
    "csv": Form(own("csv"), arrays=False),
    "tsv": Form(own("tsv"), arrays=False),
    "parquet": Form(own("parquet")),
    "astropy TABLEDATA": Form(astropy_votable("tabledata"), null_flags=False, null_arrays=False),
    "astropy BINARY": Form(astropy_votable("binary"), null_flags=False, null_arrays=False),
    "astropy BINARY2": Form(astropy_votable("binary2"), null_flags=False, null_arrays=False),
    "astropy ECSV": Form(astropy_file("ascii.ecsv")),
    "astropy FITS": Form(astropy_file("fits"), null_flags=False, null_arrays=False, wide=False),
    "Python CSV": Form(plain(","), arrays=False),
    "Python TSV": Form(plain("\t"), arrays=False),
    "Python CSV with semicolons": Form(plain(";"), arrays=False),
    "pyarrow Parquet": Form(parquet),
}


def rows_of(source: Source) -> list[Row]:
    """Return all rows of a table."""
    return [tuple(row) for batch in source.batches for row in zip(*(array.to_pylist() for array in batch), strict=True)]


def read_rows(path: Path) -> list[Row]:
    """Return all rows of a file."""
    return rows_of(read_table(path))


def same(value: Any, expected: Any, column: Column) -> bool:
    """Compare values, floats to the last bit of their type."""
    if isinstance(expected, list) and isinstance(value, list):
        return len(value) == len(expected) and all(map(lambda a, b: same(a, b, column), value, expected))
    if value is None or expected is None:
        return value is expected
    if column.datatype == "float":
        return bool(np.float32(value) == np.float32(expected))
    return bool(value == expected)

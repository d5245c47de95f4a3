"""A table's rows in a form in which any of them is found at once.

One pass over a file makes it, with an overview of all rows. It is Arrow's file format, which is mapped into memory and
not read; a page of it costs the same wherever it lies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uws_service.domain.errors import UsageError
from uws_service.tap.overview import Overview, described, shown_rows
from uws_service.tap.readers import Source, read_table
from uws_service.tap.types import arrow_schema, conform

MAX_SORTED_ROWS = 5_000_000
"""Rows up to which a table is sorted."""
FIRST_ROWS = 100


def make_copy(path: Path, copy: Path, max_bytes: int) -> dict[str, Any]:
    """Read a table once; write its copy and return its overview.

    A copy that grows too large is ended: the overview says how many rows it has.

    Raises
    ------
    Unreadable
        The file is no table, or broken.
    """
    source = read_table(path)
    overview = Overview(source.columns, FIRST_ROWS)
    draft = copy.with_suffix(".draft")
    copied = _write(source, overview, draft, max_bytes)
    content = {**overview.as_dict(), "copied": copied, "notes": list(source.notes), "title": source.name}
    draft.replace(copy)
    return content


def _write(source: Source, overview: Overview, draft: Path, max_bytes: int) -> int:
    """Write the rows as long as there is room; return how many."""
    copied = 0
    schema = arrow_schema(source.columns)
    with draft.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in source.batches:
            overview.add(batch)
            if copied == overview.count - batch.num_rows and file.tell() + batch.nbytes <= max_bytes:
                writer.write_batch(conform(batch, source.columns))
                copied = overview.count
    return copied


def first_rows(path: Path, limit: int) -> dict[str, Any]:
    """Return the first rows of a table, without reading the others."""
    source = read_table(path)
    rows: list[list[str | None]] = []
    for batch in source.batches:
        rows += shown_rows(batch.slice(0, limit - len(rows)))
        if len(rows) >= limit:
            break
    return {
        "columns": [described(column) for column in source.columns],
        "rows": rows,
        "count": source.rows,
        "notes": list(source.notes),
        "title": source.name,
    }


class Copy:
    """A copy that is there.

    Parameters
    ----------
    path
        Of the copy.
    """

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as mapped:
            self.table: Any = pa.ipc.open_file(mapped).read_all()

    def page(self, offset: int, limit: int, sort: str, *, descending: bool) -> Any:
        """Return rows as a table, in the order of the file or of a column.

        Raises
        ------
        UsageError
            There is no such column, or the table can't be sorted by it.
        """
        if not sort:
            return self.table.slice(offset, limit)
        return self.table.take(self._order(sort, descending=descending)[offset : offset + limit])

    def _order(self, sort: str, *, descending: bool) -> Any:
        """Return the numbers of all rows in order; missing values come last."""
        if sort not in self.table.column_names:
            raise UsageError(f"SORT: there is no column {sort[:80]!r}.")
        if self.table.num_rows > MAX_SORTED_ROWS:
            raise UsageError(f"SORT: the table has more than {MAX_SORTED_ROWS} rows, too many to sort.")
        column = self.table.column(sort)
        if pa.types.is_list(column.type):
            raise UsageError(f"SORT: the column {sort[:80]!r} holds arrays.")
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if pa.types.is_boolean(column.type):
            column = pc.cast(column, pa.int8())
        order = "descending" if descending else "ascending"
        # A second key, the row's number, makes equal values keep their order from page to page.
        keys = pa.table({"key": column, "row": np.arange(self.table.num_rows)})
        return pc.sort_indices(keys, [("key", order, "at_end"), ("row", "ascending")])


def typed_rows(table: Any) -> list[list[Any]]:
    """Return rows in JSON's types; what JSON has no number for is a text: ``NaN``, ``+Inf``, ``-Inf``."""
    arrays = [_json_values(column) for column in table.columns]
    return [list(row) for row in zip(*arrays, strict=True)]


def _json_values(column: Any) -> list[Any]:
    return [_json_value(value) for value in column.to_pylist()]


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def text_rows(table: Any) -> list[list[str | None]]:
    """Return rows as texts for a page."""
    return [row for batch in table.combine_chunks().to_batches() for row in shown_rows(batch)]


def encoded(content: dict[str, Any]) -> Iterator[bytes]:
    """Yield JSON."""
    yield json.dumps(content).encode()

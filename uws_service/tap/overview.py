"""An overview of a table's rows for a page: first rows, a sample of all numbers, the sky.

It is collected while the rows pass by, in memory that does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uws_service.adql.model import Column
from uws_service.tap.position_names import guessed_positions
from uws_service.tap.preview_write import Sample, position_columns
from uws_service.tap.sky import sky_svg
from uws_service.tap.sky_bins import SkyBins
from uws_service.tap.writers.text import texts

MAX_SAMPLE_ROWS = 2000
"""Rows of the sample of numbers, from all rows."""
MAX_NUMERIC_COLUMNS = 64
MAX_CELL_CHARACTERS = 200
"""Characters of a value that a page shows."""
MAX_DOTS = 2000
"""Positions up to which each is drawn; more are counted by cells."""
NUMERIC = frozenset({"unsignedByte", "short", "int", "long", "float", "double"})


def numeric_columns(columns: Sequence[Column]) -> list[int]:
    """Return the numbers of the columns that can be plotted."""
    numbers = [
        number
        for number, column in enumerate(columns)
        if column.datatype in NUMERIC and column.arraysize is None and not column.xtype
    ]
    return numbers[:MAX_NUMERIC_COLUMNS]


def shown_rows(batch: Any) -> list[list[str | None]]:
    """Return a batch as texts for a page; a missing value is None."""
    columns = []
    for array in batch.columns:
        words = pc.if_else(pc.is_valid(array), texts(array), pa.scalar(None, pa.string()))
        columns.append([word if word is None else shortened(word) for word in words.to_pylist()])
    return [list(row) for row in zip(*columns, strict=True)]


def shortened(text: str) -> str:
    """Return a value that fits into a table's cell."""
    return text if len(text) <= MAX_CELL_CHARACTERS else text[: MAX_CELL_CHARACTERS - 1] + "…"


class NumberSample:
    """A bounded, uniform random sample of rows, of their numbers alone.

    Each row gets a random key, and those with the smallest keys stay. The seed is fixed: the same table has the same
    plot.
    """

    def __init__(self, width: int, size: int = MAX_SAMPLE_ROWS) -> None:
        self.size = size
        self._random = np.random.default_rng(21)
        self._rows = np.empty((0, width + 2))  # key, number of the row, values

    def add(self, values: Any, first: int) -> None:
        """Add rows: a matrix of numbers, of which ``first`` is the number of the first row."""
        keys = self._random.random(len(values))
        good = keys < self._rows[:, 0].max() if len(self._rows) == self.size else np.ones(len(keys), bool)
        numbers = np.arange(first, first + len(values), dtype=float)
        rows = np.concatenate([self._rows, np.column_stack([keys, numbers, values])[good]])
        if len(rows) > self.size:
            rows = rows[np.argpartition(rows[:, 0], self.size - 1)[: self.size]]
        self._rows = rows

    def columns(self) -> list[list[float | None]]:
        """Return the values of each column, in the order of the rows; what is no number is None."""
        ordered = self._rows[np.argsort(self._rows[:, 1])] if len(self._rows) else self._rows
        values = ordered[:, 2:].T
        return [[float(value) if np.isfinite(value) else None for value in column] for column in values]


class Overview:
    """Collects an overview from the rows that pass by.

    Parameters
    ----------
    columns
        What the rows consist of.
    first_rows
        How many rows are kept as texts.
    """

    def __init__(self, columns: Sequence[Column], first_rows: int) -> None:
        self.columns = columns
        self.first_rows = first_rows
        self.rows: list[list[str | None]] = []
        self.count = 0
        self.numeric = numeric_columns(columns)
        self.sample = NumberSample(len(self.numeric))
        self.axes = position_columns(columns) or guessed_positions(columns)
        self.dots = Sample(MAX_DOTS)
        self.bins = SkyBins()

    def add(self, batch: Any) -> None:
        """Add rows."""
        missing_rows = self.first_rows - len(self.rows)
        if missing_rows > 0:
            self.rows += shown_rows(batch.slice(0, missing_rows))
        if self.numeric:
            self.sample.add(np.column_stack([floats(batch.column(number)) for number in self.numeric]), self.count)
        if self.axes is not None:
            lon, lat = (floats(batch.column(axis)) for axis in self.axes)
            self.dots.add(lon, lat)
            self.bins.add(lon, lat)
        self.count += batch.num_rows

    def watch(self, batches: Iterator[Any]) -> None:
        """Add all rows."""
        for batch in batches:
            self.add(batch)

    def as_dict(self) -> dict[str, Any]:
        """Return the overview as JSON's types."""
        return {
            "columns": [described(column) for column in self.columns],
            "rows": self.rows,
            "count": self.count,
            "numeric": self.numeric,
            "sample": self.sample.columns(),
            **self._sky(),
        }

    def _sky(self) -> dict[str, Any]:
        """Return the picture of the sky, and how many positions it has of how many."""
        located = self.dots.count
        if located <= MAX_DOTS:
            return {"sky": sky_svg(self.dots.positions()), "located": located, "cells": 0}
        picture, cells = self.bins.svg()
        return {"sky": picture, "located": located, "cells": cells}


def described(column: Column) -> dict[str, str | None]:
    """Return what a page and programs are told of a column."""
    words = asdict(column)
    return {name: words[name] for name in ("name", "datatype", "arraysize", "xtype", "unit", "ucd", "description")}


def floats(array: Any) -> Any:
    """Return numbers as doubles; a missing one is NaN."""
    return np.asarray(pc.fill_null(pc.cast(array, pa.float64(), safe=False), float("nan")))

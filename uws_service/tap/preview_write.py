"""A result's preview as JSON: first rows, sample of positions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from uws_service.adql.model import Column
from uws_service.tap.writers.text import texts

MAX_ROWS = 20
MAX_POSITIONS = 2000
"""Positions of the sample, from all rows."""
MAX_CELL_CHARACTERS = 80
"""Characters of a value that are shown."""


class Preview:
    """Collects a preview from the rows that pass by."""

    def __init__(self) -> None:
        self.columns: Sequence[Column] = ()
        self.rows: list[list[str]] = []
        self.count = 0
        self.sample = Sample(MAX_POSITIONS)

    def watch(self, batches: Iterator[Any], columns: Sequence[Column]) -> Iterator[Any]:
        """Yield the batches unchanged, and record them."""
        self.columns = columns
        axes = position_columns(columns)
        for batch in batches:
            self.count += batch.num_rows
            missing_rows = MAX_ROWS - len(self.rows)
            if missing_rows > 0:
                cells = [texts(array).to_pylist() for array in batch.slice(0, missing_rows).columns]
                self.rows += [[text[:MAX_CELL_CHARACTERS] for text in row] for row in zip(*cells, strict=True)]
            if axes is not None:
                lon, lat = (batch.column(axis).to_numpy(zero_copy_only=False).astype(float) for axis in axes)
                self.sample.add(lon, lat)
            yield batch

    def to_json(self) -> str:
        """Return the preview as JSON."""
        described = [
            {"name": column.name, "unit": column.unit, "description": column.description} for column in self.columns
        ]
        return json.dumps(
            {
                "columns": described,
                "rows": self.rows,
                "count": self.count,
                "positions": self.sample.positions(),
                "located": self.sample.count,
            }
        )


class Sample:
    """A bounded, uniform random sample of positions.

    Each position gets a random key, and those with the smallest keys stay. The keys are those of a fixed seed: the same
    result has the same picture.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        """Positions that passed by."""
        self._random = np.random.default_rng(20)
        self._rows = np.empty((0, 3))  # key, longitude, latitude

    def add(self, lon: Any, lat: Any) -> None:
        """Add positions in degrees; ignore invalid ones."""
        good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lon) < 1e6) & (np.abs(lat) <= 90)
        keys = self._random.random(len(lon))
        self.count += int(good.sum())
        if len(self._rows) == self.size:
            good &= keys < self._rows[:, 0].max()
        rows = np.concatenate([self._rows, np.column_stack([keys, lon, lat])[good]])
        if len(rows) > self.size:
            rows = rows[np.argpartition(rows[:, 0], self.size - 1)[: self.size]]
        self._rows = rows

    def positions(self) -> list[tuple[float, float]]:
        """Return longitudes and latitudes, to a third of an arcsecond."""
        return [(round(lon % 360, 4), round(lat, 4)) for _, lon, lat in self._rows.tolist()]


def position_columns(columns: Sequence[Column]) -> tuple[int, int] | None:
    """Return the numbers of the position columns, by UCD.

    Main ones come first.
    """
    numbers = []
    for axis in ("pos.eq.ra", "pos.eq.dec"):
        candidates = [
            (0 if (column.ucd or "").endswith("meta.main") else 1, number)
            for number, column in enumerate(columns)
            if (column.ucd or "").split(";")[0].lower() == axis
            and column.datatype in ("float", "double")
            and column.arraysize is None
        ]
        if not candidates:
            return None
        numbers.append(min(candidates)[1])
    return numbers[0], numbers[1]

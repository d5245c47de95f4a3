"""A look at a result for people: its first rows as text and a sample of its positions, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from uws_service.adql.model import Column
from uws_service.tap.writers.text import texts

ROWS = 20
POSITIONS = 2000
"""Positions of the sample, from all rows."""
LONGEST = 80
"""Characters of a value that are shown."""


class Preview:
    """Looks at the rows that pass by."""

    def __init__(self) -> None:
        self.columns: Sequence[Column] = ()
        self.rows: list[list[str]] = []
        self.count = 0
        self.sample = Sample(POSITIONS)

    def watch(self, batches: Iterator[Any], columns: Sequence[Column]) -> Iterator[Any]:
        """The same batches, seen."""
        self.columns = columns
        axes = position_columns(columns)
        for batch in batches:
            self.count += batch.num_rows
            wanted = ROWS - len(self.rows)
            if wanted > 0:
                cells = [texts(one).to_pylist() for one in batch.slice(0, wanted).columns]
                self.rows += [[text[:LONGEST] for text in row] for row in zip(*cells, strict=True)]
            if axes is not None:
                lon, lat = (batch.column(axis).to_numpy(zero_copy_only=False).astype(float) for axis in axes)
                self.sample.add(lon, lat)
            yield batch

    def to_json(self) -> str:
        """The whole as text."""
        described = [{"name": one.name, "unit": one.unit, "description": one.description} for one in self.columns]
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
    """A uniform random sample of the positions that pass by, of bounded size.

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
        """Look at positions in degrees; what is no position counts for nothing."""
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
    """Which columns hold longitude and latitude on the sky, by UCD; the main ones come first."""
    found = []
    for axis in ("pos.eq.ra", "pos.eq.dec"):
        fits = [
            (0 if (one.ucd or "").endswith("meta.main") else 1, number)
            for number, one in enumerate(columns)
            if (one.ucd or "").split(";")[0].lower() == axis
            and one.datatype in ("float", "double")
            and one.arraysize is None
        ]
        if not fits:
            return None
        found.append(min(fits)[1])
    return found[0], found[1]

"""The beginning of a result for people: its first rows as text and some of its positions, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from uws_service.adql.model import Column
from uws_service.tap.writers.text import texts

ROWS = 20
POSITIONS = 2000
LONGEST = 80
"""Characters of a value that are shown."""


class Preview:
    """Looks at the rows that pass by."""

    def __init__(self) -> None:
        self.columns: Sequence[Column] = ()
        self.rows: list[list[str]] = []
        self.count = 0
        self.positions: list[tuple[float, float]] = []

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
            room = POSITIONS - len(self.positions)
            if axes is not None and room > 0:
                pairs = zip(*(batch.column(axis).slice(0, room).to_pylist() for axis in axes), strict=True)
                self.positions += [
                    (round(lon % 360, 4), round(lat, 4))
                    for lon, lat in pairs
                    if lon is not None and lat is not None and abs(lon) < 1e6 and abs(lat) <= 90
                ]
            yield batch

    def to_json(self) -> str:
        """The whole as text."""
        described = [{"name": one.name, "unit": one.unit, "description": one.description} for one in self.columns]
        return json.dumps({"columns": described, "rows": self.rows, "count": self.count, "positions": self.positions})


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

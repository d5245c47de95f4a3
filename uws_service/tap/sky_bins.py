"""Positions counted by HEALPix cells, and a picture of the counts.

Any number of positions is drawn as what it is: all of them, not the first ones.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from uws_service.tap import sky

DEPTH = 12
"""HEALPix order at which positions are counted at first: cells of 51 arcseconds."""
MAX_COUNTED_CELLS = 50_000
MAX_DRAWN_CELLS = 12_288
MIN_CELL_PIXELS = 3
MAX_UNCOUNTED = 4096
"""Positions that are gathered before they are counted."""
LEVELS = 6
"""Steps of density in the picture."""


class SkyBins:
    """Counts of positions by cell.

    Cells get larger when there are too many.
    """

    def __init__(self) -> None:
        self.depth = DEPTH
        self._few: list[tuple[Any, Any]] = []
        self._few_count = 0
        self._cells = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)

    def add(self, lon: Any, lat: Any) -> None:
        """Add positions in degrees; ignore invalid ones."""
        good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lon) < 1e6) & (np.abs(lat) <= 90)
        self._few.append((lon[good], lat[good]))
        self._few_count += int(good.sum())
        if self._few_count > MAX_UNCOUNTED:
            self._count()

    def _count(self) -> None:
        """Count what was added."""
        import astropy.units as u  # takes a second: few positions do without
        from astropy.coordinates import Latitude, Longitude
        from cdshealpix.nested import lonlat_to_healpix

        lon, lat = (np.concatenate(parts) for parts in zip(*self._few, strict=True))
        self._few, self._few_count = [], 0
        if not len(lon):
            return
        cells = lonlat_to_healpix(Longitude(lon % 360.0, u.deg), Latitude(lat, u.deg), self.depth)
        self._merge(
            np.concatenate([self._cells, cells.astype(np.int64)]),
            np.concatenate([self._counts, np.ones(len(lon), np.int64)]),
        )
        while len(self._cells) > MAX_COUNTED_CELLS:
            self._coarsen()

    def _merge(self, cells: Any, counts: Any) -> None:
        self._cells, inverse = np.unique(cells, return_inverse=True)
        self._counts = np.bincount(inverse, counts).astype(np.int64)

    def _coarsen(self) -> None:
        self.depth -= 1
        self._merge(self._cells >> 2, self._counts)

    def svg(self) -> tuple[str, int]:
        """Return the picture, and how many cells it has."""
        if self._few_count:
            self._count()
        if not len(self._cells):
            return "", 0
        while len(self._cells) > MAX_DRAWN_CELLS and self.depth > 0:
            self._coarsen()
        positions = self._positions()
        scale = sky.pixels_per_degree(positions)
        while scale * self._edge() < MIN_CELL_PIXELS and self.depth > 0:
            self._coarsen()
            positions = self._positions()
        # Equal steps of the logarithm: a cluster does not hide the field around it.
        weights = np.log1p(self._counts)
        span = float(weights.max() - weights.min()) or 1.0
        levels = np.minimum(((weights - weights.min()) / span * LEVELS).astype(int), LEVELS - 1)
        picture = sky.cells_svg(positions, levels.tolist(), LEVELS, self._edge(), int(self._counts.sum()))
        return picture, len(positions)

    def _edge(self) -> float:
        """Return the side of a cell, in degrees."""
        return math.degrees(math.sqrt(math.pi / 3)) / float(2**self.depth)

    def _positions(self) -> list[tuple[float, float]]:
        """Return the middles of the cells."""
        from cdshealpix.nested import healpix_to_lonlat

        lon, lat = healpix_to_lonlat(self._cells.astype(np.uint64), self.depth)
        return list(zip(np.asarray(lon.deg).tolist(), np.asarray(lat.deg).tolist(), strict=True))

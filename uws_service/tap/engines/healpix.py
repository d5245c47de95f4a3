"""Positions to HEALPix cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def healpix(lon: Any, lat: Any, depth: int = 29) -> pa.Array:
    """Nested HEALPix numbers of that depth; NULL where there is no position."""
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    lons = np.asarray(lon.cast(pa.float64()).fill_null(np.nan))
    lats = np.asarray(lat.cast(pa.float64()).fill_null(np.nan))
    good = np.isfinite(lons) & (np.abs(lats) <= 90)
    cells = np.zeros(len(lons), dtype=np.int64)
    if good.any():
        found = lonlat_to_healpix(Longitude(lons[good] % 360.0, u.deg), Latitude(lats[good], u.deg), depth)
        cells[good] = found.astype(np.int64)
    return pa.array(cells, pa.int64(), mask=~good)

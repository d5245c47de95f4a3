"""HEALPix cells of positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def healpix(lon: Any, lat: Any, depth: int = 29) -> pa.Array:
    """Return nested HEALPix indices; NULL for missing positions."""
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    lons = np.asarray(lon.cast(pa.float64()).fill_null(np.nan))
    lats = np.asarray(lat.cast(pa.float64()).fill_null(np.nan))
    good = np.isfinite(lons) & (np.abs(lats) <= 90)
    cells = np.zeros(len(lons), dtype=np.int64)
    if good.any():
        indices = lonlat_to_healpix(Longitude(lons[good] % 360.0, u.deg), Latitude(lats[good], u.deg), depth)
        cells[good] = indices.astype(np.int64)
    return pa.array(cells, pa.int64(), mask=~good)

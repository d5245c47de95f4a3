"""The box of pixels that holds a region. Pure.

astropy's WCS does the projection.
Pixels count from 0 at their middles, so pixel ``i`` reaches from ``i - 0.5`` to ``i + 0.5``. A region's box has its
extremes on the region's edge where that is inside the image, or on the image's border where that is inside the
region; so both are followed, in either direction of the projection. Regions across the meridian 0 and over poles need
no case of their own, since all that is compared are points on the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs.utils import wcs_to_celestial_frame

from uws_service.soda import sky
from uws_service.soda.errors import BadImage, NoOverlap
from uws_service.soda.request import Shape

Floats = sky.Floats
GRID_POINTS = 256
"""Along each side of the grid that is sampled when the sky does not fill the image."""

D2IM_ITERATIONS = 10
"""Corrections are smooth and some pixels at most, so each round is many times nearer."""
TOUCH_PIXELS = 1e-6
"""A region that reaches less far into a pixel only touches it: that is the noise of projections."""


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels ``x0`` ≤ x < ``x1`` and ``y0`` ≤ y < ``y1``."""

    x0: int
    x1: int
    y0: int
    y1: int


class Celestial:
    """The celestial part of an image's WCS, to and from ICRS.

    Parameters
    ----------
    wcs
        A WCS with two celestial axes, in the order of the image's.
    nx, ny
        Pixels along the first and the second of them.
    """

    def __init__(self, wcs: Any, nx: int, ny: int) -> None:
        self.wcs, self.nx, self.ny = wcs, nx, ny
        try:
            self.frame = wcs_to_celestial_frame(wcs)
        except ValueError as error:
            raise BadImage(f"the celestial frame of the image is not known: {error}") from None
        self._icrs = isinstance(self.frame, ICRS)
        self._latitude_first = wcs.wcs.lng == 1

    def to_sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return ICRS degrees.

        NaN where the image shows no sky.
        """
        lon, lat = (np.asarray(angles, float) for angles in self._ordered(*self.wcs.all_pix2world(x, y, 0)))
        bad = ~(np.isfinite(lon) & (np.abs(lat) <= 90))
        if not self._icrs and lon.size:
            position = SkyCoord(np.where(bad, 0, lon), np.where(bad, 0, lat), unit="deg", frame=self.frame).icrs
            lon, lat = position.ra.deg, position.dec.deg
        return np.where(bad, np.nan, lon % 360), np.where(bad, np.nan, lat)

    def to_pixels(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Return the pixels of points.

        NaN for invisible ones.
        """
        own_lon, own_lat = lon, lat
        if not self._icrs:
            position = SkyCoord(lon, lat, unit="deg", frame="icrs").transform_to(self.frame).spherical
            own_lon, own_lat = position.lon.deg, position.lat.deg
        with np.errstate(all="ignore"):
            x, y = self.wcs.all_world2pix(*self._ordered(own_lon, own_lat), 0, quiet=True)
            x, y = self._of_detector(np.asarray(x, float), np.asarray(y, float))
            unseen = ~(np.isfinite(x) & np.isfinite(y))
            # Some projections put the far side of the sky on top of the near one: only what comes back counts.
            back = sky.vectors(*self.to_sky(np.where(unseen, 0, x), np.where(unseen, 0, y)))
            pixel = self.pixel_size()
            unseen |= ~(np.linalg.norm(back - sky.vectors(lon, lat), axis=-1) < np.maximum(1e-6, 0.1 * pixel))
        return np.where(unseen, np.nan, x), np.where(unseen, np.nan, y)

    def _of_detector(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return pixels before a correction of the detector.

        It is one along a single axis (D2IM), which astropy's inverse leaves out.
        """
        if self.wcs.has_distortion or (self.wcs.det2im1 is None and self.wcs.det2im2 is None):
            return x, y
        estimate = np.nan_to_num(x), np.nan_to_num(y)
        for _ in range(D2IM_ITERATIONS):
            corrected = self.wcs.det2im(*estimate, 0)
            estimate = estimate[0] + np.nan_to_num(x) - corrected[0], estimate[1] + np.nan_to_num(y) - corrected[1]
        bad = ~(np.isfinite(x) & np.isfinite(y))
        return np.where(bad, np.nan, estimate[0]), np.where(bad, np.nan, estimate[1])

    def _ordered(self, first: Floats, second: Floats) -> tuple[Floats, Floats]:
        return (second, first) if self._latitude_first else (first, second)

    def pixel_size(self) -> float:
        """Return the approximate side of a pixel in radians."""
        return float(np.radians(np.sqrt(np.abs(np.linalg.det(self.wcs.pixel_scale_matrix)))))

    def border(self) -> tuple[Floats, Floats]:
        """Return points along the image's outer edge.

        There is one for each half pixel or so, at most 40,000 a side.
        """
        across = np.linspace(-0.5, self.nx - 0.5, min(2 * self.nx + 1, 40_000))
        up = np.linspace(-0.5, self.ny - 0.5, min(2 * self.ny + 1, 40_000))
        x = np.concatenate([across, across, np.full(up.size, -0.5), np.full(up.size, self.nx - 0.5)])
        y = np.concatenate([np.full(across.size, -0.5), np.full(across.size, self.ny - 0.5), up, up])
        return x, y


def box(image: Celestial, shape: Shape) -> Box:
    """Return the smallest box that a region touches.

    Raises `NoOverlap` if there is none.
    """
    nx, ny = image.nx, image.ny
    x, y = image.to_pixels(*sky.edge(shape))
    with np.errstate(invalid="ignore"):
        visible = (x >= -0.5) & (x <= nx - 0.5) & (y >= -0.5) & (y <= ny - 0.5)
    xs, ys = [x[visible]], [y[visible]]
    bx, by = image.border()
    lon, lat = image.to_sky(bx, by)
    within = sky.inside(shape, lon, lat)
    xs.append(bx[within])
    ys.append(by[within])
    if np.isnan(lon).any():  # an image with a limb: the region may reach it away from both edges
        gx, gy, step_x, step_y = _grid(nx, ny)
        within = sky.inside(shape, *image.to_sky(gx, gy))
        for dx, dy in ((-step_x, -step_y), (step_x, step_y)):
            xs.append(np.clip(gx[within] + dx, -0.5, nx - 0.5))
            ys.append(np.clip(gy[within] + dy, -0.5, ny - 0.5))
    all_x, all_y = np.concatenate(xs), np.concatenate(ys)
    if not all_x.size:
        raise NoOverlap(f"The image and {shape} do not overlap.")
    x0, x1 = _pixels(all_x, nx)
    y0, y1 = _pixels(all_y, ny)
    return Box(x0, x1, y0, y1)


def _grid(nx: int, ny: int) -> tuple[Floats, Floats, float, float]:
    step_x, step_y = max(1, -(-nx // GRID_POINTS)), max(1, -(-ny // GRID_POINTS))
    gx, gy = np.meshgrid(np.arange(0, nx, step_x, dtype=float), np.arange(0, ny, step_y, dtype=float))
    return gx.ravel(), gy.ravel(), (0 if step_x == 1 else step_x), (0 if step_y == 1 else step_y)


def _pixels(values: Floats, size: int) -> tuple[int, int]:
    """Return the first pixel and the one after the last.

    Positions lie between the outer edges of the image.
    """
    low = min(max(int(np.floor(values.min() + 0.5 + TOUCH_PIXELS)), 0), size - 1)
    high = min(max(int(np.ceil(values.max() - 0.5 - TOUCH_PIXELS)), 0), size - 1)
    return low, max(high, low) + 1

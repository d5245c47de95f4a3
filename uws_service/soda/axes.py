"""The axes of an image beside the sky. Pure.

They tell which channels, instants and polarizations a request selects.
Wavelengths are metres in vacuum, as the axis itself has them: velocities need a rest frequency in the header, and no
change of the rest frame is made. Times are MJD; the axis's own scale is turned into UTC where the header names one.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.time import Time
from astropy.wcs import WCS, WcsError

from uws_service.soda.errors import BadImage, NoOverlap
from uws_service.soda.request import Interval
from uws_service.soda.sky import Floats

STOKES = {
    1: "I", 2: "Q", 3: "U", 4: "V", -1: "RR", -2: "LL", -3: "RL", -4: "LR", -5: "XX", -6: "YY", -7: "XY", -8: "YX",
    5: "POLI", 7: "POLA",
}  # fmt: skip
"""FITS 4.0, table 29."""
TIMES = frozenset({"TIME", "UTC", "TAI", "TT", "TDB", "TCB", "TCG", "UT1", "ET", "TDT", "IAT", "MJD"})
MAX_AXIS_PIXELS = 2_000_000
"""Channels or instants of one axis."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Selected pixels of an axis.

    They are ``start``, ``start + step`` … before ``stop``; the axis has ``size`` pixels.
    """

    start: int
    stop: int
    size: int
    step: int = 1

    @property
    def is_whole(self) -> bool:
        """Return whether it is all of the axis."""
        return (self.start, self.stop, self.step) == (0, self.size, 1)

    def place(self, pixel: float) -> float:
        """Return a pixel's number in the part.

        Both count from 1.
        """
        return (pixel - 1 - self.start) / self.step + 1

    @property
    def count(self) -> int:
        """Return how many pixels are selected."""
        return len(range(self.start, self.stop, self.step))


@dataclass(frozen=True, slots=True)
class Bins:
    """The interval that each pixel of an axis covers.

    It is NaN where the pixel has no value.
    """

    low: Floats
    high: Floats

    @property
    def extent(self) -> tuple[float, float] | None:
        """Return the smallest and the largest value, if any."""
        if not np.isfinite(self.low).any():
            return None
        return float(np.nanmin(self.low)), float(np.nanmax(self.high))


class Axes:
    """The axes of an image by meaning.

    Numbers count from 0 in FITS's order; None where there is no such axis.
    """

    def __init__(self, wcs: Any, shape: tuple[int, ...]) -> None:
        kinds = [str(ctype).upper()[:4].rstrip("-") for ctype in wcs.wcs.ctype]
        image_axes = range(min(len(kinds), len(shape)))
        self.wcs, self.shape = wcs, shape
        self.spectral = int(wcs.wcs.spec) if 0 <= wcs.wcs.spec < len(shape) else None
        self.stokes = next((axis for axis in image_axes if kinds[axis] == "STOK"), None)
        self.time = next((axis for axis in image_axes if kinds[axis] in TIMES), None)

    def wavelengths(self) -> Bins:
        """Return the wavelengths of each channel in metres."""
        assert self.spectral is not None
        try:
            values, unit = self._values(self.spectral)
            return _bins(self._as_wavelengths(values, unit))
        except BadImage:
            raise
        except Exception as error:  # whatever wcslib says of a header that it can't use
            raise BadImage(f"its spectral axis has no wavelengths: {' '.join(str(error).split())[:200]}") from None

    def instants(self) -> Bins:
        """Return the MJD (UTC) of each pixel along time."""
        assert self.time is not None
        try:
            values, unit = self._values(self.time)
            days = values * _DAYS[unit or "s"]
            reference = [float(value) for value in self.wcs.wcs.mjdref if np.isfinite(value)]
            scale = (self.wcs.wcs.timesys or str(self.wcs.wcs.ctype[self.time])).strip().lower()[:4].rstrip("-")
            scale = {"et": "tt", "tdt": "tt", "iat": "tai", "time": "utc"}.get(scale, scale)
            instants = np.full(days.shape, np.nan)
            good = np.isfinite(days)
            instants[good] = Time(sum(reference) + days[good], format="mjd", scale=scale).utc.mjd
            return _bins(instants)
        except BadImage:
            raise
        except Exception as error:
            raise BadImage(f"its time axis can't be read: {' '.join(str(error).split())[:200]}") from None

    def states(self) -> list[str]:
        """Return the polarizations along the Stokes axis."""
        assert self.stokes is not None
        stokes_only = self.wcs.sub([self.stokes + 1])
        numbers = stokes_only.wcs_pix2world(np.arange(self.shape[self.stokes], dtype=float), 0)[0]
        return [STOKES.get(round(float(number)), "?") if np.isfinite(number) else "?" for number in numbers]

    def _as_wavelengths(self, values: Floats, unit: str) -> Floats:
        """Convert frequencies, velocities and so on to metres.

        wcslib converts a straight axis of the same quantity.
        """
        good = np.isfinite(values)
        wavelengths = np.full(values.shape, np.nan)
        if not good.any():
            return wavelengths
        straight, params = WCS(naxis=1), self.wcs.wcs
        reference = float(np.median(values[good]))
        step = float(np.ptp(values[good])) or abs(reference) or 1.0
        straight.wcs.ctype, straight.wcs.cunit = [str(params.ctype[self.spectral])[:4]], [unit]
        straight.wcs.crpix, straight.wcs.crval, straight.wcs.cdelt = [0.0], [reference], [step]
        straight.wcs.restfrq, straight.wcs.restwav = params.restfrq, params.restwav
        straight.wcs.set()
        straight.wcs.sptr("WAVE-???")
        straight.wcs.set()
        wavelengths[good] = straight.wcs_pix2world((values[good] - reference) / step, 1)[0]
        return wavelengths

    def _values(self, axis: int) -> tuple[Floats, str]:
        """Return values at the edges of pixels, and their unit.

        There is a row for each position of the image that is sampled.
        """
        size = self.shape[axis]
        if size > MAX_AXIS_PIXELS:
            raise BadImage(f"axis {axis + 1} has {size} pixels; at most {MAX_AXIS_PIXELS} are cut")
        edges: Floats = np.arange(size + 1, dtype=np.float64) - 0.5
        try:
            axis_only = self.wcs.sub([axis + 1])
        except WcsError:  # values that change along other axes too
            return self._sampled_values(axis, edges), str(self.wcs.wcs.cunit[axis])
        values = np.atleast_2d(axis_only.wcs_pix2world(edges, 0)[0])
        if not np.isfinite(values).all():  # a table of values that ends at the middle of the last pixel
            middles = np.atleast_2d(axis_only.wcs_pix2world(edges[:-1] + 0.5, 0)[0])
            values = _fill_edges(values, middles)
        return values, str(axis_only.wcs.cunit[0])

    def _sampled_values(self, axis: int, edges: Floats) -> Floats:
        """Return values at the ends and middle of other axes."""
        positions = [np.unique([0, (size - 1) // 2, size - 1]) for size in self.shape]
        positions += [np.zeros(1, int)] * (self.wcs.naxis - len(self.shape))
        positions[axis] = np.zeros(1, int)
        places = list(itertools.product(*positions[: self.wcs.naxis]))
        if len(places) * edges.size > MAX_AXIS_PIXELS:
            raise BadImage(f"axis {axis + 1} has too many pixels for one whose values depend on other axes")
        rows = []
        for place in places:
            points = np.tile(np.array(place, float), (edges.size, 1))
            points[:, axis] = edges
            rows.append(self.wcs.all_pix2world(points, 0)[:, axis])
        return np.array(rows)


_DAYS = {"s": 1 / 86400, "d": 1.0, "a": 365.25, "yr": 365.25, "min": 1 / 1440, "h": 1 / 24}


def _fill_edges(values: Floats, middles: Floats) -> Floats:
    """Replace edges without a value by the middle of their pixel."""
    before = np.concatenate([np.full((len(middles), 1), np.nan), middles], axis=1)
    after = np.concatenate([middles, np.full((len(middles), 1), np.nan)], axis=1)
    near = np.where(np.isfinite(before), before, after)
    return np.where(np.isfinite(values), values, near)


def _bins(edges: Floats) -> Bins:
    """Return each pixel from its smallest to its largest edge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pixels without any value
        edge_pairs = np.concatenate([edges[:, :-1], edges[:, 1:]])
        edge_pairs[:, np.isnan(edges[:, :-1]).all(axis=0) | np.isnan(edges[:, 1:]).all(axis=0)] = np.nan
        return Bins(np.nanmin(edge_pairs, axis=0), np.nanmax(edge_pairs, axis=0))


def select_interval(bins: Bins, interval: Interval, parameter: str) -> Pick:
    """Select pixels that overlap an interval, or raise `NoOverlap`.

    The interval's ends belong to it.
    """
    low, high = bins.low, bins.high
    with np.errstate(invalid="ignore"):
        # A pixel that only touches the interval with its edge has nothing of it, unless the interval is a point.
        overlap = (low < interval.high) & (high > interval.low)
        if interval.low == interval.high:
            overlap = (low <= interval.low) & (interval.high <= high)
    matching = np.flatnonzero(overlap)
    if not matching.size:
        extent = bins.extent
        has = f"{extent[0]:.10g} to {extent[1]:.10g}" if extent else "no values"
        raise NoOverlap(f"The image has nothing in {parameter} {interval}; it has {has}.")
    return Pick(int(matching[0]), int(matching[-1]) + 1, low.size)


def select_polarizations(states: list[str], requested: tuple[str, ...]) -> Pick:
    """Select planes by polarization, or raise `NoOverlap`.

    Planes between are selected too where they lie at no regular distance.
    """
    matching = [number for number, state in enumerate(states) if state in requested]
    if not matching:
        raise NoOverlap(f"The image has no polarization {' or '.join(requested)}; it has {', '.join(states)}.")
    steps = {after - before for before, after in itertools.pairwise(matching)}
    step = steps.pop() if len(steps) == 1 else 1
    return Pick(matching[0], matching[-1] + 1, len(states), step)

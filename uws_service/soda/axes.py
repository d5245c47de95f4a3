"""The axes of an image beside the sky: which channels, instants and polarizations were asked for. Pure.

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
MOST_PIXELS = 2_000_000
"""Channels or instants of one axis."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Pixels ``start``, ``start + step`` … before ``stop`` of one axis that has ``size`` of them."""

    start: int
    stop: int
    size: int
    step: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the axis."""
        return (self.start, self.stop, self.step) == (0, self.size, 1)

    def place(self, pixel: float) -> float:
        """Where a pixel of the axis is in the part; both count from 1."""
        return (pixel - 1 - self.start) / self.step + 1

    @property
    def count(self) -> int:
        """How many pixels."""
        return len(range(self.start, self.stop, self.step))


@dataclass(frozen=True, slots=True)
class Bins:
    """From where to where each pixel of an axis reaches; NaN where it has no value."""

    low: Floats
    high: Floats

    @property
    def extent(self) -> tuple[float, float] | None:
        """The smallest and the largest value, or None if there is no value."""
        if not np.isfinite(self.low).any():
            return None
        return float(np.nanmin(self.low)), float(np.nanmax(self.high))


class Axes:
    """Which axis of an image means what; numbers from 0 in FITS's order, None where there is no such axis."""

    def __init__(self, wcs: Any, shape: tuple[int, ...]) -> None:
        kinds = [str(one).upper()[:4].rstrip("-") for one in wcs.wcs.ctype]
        shown = range(min(len(kinds), len(shape)))
        self.wcs, self.shape = wcs, shape
        self.spectral = int(wcs.wcs.spec) if 0 <= wcs.wcs.spec < len(shape) else None
        self.stokes = next((axis for axis in shown if kinds[axis] == "STOK"), None)
        self.time = next((axis for axis in shown if kinds[axis] in TIMES), None)

    def wavelengths(self) -> Bins:
        """Metres that each channel reaches over."""
        assert self.spectral is not None
        try:
            values, unit = self._values(self.spectral)
            return _bins(self._as_wavelengths(values, unit))
        except BadImage:
            raise
        except Exception as error:  # whatever wcslib says of a header that it can't use
            raise BadImage(f"its spectral axis has no wavelengths: {' '.join(str(error).split())[:200]}") from None

    def instants(self) -> Bins:
        """MJD (UTC) that each pixel along time reaches over."""
        assert self.time is not None
        try:
            values, unit = self._values(self.time)
            days = values * _DAYS[unit or "s"]
            reference = [float(one) for one in self.wcs.wcs.mjdref if np.isfinite(one)]
            scale = (self.wcs.wcs.timesys or str(self.wcs.wcs.ctype[self.time])).strip().lower()[:4].rstrip("-")
            scale = {"et": "tt", "tdt": "tt", "iat": "tai", "time": "utc"}.get(scale, scale)
            found = np.full(days.shape, np.nan)
            good = np.isfinite(days)
            found[good] = Time(sum(reference) + days[good], format="mjd", scale=scale).utc.mjd
            return _bins(found)
        except BadImage:
            raise
        except Exception as error:
            raise BadImage(f"its time axis can't be read: {' '.join(str(error).split())[:200]}") from None

    def states(self) -> list[str]:
        """The polarizations along the Stokes axis."""
        assert self.stokes is not None
        alone = self.wcs.sub([self.stokes + 1])
        numbers = alone.wcs_pix2world(np.arange(self.shape[self.stokes], dtype=float), 0)[0]
        return [STOKES.get(round(float(one)), "?") if np.isfinite(one) else "?" for one in numbers]

    def _as_wavelengths(self, values: Floats, unit: str) -> Floats:
        """Metres for frequencies, velocities and so on: wcslib converts a straight axis of the same quantity."""
        good = np.isfinite(values)
        found = np.full(values.shape, np.nan)
        if not good.any():
            return found
        straight, own = WCS(naxis=1), self.wcs.wcs
        reference = float(np.median(values[good]))
        step = float(np.ptp(values[good])) or abs(reference) or 1.0
        straight.wcs.ctype, straight.wcs.cunit = [str(own.ctype[self.spectral])[:4]], [unit]
        straight.wcs.crpix, straight.wcs.crval, straight.wcs.cdelt = [0.0], [reference], [step]
        straight.wcs.restfrq, straight.wcs.restwav = own.restfrq, own.restwav
        straight.wcs.set()
        straight.wcs.sptr("WAVE-???")
        straight.wcs.set()
        found[good] = straight.wcs_pix2world((values[good] - reference) / step, 1)[0]
        return found

    def _values(self, axis: int) -> tuple[Floats, str]:
        """Values at the edges of the pixels, a row for each place of the image that was looked at, and their unit."""
        size = self.shape[axis]
        if size > MOST_PIXELS:
            raise BadImage(f"axis {axis + 1} has {size} pixels; at most {MOST_PIXELS} are cut")
        edges: Floats = np.arange(size + 1, dtype=np.float64) - 0.5
        try:
            alone = self.wcs.sub([axis + 1])
        except WcsError:  # values that change along other axes too
            return self._in_places(axis, edges), str(self.wcs.wcs.cunit[axis])
        values = np.atleast_2d(alone.wcs_pix2world(edges, 0)[0])
        if not np.isfinite(values).all():  # a table of values that ends at the middle of the last pixel
            middles = np.atleast_2d(alone.wcs_pix2world(edges[:-1] + 0.5, 0)[0])
            values = _filled(values, middles)
        return values, str(alone.wcs.cunit[0])

    def _in_places(self, axis: int, edges: Floats) -> Floats:
        """The same at the ends and in the middle of all other axes."""
        others = [np.unique([0, (size - 1) // 2, size - 1]) for size in self.shape]
        others += [np.zeros(1, int)] * (self.wcs.naxis - len(self.shape))
        others[axis] = np.zeros(1, int)
        places = list(itertools.product(*others[: self.wcs.naxis]))
        if len(places) * edges.size > MOST_PIXELS:
            raise BadImage(f"axis {axis + 1} has too many pixels for one whose values depend on other axes")
        rows = []
        for place in places:
            points = np.tile(np.array(place, float), (edges.size, 1))
            points[:, axis] = edges
            rows.append(self.wcs.all_pix2world(points, 0)[:, axis])
        return np.array(rows)


_DAYS = {"s": 1 / 86400, "d": 1.0, "a": 365.25, "yr": 365.25, "min": 1 / 1440, "h": 1 / 24}


def _filled(values: Floats, middles: Floats) -> Floats:
    """Edges without a value are as near to the middle of their pixel as can be said: in it."""
    before = np.concatenate([np.full((len(middles), 1), np.nan), middles], axis=1)
    after = np.concatenate([middles, np.full((len(middles), 1), np.nan)], axis=1)
    near = np.where(np.isfinite(before), before, after)
    return np.where(np.isfinite(values), values, near)


def _bins(edges: Floats) -> Bins:
    """Each pixel from the smallest to the largest of its edges, wherever in the image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pixels without any value
        both = np.concatenate([edges[:, :-1], edges[:, 1:]])
        both[:, np.isnan(edges[:, :-1]).all(axis=0) | np.isnan(edges[:, 1:]).all(axis=0)] = np.nan
        return Bins(np.nanmin(both, axis=0), np.nanmax(both, axis=0))


def overlapping(bins: Bins, interval: Interval, what: str) -> Pick:
    """The pixels that reach into an interval, its ends included, or `NoOverlap`."""
    low, high = bins.low, bins.high
    with np.errstate(invalid="ignore"):
        # A pixel that only touches the interval with its edge has nothing of it, unless the interval is a point.
        inside = (low < interval.high) & (high > interval.low)
        if interval.low == interval.high:
            inside = (low <= interval.low) & (interval.high <= high)
    found = np.flatnonzero(inside)
    if not found.size:
        extent = bins.extent
        has = f"{extent[0]:.10g} to {extent[1]:.10g}" if extent else "no values"
        raise NoOverlap(f"The image has nothing in {what} {interval}; it has {has}.")
    return Pick(int(found[0]), int(found[-1]) + 1, low.size)


def polarizations(states: list[str], wanted: tuple[str, ...]) -> Pick:
    """The planes with these polarizations; planes between are taken too where they lie at no regular distance."""
    found = [number for number, state in enumerate(states) if state in wanted]
    if not found:
        raise NoOverlap(f"The image has no polarization {' or '.join(wanted)}; it has {', '.join(states)}.")
    steps = {after - before for before, after in itertools.pairwise(found)}
    step = steps.pop() if len(steps) == 1 else 1
    return Pick(found[0], found[-1] + 1, len(states), step)

"""The axes of an image beside the sky: which channels, instants and polarizations were asked for. Pure.

Wavelengths are metres in vacuum, as the axis itself has them: velocities need a rest frequency in the header, and no
change of the rest frame is made. Times are MJD; the axis's own scale is turned into UTC where the header names one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.time import Time
from astropy.wcs import WCSSUB_SPECTRAL

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
    """Pixels ``start``, ``start + step`` … before ``stop`` of one axis."""

    start: int
    stop: int
    step: int = 1

    @property
    def count(self) -> int:
        """How many pixels."""
        return len(range(self.start, self.stop, self.step))


class Axes:
    """Which axis of an image means what; numbers from 0 in FITS's order, None where there is no such axis."""

    def __init__(self, wcs: Any, shape: tuple[int, ...]) -> None:
        kinds = [str(one).upper()[:4].rstrip("-") for one in wcs.wcs.ctype]
        shown = range(min(len(kinds), len(shape)))
        self.wcs, self.shape = wcs, shape
        self.spectral = int(wcs.wcs.spec) if 0 <= wcs.wcs.spec < len(shape) else None
        self.stokes = next((axis for axis in shown if kinds[axis] == "STOK"), None)
        self.time = next((axis for axis in shown if kinds[axis] in TIMES), None)

    def wavelengths(self) -> Floats:
        """Metres at the edges of the channels; one more than there are channels."""
        assert self.spectral is not None
        try:
            alone = self.wcs.sub([WCSSUB_SPECTRAL])
            alone.wcs.sptr("WAVE-???")  # wcslib turns frequency, velocity and redshift into wavelength
            alone.wcs.set()
            found: Floats = alone.wcs_pix2world(self._edges(self.spectral), 0)[0]
        except Exception as error:  # whatever wcslib says of a header that it can't use
            raise BadImage(f"its spectral axis has no wavelengths: {' '.join(str(error).split())[:200]}") from None
        return found

    def instants(self) -> Floats:
        """MJD (UTC) at the edges of the pixels along time."""
        assert self.time is not None
        try:
            alone = self.wcs.sub([self.time + 1])
            values = alone.wcs_pix2world(self._edges(self.time), 0)[0]
            unit = str(alone.wcs.cunit[0]) or "s"
            days = values * {"s": 1 / 86400, "d": 1.0, "a": 365.25, "yr": 365.25, "min": 1 / 1440, "h": 1 / 24}[unit]
            reference = [float(one) for one in self.wcs.wcs.mjdref if np.isfinite(one)]
            scale = (self.wcs.wcs.timesys or str(self.wcs.wcs.ctype[self.time])).strip().lower()
            scale = {"et": "tt", "tdt": "tt", "iat": "tai", "time": "utc"}.get(scale, scale)
            found: Floats = np.asarray(Time(sum(reference) + days, format="mjd", scale=scale).utc.mjd).astype(
                np.float64
            )
        except Exception as error:
            raise BadImage(f"its time axis can't be read: {' '.join(str(error).split())[:200]}") from None
        return found

    def states(self) -> list[str]:
        """The polarizations along the Stokes axis."""
        assert self.stokes is not None
        alone = self.wcs.sub([self.stokes + 1])
        numbers = alone.wcs_pix2world(np.arange(self.shape[self.stokes], dtype=float), 0)[0]
        return [STOKES.get(round(float(one)), "?") if np.isfinite(one) else "?" for one in numbers]

    def _edges(self, axis: int) -> Floats:
        if self.shape[axis] > MOST_PIXELS:
            raise BadImage(f"axis {axis + 1} has {self.shape[axis]} pixels; at most {MOST_PIXELS} are cut")
        edges: Floats = np.arange(self.shape[axis] + 1, dtype=np.float64) - 0.5
        return edges


def overlapping(edges: Floats, interval: Interval, what: str) -> Pick:
    """The pixels that reach into an interval, its ends included, or `NoOverlap`."""
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    with np.errstate(invalid="ignore"):
        # A pixel that only touches the interval with its edge has nothing of it, unless the interval is a point.
        inside = (low < interval.high) & (high > interval.low)
        if interval.low == interval.high:
            inside = (low <= interval.low) & (interval.high <= high)
    found = np.flatnonzero(inside)
    if not found.size:
        raise NoOverlap(f"The image has nothing in {what} {interval}; it has {np.nanmin(edges):.10g} to "
                        f"{np.nanmax(edges):.10g}.")  # fmt: skip
    return Pick(int(found[0]), int(found[-1]) + 1)


def polarizations(states: list[str], wanted: tuple[str, ...]) -> Pick:
    """The planes with these polarizations; planes between are taken too where they lie at no regular distance."""
    found = [number for number, state in enumerate(states) if state in wanted]
    if not found:
        raise NoOverlap(f"The image has no polarization {' or '.join(wanted)}; it has {', '.join(states)}.")
    steps = {after - before for before, after in itertools.pairwise(found)}
    step = steps.pop() if len(steps) == 1 else 1
    return Pick(found[0], found[-1] + 1, step)

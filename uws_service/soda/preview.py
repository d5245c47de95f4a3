"""A small PNG of a cutout, for people; the last row of the image is on top."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.visualization import AsinhStretch, ZScaleInterval
from PIL import Image

SIDE = 512
"""Pixels along the longer side, at most."""
SMALL = 192
"""An image below this is shown with larger pixels."""
MOST_PLANES = 32


def write_preview(cutout: Path, target: Path) -> None:
    """A PNG of the first image in a FITS file; a cube is averaged over some of its planes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(cutout, memmap=False) as hdus:  # noqa: TID251 -- written by this job itself
            hdu = next(one for one in hdus if isinstance(one, fits.PrimaryHDU | fits.ImageHDU) and one.header["NAXIS"])
            plane = _plane(hdu)
        grey = _grey(plane)[::-1]
    picture = Image.fromarray(grey)
    factor = max(1, SMALL // max(picture.size))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.save(target, "PNG", optimize=True)


def _plane(hdu: Any) -> Any:
    """Every n-th pixel of the image, or the mean of some planes of a cube."""
    shape = tuple(int(hdu.header[f"NAXIS{number}"]) for number in range(hdu.header["NAXIS"], 0, -1))
    if len(shape) == 1:
        return _read(hdu, (), 1, shape[0], 1)
    outer = shape[:-2]
    total = int(np.prod(outer))
    numbers = np.unique(np.linspace(0, total - 1, min(total, MOST_PLANES)).astype(int)) if outer else [0]
    wheres = [tuple(int(one) for one in np.unravel_index(number, outer)) if outer else () for number in numbers]
    planes = [_read(hdu, where, shape[-2], shape[-1], len(shape)) for where in wheres]
    return np.nanmean(np.stack(planes), axis=0) if len(planes) > 1 else planes[0]


def _read(hdu: Any, where: tuple[int, ...], rows: int, columns: int, axes: int) -> Any:
    """Some rows of a plane, each with some of its pixels; only those rows are in memory."""
    down, across = (max(1, -(-size // SIDE)) for size in (rows, columns))
    if axes == 1:
        return np.atleast_2d(np.asarray(hdu.section[:], dtype=float)[::across])
    section = hdu.section
    return np.stack([np.array(section[(*where, row, slice(None))][::across], float) for row in range(0, rows, down)])


def _grey(plane: Any) -> Any:
    """Bytes from 0 to 255; what is no number is black."""
    good = np.isfinite(plane)
    if not good.any():
        return np.zeros(plane.shape, np.uint8)
    low, high = ZScaleInterval().get_limits(plane[good])
    if not high > low:
        low, high = float(plane[good].min()), float(plane[good].max())
    span = (high - low) or 1.0
    shown = AsinhStretch(0.3)(np.clip((np.where(good, plane, low) - low) / span, 0, 1))
    return (255 * shown).astype(np.uint8)

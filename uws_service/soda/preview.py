"""A small PNG of a cutout, its last row on top."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.visualization import AsinhStretch, ZScaleInterval
from PIL import Image

MAX_SIDE_PIXELS = 512
"""Of the longer side."""
MIN_SIDE_PIXELS = 192
"""An image below this is shown with larger pixels."""
MAX_PLANES = 32


def write_preview(cutout: Path, target: Path) -> None:
    """Write a PNG of the first image in a FITS file.

    A cube is averaged over some of its planes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(cutout, memmap=False) as hdus:  # noqa: TID251 -- written by this job itself
            hdu = next(
                item for item in hdus if isinstance(item, fits.PrimaryHDU | fits.ImageHDU) and item.header["NAXIS"]
            )
            plane = _plane(hdu)
        grey = _grey(plane)[::-1]
    picture = Image.fromarray(grey)
    factor = max(1, MIN_SIDE_PIXELS // max(picture.size))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.save(target, "PNG", optimize=True)


def _plane(hdu: Any) -> Any:
    """Return a reduced image, or the mean of some planes."""
    shape = tuple(int(hdu.header[f"NAXIS{number}"]) for number in range(hdu.header["NAXIS"], 0, -1))
    if len(shape) == 1:
        return _read(hdu, (), 1, shape[0], 1)
    outer = shape[:-2]
    total = int(np.prod(outer))
    numbers = np.unique(np.linspace(0, total - 1, min(total, MAX_PLANES)).astype(int)) if outer else [0]
    plane_indexes = [
        tuple(int(number) for number in np.unravel_index(plane_number, outer)) if outer else ()
        for plane_number in numbers
    ]
    planes = [_read(hdu, plane_index, shape[-2], shape[-1], len(shape)) for plane_index in plane_indexes]
    return np.nanmean(np.stack(planes), axis=0) if len(planes) > 1 else planes[0]


def _read(hdu: Any, plane_index: tuple[int, ...], rows: int, columns: int, axes: int) -> Any:
    """Read some rows of a plane, and some pixels of each.

    Only those rows are in memory.
    """
    down, across = (max(1, -(-size // MAX_SIDE_PIXELS)) for size in (rows, columns))
    if axes == 1:
        return np.atleast_2d(np.asarray(hdu.section[:], dtype=float)[::across])
    section = hdu.section
    return np.stack(
        [np.array(section[(*plane_index, row, slice(None))][::across], float) for row in range(0, rows, down)]
    )


def _grey(plane: Any) -> Any:
    """Return bytes from 0 to 255.

    What is no number is black.
    """
    good = np.isfinite(plane)
    if not good.any():
        return np.zeros(plane.shape, np.uint8)
    low, high = ZScaleInterval().get_limits(plane[good])
    if not high > low:
        low, high = float(plane[good].min()), float(plane[good].max())
    span = (high - low) or 1.0
    scaled = AsinhStretch(0.3)(np.clip((np.where(good, plane, low) - low) / span, 0, 1))
    return (255 * scaled).astype(np.uint8)

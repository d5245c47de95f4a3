"""Images of the sky for tests: headers of many projections, pixels that tell where they come from, whole files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits


def header(
    lon: float,
    lat: float,
    *,
    projection: str = "TAN",
    scale: float = 0.01,
    size: tuple[int, int] = (60, 50),
    turn: float = 0.0,
    frame: str = "ICRS",
) -> fits.Header:
    """A celestial WCS; ``scale`` in degrees, ``size`` along x and y, ``turn`` in degrees."""
    one = fits.Header()
    names = ("GLON", "GLAT") if frame == "GALACTIC" else ("RA", "DEC")
    for axis, (name, value, sign) in enumerate(zip(names, (lon, lat), (-1, 1), strict=True), 1):
        one[f"CTYPE{axis}"] = f"{name}{'-' * (5 - len(name))}{projection}"
        one[f"CRVAL{axis}"], one[f"CUNIT{axis}"] = value, "deg"
        one[f"CRPIX{axis}"] = (size[axis - 1] + 1) / 2
        one[f"CDELT{axis}"] = sign * scale
    cos, sin = float(np.cos(np.radians(turn))), float(np.sin(np.radians(turn)))
    one["PC1_1"], one["PC1_2"], one["PC2_1"], one["PC2_2"] = cos, -sin, sin, cos
    if frame != "GALACTIC":
        one["RADESYS"] = frame
    return one


def numbered(*shape: int, dtype: Any = np.float32) -> Any:
    """Pixels that all differ; ``shape`` as in numpy."""
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape).astype(dtype)


def write(path: Path, data: Any, *headers: fits.Header, **cards: Any) -> Path:
    """A file with one image."""
    whole = fits.Header()
    for one in headers:
        whole.update(one)
    whole.update(cards)
    fits.PrimaryHDU(data, whole).writeto(path)
    return path


def cube(path: Path) -> Path:
    """40 × 30 pixels, 20 channels of 1 MHz from 1400 MHz on, I Q U V; 3 pixels of a day along no axis."""
    return write(
        path,
        numbered(4, 20, 30, 40),
        header(10, 20, size=(40, 30)),
        CTYPE3="FREQ", CRVAL3=1.4e9, CDELT3=1e6, CRPIX3=1.0, CUNIT3="Hz",
        CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0,
    )  # fmt: skip

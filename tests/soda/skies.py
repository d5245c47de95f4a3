"""Images of the sky for tests.

Headers of many projections, numbered pixels, and complete files.
"""

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
    """Return a celestial WCS.

    ``scale`` and ``turn`` are in degrees, ``size`` is along x and y.
    """
    result = fits.Header()
    names = ("GLON", "GLAT") if frame == "GALACTIC" else ("RA", "DEC")
    for axis, (name, value, sign) in enumerate(zip(names, (lon, lat), (-1, 1), strict=True), 1):
        result[f"CTYPE{axis}"] = f"{name}{'-' * (5 - len(name))}{projection}"
        result[f"CRVAL{axis}"], result[f"CUNIT{axis}"] = value, "deg"
        result[f"CRPIX{axis}"] = (size[axis - 1] + 1) / 2
        result[f"CDELT{axis}"] = sign * scale
    cos, sin = float(np.cos(np.radians(turn))), float(np.sin(np.radians(turn)))
    result["PC1_1"], result["PC1_2"], result["PC2_1"], result["PC2_2"] = cos, -sin, sin, cos
    if frame != "GALACTIC":
        result["RADESYS"] = frame
    return result


def numbered(*shape: int, dtype: Any = np.float32) -> Any:
    """Return pixels that all differ.

    ``shape`` as in numpy.
    """
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape).astype(dtype)


def write(path: Path, data: Any, *headers: fits.Header, **cards: Any) -> Path:
    """Write a file with one image."""
    combined = fits.Header()
    for part in headers:
        combined.update(part)
    combined.update(cards)
    fits.PrimaryHDU(data, combined).writeto(path)
    return path


def cube(path: Path) -> Path:
    """Write a cube of 40 × 30 pixels.

    It has 20 channels of 1 MHz from 1400 MHz on, and I Q U V.
    """
    return write(
        path,
        numbered(4, 20, 30, 40),
        header(10, 20, size=(40, 30)),
        CTYPE3="FREQ", CRVAL3=1.4e9, CDELT3=1e6, CRPIX3=1.0, CUNIT3="Hz",
        CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0,
    )  # fmt: skip

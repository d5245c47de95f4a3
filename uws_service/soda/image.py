"""An open FITS file, and what of each image is cut."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, WcsError

from uws_service import fits_headers
from uws_service.soda import headers
from uws_service.soda.axes import Axes, Pick
from uws_service.soda.errors import BadImage, CutoutError
from uws_service.soda.pixels import Celestial
from uws_service.soda.sources import Reader, Source

RECORD_BYTES = fits_headers.RECORD_BYTES
MAX_SIP_ORDER = 99
"""The convention has 9."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an image of the file.

    ``picks`` are the pixels of each axis, in FITS's order; ``header`` is the new one.
    """

    hdu: Any
    picks: tuple[Pick, ...]
    axes: Axes
    header: fits.Header

    @property
    def size(self) -> int:
        """Return the bytes of its pixels."""
        return math.prod(pick.count for pick in self.picks) * abs(int(self.header["BITPIX"])) // 8


@dataclass(slots=True)
class Image:
    """An open FITS file; `close` it."""

    source: Source
    hdus: Any
    pieces: list[Piece] = field(default_factory=list)
    companions: list[Any] = field(default_factory=list)

    def close(self) -> None:
        """Close file and source."""
        self.hdus.close()
        self.source.close()


def open_image(source: Source) -> Image:
    """Open a file; its headers are read as they are needed."""
    try:
        if source.size > 2 and source.read([(0, 2)])[0] == b"\x1f\x8b":
            raise BadImage(
                f"{source.name} is compressed as a whole; only tile compression (fpack) can be read in parts."
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Reader(source)
            file.end = min(max((at + size for _, at, size in fits_headers.walk(file)), default=0), source.size)
            file.seek(0)
            # Safe: an open file, not a name, not compressed as a whole, with headers that have been checked.
            hdus = fits.open(  # noqa: TID251
                file, lazy_load_hdus=True, do_not_scale_image_data=True, memmap=False
            )
            if hdus[0].header.get("SIMPLE") is not True:
                raise OSError("its first card is not SIMPLE = T")
    except CutoutError:
        source.close()
        raise
    except Exception as error:  # astropy has many names for a broken file
        source.close()
        raise BadImage(f"{source.name} is not a FITS file: {one_line(error)}") from None
    return Image(source, hdus)


def images(image: Image) -> Iterator[tuple[int, Any]]:
    """Yield number and HDU of each image with pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number, hdu in enumerate(image.hdus):
                kinds = fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU
                if isinstance(hdu, kinds) and not isinstance(hdu, fits.GroupsHDU) and all(shape_of(hdu)):
                    _require_pixel_type(hdu)
                    yield number, hdu
    except CutoutError:
        raise
    except Exception as error:
        raise BadImage(f"{image.source.name} is broken: {one_line(error)}") from None


def shape_of(hdu: Any) -> tuple[int, ...]:
    """Return the pixels along each axis, in FITS's order.

    It is (0,) for none.
    """
    axes = tuple(int(hdu.header[f"NAXIS{number}"]) for number in range(1, int(hdu.header["NAXIS"]) + 1))
    if any(size < 0 for size in axes):
        raise ValueError(f"a header says that an axis has {min(axes)} pixels")
    return axes or (0,)


def _require_pixel_type(hdu: Any) -> None:
    if hdu.header["BITPIX"] not in fits.BITPIX2DTYPE:  # astropy would read other bytes than were meant
        raise ValueError(f"BITPIX = {hdu.header['BITPIX']} is no type of pixels")


def header_of(image: Image, hdu: Any) -> fits.Header:
    """Return the header of an image, with what it inherits."""
    return headers.with_inherited(hdu.header, image.hdus[0].header)


def wcs_of(image: Image, hdu: Any) -> Any:
    """Return the WCS of an image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = header_of(image, hdu)
            for key in ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"):
                if int(header.get(key, 0)) > MAX_SIP_ORDER:  # matrices of this size would be made
                    raise ValueError(f"{key} = {header[key]}; it is at most {MAX_SIP_ORDER}")
            return WCS(header, fobj=image.hdus)
    except Exception as error:
        raise BadImage(f"the coordinates of {image.source.name} can't be read: {one_line(error)}") from None


def celestial(wcs: Any, shape: tuple[int, ...]) -> tuple[Celestial, int, int] | None:
    """Return the image's sky and its two axes, or None."""
    first, second = sorted((int(wcs.wcs.lng), int(wcs.wcs.lat)))
    if first < 0 or second >= len(shape):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sky_wcs = wcs if wcs.naxis == 2 else _sky_axes(wcs, [first, second])
            matrix = sky_wcs.pixel_scale_matrix
    except Exception as error:
        raise BadImage(f"its celestial axes can't be used: {one_line(error)}") from None
    if not np.isfinite(matrix).all() or not abs(np.linalg.det(matrix)) > 0:
        raise BadImage("its celestial axes have no scale (CDELT or CD is zero or not a number)")
    return Celestial(sky_wcs, shape[first], shape[second]), first, second


def _sky_axes(wcs: Any, sky: list[int]) -> Any:
    """Return the celestial axes without the other ones.

    Another axis, such as wavelength, may change along them.
    """
    try:
        return wcs.sub([axis + 1 for axis in sky])
    except WcsError:
        separated = wcs.deepcopy()
        name = "cd" if separated.wcs.has_cd() else "pc"
        matrix = np.array(getattr(separated.wcs, name))
        other_axes = [axis for axis in range(wcs.naxis) if axis not in sky]
        if matrix[np.ix_(sky, other_axes)].any():
            raise
        matrix[np.ix_(other_axes, sky)] = 0
        setattr(separated.wcs, name, matrix)
        return separated.sub([axis + 1 for axis in sky])


def require_whole(image: Image, hdu: Any) -> None:
    """Raise `BadImage` if the file ends before the image or table does."""
    end = hdu._data_offset + hdu._data_size  # fileinfo() has no answer for files that are not of this machine
    if end > image.source.size:
        raise BadImage(f"{image.source.name} is cut short: it has {image.source.size} of {end} bytes.")


def one_line(error: Exception) -> str:
    """Return an exception's text on one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]

"""The plan of a cutout, from a FITS file's headers alone.

Every image of the file (primary, extensions, compressed ones) that overlaps is cut; a CIRCLE, POLYGON or RANGE gives
the smallest box of pixels that holds it, and no pixel in the box is changed (SODA 1.0 §3.3 leaves that open).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from uws_service.soda import headers
from uws_service.soda.axes import Axes, Pick, select_interval, select_polarizations
from uws_service.soda.companions import LOOKUPS, companions
from uws_service.soda.errors import BadImage, CutoutError, NoOverlap, Usage
from uws_service.soda.fits_writer import write
from uws_service.soda.image import (
    Image,
    Piece,
    celestial,
    header_of,
    images,
    one_line,
    open_image,
    require_whole,
    shape_of,
    wcs_of,
)
from uws_service.soda.pixels import box
from uws_service.soda.request import Cut, Interval

__all__ = [
    "Coverage", "Image", "celestial", "images", "open_image", "plan", "require_whole", "shape_of", "wcs_of", "write"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coverage:
    """The coverage of an image beside its axes.

    Wavelengths are in metres, times in MJD.
    """

    band: Interval | None = None
    time: Interval | None = None
    pol: tuple[str, ...] = ()


def plan(image: Image, cut: Cut, coverage: Coverage, max_bytes: int) -> None:
    """Plan what to cut: ``max_bytes`` at most.

    Raises
    ------
    NoOverlap
        Nothing of the image was asked for.
    Usage
        The image has no such axis, or the cutout would be too large.
    BadImage
        The file or its coordinates are broken.
    """
    reasons = _collect(image, cut, coverage)
    if not image.pieces:
        no_overlaps = [reason for reason in reasons if isinstance(reason, NoOverlap)]
        raise (*no_overlaps, *reasons, BadImage(f"{image.source.name} has no image with celestial coordinates."))[0]
    with _file_named(image):
        image.companions = companions(image)
    size = sum(part.size for part in image.pieces) + sum(part.size for part in image.companions)
    if size > max_bytes:
        raise Usage(f"The cutout would have {size} bytes; at most {max_bytes} are given. Ask for less of the image.")


def _collect(image: Image, cut: Cut, coverage: Coverage) -> list[CutoutError]:
    """Add the pieces of all images.

    Return why some have none.
    """
    reasons: list[CutoutError] = []
    previous: tuple[Axes, tuple[Pick, ...] | None] | None = None
    for _, hdu in images(image):
        if hdu.name in LOOKUPS:  # these go with the images that name them
            continue
        header = header_of(image, hdu)
        axes = Axes(wcs_of(image, hdu), shape_of(hdu))
        if previous is not None and axes.shape == previous[0].shape and not header["CTYPE*"]:
            axes, picks = previous  # errors, flags and weights, which have no coordinates of their own
        elif cut.shape is not None and celestial(axes.wcs, axes.shape) is None:
            continue
        else:
            picks = None
            try:
                picks = _picks(image, axes, cut, coverage)
            except (NoOverlap, Usage) as error:
                reasons.append(error)
            previous = (axes, picks) if header["CTYPE*"] or "AMDX1" in header else previous
        if picks is not None:
            require_whole(image, hdu)
            notes = [text for text in (f"BAND {cut.band}" if cut.band else "", str(cut.shape or "")) if text]
            with _file_named(image):
                image.pieces.append(Piece(hdu, picks, axes, headers.of_part(header, picks, notes)))
    return reasons


@contextlib.contextmanager
def _file_named(image: Image) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadImage as error:
        if image.source.name in error.message:
            raise
        raise BadImage(f"{image.source.name} can't be cut: {error.message}") from None
    except CutoutError:
        raise
    except Exception as error:  # headers can be wrong in more ways than can be foreseen
        raise BadImage(f"{image.source.name} can't be cut: {type(error).__name__}: {one_line(error)}") from None


def _picks(image: Image, axes: Axes, cut: Cut, coverage: Coverage) -> tuple[Pick, ...]:
    picks = [Pick(0, size, size) for size in axes.shape]
    try:
        if cut.shape is not None:
            sky = celestial(axes.wcs, axes.shape)
            assert sky is not None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                area = box(sky[0], cut.shape)
            for axis, start, stop in ((sky[1], area.x0, area.x1), (sky[2], area.y0, area.y1)):
                picks[axis] = Pick(start, stop, axes.shape[axis])
        if cut.band is not None and axes.spectral is not None:
            picks[axes.spectral] = select_interval(axes.wavelengths(), cut.band, "BAND")
        elif cut.band is not None:
            _require_overlap("BAND", "spectral", cut.band, coverage.band)
        if cut.time is not None and axes.time is not None:
            picks[axes.time] = select_interval(axes.instants(), cut.time, "TIME")
        elif cut.time is not None:
            _require_overlap("TIME", "time", cut.time, coverage.time)
        if cut.pol and axes.stokes is not None:
            picks[axes.stokes] = select_polarizations(axes.states(), cut.pol)
        elif cut.pol and not coverage.pol:
            raise Usage("The image has no polarization axis, and its polarization is not known; leave POL out.")
        elif cut.pol and not set(cut.pol) & set(coverage.pol):
            raise NoOverlap(f"The image has no polarization {' or '.join(cut.pol)}; it has {', '.join(coverage.pol)}.")
    except BadImage as error:
        raise BadImage(f"{image.source.name}: {error.message}") from None
    return tuple(picks)


def _require_overlap(name: str, axis: str, requested: Interval, coverage: Interval | None) -> None:
    """Refuse an image without the axis that lies elsewhere on it."""
    if coverage is None:
        raise Usage(f"The image has no {axis} axis, and its place on one is not known; leave {name} out.")
    if requested.high < coverage.low or requested.low > coverage.high:
        raise NoOverlap(f"The image has nothing in {name} {requested}; it has {coverage}.")

"""Cut a FITS file: what of each image is wanted, and then only those bytes are read and written, a piece at a time.

Every image of the file (primary, extensions, compressed ones) that overlaps is cut; a CIRCLE, POLYGON or RANGE gives
the smallest box of pixels that holds it, and no pixel in the box is changed (SODA 1.0 §3.3 leaves that open). Pixels
are copied as they are stored, so integers stay integers with their BSCALE, BZERO and BLANK.
"""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from uws_service.soda.axes import Axes, Pick, overlapping, polarizations
from uws_service.soda.errors import BadImage, CutoutError, NoOverlap, Usage
from uws_service.soda.pixels import Celestial, box
from uws_service.soda.request import Cut, Interval
from uws_service.soda.sources import Reader, Source

RECORD = 2880
"""Bytes; a FITS file is made of such records."""
CHUNK = 8 * 1024 * 1024
"""Bytes that are read and written at once."""
SPANS = 4096
"""Parts of a file that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is known of an image that has no axis for it: wavelengths in metres, MJD, polarizations."""

    band: Interval | None = None
    time: Interval | None = None
    pol: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """One image of the file: the part of each axis, in FITS's order, and its new header."""

    hdu: Any
    picks: tuple[Pick, ...]
    header: fits.Header

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        return math.prod(one.count for one in self.picks) * abs(int(self.header["BITPIX"])) // 8


@dataclass(slots=True)
class Image:
    """An open FITS file; `close` it."""

    source: Source
    hdus: Any
    pieces: list[Piece] = field(default_factory=list)

    def close(self) -> None:
        """Close file and source."""
        self.hdus.close()
        self.source.close()


def open_image(source: Source) -> Image:
    """The headers of a file, read as far as they are needed."""
    try:
        if source.size > 2 and source.read([(0, 2)])[0] == b"\x1f\x8b":
            raise BadImage(
                f"{source.name} is compressed as a whole; only tile compression (fpack) can be read in parts."
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Safe: an open file, not a name, and not compressed as a whole.
            hdus = fits.open(  # noqa: TID251
                Reader(source), lazy_load_hdus=True, do_not_scale_image_data=True, memmap=False
            )
            if hdus[0].header.get("SIMPLE") is not True:
                raise OSError("its first card is not SIMPLE = T")
    except CutoutError:
        source.close()
        raise
    except Exception as error:  # astropy has many names for a broken file
        source.close()
        raise BadImage(f"{source.name} is not a FITS file: {_line(error)}") from None
    return Image(source, hdus)


def images(image: Image) -> Iterator[tuple[int, Any]]:
    """Number and HDU of each image with pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number, hdu in enumerate(image.hdus):
                kinds = fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU
                if isinstance(hdu, kinds) and not isinstance(hdu, fits.GroupsHDU) and all(shape_of(hdu)):
                    yield number, hdu
    except CutoutError:
        raise
    except Exception as error:
        raise BadImage(f"{image.source.name} is broken: {_line(error)}") from None


def shape_of(hdu: Any) -> tuple[int, ...]:
    """Pixels along each axis, in FITS's order; (0,) for none."""
    axes = tuple(int(hdu.header[f"NAXIS{number}"]) for number in range(1, int(hdu.header["NAXIS"]) + 1))
    if any(one < 0 for one in axes):
        raise ValueError(f"a header says that an axis has {min(axes)} pixels")
    return axes or (0,)


def world(image: Image, hdu: Any) -> Any:
    """The WCS of an image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return WCS(hdu.header, fobj=image.hdus)
    except Exception as error:
        raise BadImage(f"the coordinates of {image.source.name} can't be read: {_line(error)}") from None


def celestial(wcs: Any, shape: tuple[int, ...]) -> tuple[Celestial, int, int] | None:
    """The image's sky, and its two axes in the image's order; None if it has none."""
    first, second = sorted((int(wcs.wcs.lng), int(wcs.wcs.lat)))
    if first < 0 or second >= len(shape):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            two = wcs if wcs.naxis == 2 else wcs.sub([first + 1, second + 1])
            matrix = two.pixel_scale_matrix
    except Exception as error:
        raise BadImage(f"its celestial axes can't be used: {_line(error)}") from None
    if not np.isfinite(matrix).all() or not abs(np.linalg.det(matrix)) > 0:
        raise BadImage("its celestial axes have no scale (CDELT or CD is zero or not a number)")
    return Celestial(two, shape[first], shape[second]), first, second


def plan(image: Image, cut: Cut, known: Coverage, most: int) -> None:
    """Find out what to cut, from the headers alone; ``most`` bytes of pixels.

    Raises
    ------
    NoOverlap
        Nothing of the image was asked for.
    Usage
        The image has no such axis, or the cutout would be too large.
    BadImage
        The file or its coordinates are broken.
    """
    reasons: list[NoOverlap] = []
    found = False
    for _, hdu in images(image):
        wcs = world(image, hdu)
        if cut.shape is not None and celestial(wcs, shape_of(hdu)) is None:
            continue
        found = True
        try:
            picks = _picks(image, hdu, wcs, cut, known)
        except NoOverlap as error:
            reasons.append(error)
            continue
        require_whole(image, hdu)
        image.pieces.append(Piece(hdu, picks, _header(hdu, picks, cut)))
    if not found:
        raise BadImage(f"{image.source.name} has no image with celestial coordinates.")
    if not image.pieces:
        raise reasons[0]
    size = sum(one.size for one in image.pieces)
    if size > most:
        raise Usage(f"The cutout would have {size} bytes; at most {most} are given. Ask for less of the image.")


def _picks(image: Image, hdu: Any, wcs: Any, cut: Cut, known: Coverage) -> tuple[Pick, ...]:
    shape = shape_of(hdu)
    picks = [Pick(0, size) for size in shape]
    axes = Axes(wcs, shape)
    try:
        if cut.shape is not None:
            sky = celestial(wcs, shape)
            assert sky is not None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                area = box(sky[0], cut.shape)
            picks[sky[1]], picks[sky[2]] = Pick(area.x0, area.x1), Pick(area.y0, area.y1)
        if cut.band is not None and axes.spectral is not None:
            picks[axes.spectral] = overlapping(axes.wavelengths(), cut.band, "BAND")
        elif cut.band is not None:
            _require_overlap("BAND", "spectral", cut.band, known.band)
        if cut.time is not None and axes.time is not None:
            picks[axes.time] = overlapping(axes.instants(), cut.time, "TIME")
        elif cut.time is not None:
            _require_overlap("TIME", "time", cut.time, known.time)
        if cut.pol and axes.stokes is not None:
            picks[axes.stokes] = polarizations(axes.states(), cut.pol)
        elif cut.pol and not known.pol:
            raise Usage("The image has no polarization axis, and its polarization is not known; leave POL out.")
        elif cut.pol and not set(cut.pol) & set(known.pol):
            raise NoOverlap(f"The image has no polarization {' or '.join(cut.pol)}; it has {', '.join(known.pol)}.")
    except BadImage as error:
        raise BadImage(f"{image.source.name}: {error.message}") from None
    return tuple(picks)


def _require_overlap(name: str, axis: str, wanted: Interval, known: Interval | None) -> None:
    """An image without the axis is taken as a whole, or not at all."""
    if known is None:
        raise Usage(f"The image has no {axis} axis, and its place on one is not known; leave {name} out.")
    if wanted.high < known.low or wanted.low > known.high:
        raise NoOverlap(f"The image has nothing in {name} {wanted}; it has {known}.")


def require_whole(image: Image, hdu: Any) -> None:
    """Raise `BadImage` if the file ends before the image does."""
    end = hdu._data_offset + hdu._data_size  # fileinfo() has no answer for files that are not of this machine
    if end > image.source.size:
        raise BadImage(f"{image.source.name} is cut short: it has {image.source.size} of {end} bytes.")


def _header(hdu: Any, picks: tuple[Pick, ...], cut: Cut) -> fits.Header:
    """The image's header for the part: size, reference pixels of every WCS, and no sums that hold no more."""
    header = hdu.header.copy()
    for number, pick in enumerate(picks, 1):
        header[f"NAXIS{number}"] = pick.count
        for key in [one for one in header if re.fullmatch(rf"CRPIX{number}[A-Z]?", one)]:
            header[key] = (header[key] - 1 - pick.start) / pick.step + 1
        if f"CRPIX{number}" not in header and pick.start and f"CRVAL{number}" in header:
            header[f"CRPIX{number}"] = -pick.start / pick.step  # its default is 0
        if pick.step != 1:
            _widen(header, number, pick.step)
        if f"LTV{number}" in header:  # IRAF's link to the pixels of the whole
            header[f"LTV{number}"] -= pick.start
    for key in ("CHECKSUM", "DATASUM", "DATAMIN", "DATAMAX"):
        header.remove(key, ignore_missing=True, remove_all=True)
    if "SIMPLE" in header:
        header["EXTEND"] = True
    parts = ",".join(f"{one.start + 1}:{one.stop}{':' + str(one.step) if one.step > 1 else ''}" for one in picks)
    header.add_history(f"Cut out of [{parts}]")
    for text in (f"BAND {cut.band}" if cut.band else "", str(cut.shape or "")):
        if text:
            header.add_history(text)
    return header


def _widen(header: fits.Header, axis: int, step: int) -> None:
    """Each pixel of an axis is as far from the next one as ``step`` were."""
    pattern = re.compile(rf"(CDELT{axis}|CD\d+_{axis})[A-Z]?")
    keys = [one for one in header if pattern.fullmatch(one)]
    for key in keys:
        header[key] *= step
    if not keys:
        header[f"CDELT{axis}"] = float(step)


def write(image: Image, out: BinaryIO) -> None:
    """The planned pieces as a FITS file, in constant memory."""
    first = image.pieces[0]
    if "SIMPLE" not in first.header:
        primary = image.hdus[0]
        empty = primary.header.copy() if primary.header["NAXIS"] == 0 else fits.PrimaryHDU().header
        for key in ("CHECKSUM", "DATASUM"):
            empty.remove(key, ignore_missing=True)
        empty["EXTEND"] = True
        out.write(empty.tostring().encode("ascii"))
    for piece in image.pieces:
        out.write(piece.header.tostring().encode("ascii"))
        written = sum(out.write(block) for block in _pixels(image, piece))
        out.write(b"\0" * (-written % RECORD))
    for table in _lookups(image):
        out.write(table)


def _pixels(image: Image, piece: Piece) -> Iterator[bytes]:
    if isinstance(piece.hdu, fits.CompImageHDU):
        yield from _decompressed(image, piece)
        return
    for spans in _batches(_spans(piece)):
        blocks = image.source.read(spans)
        if any(len(block) != end - start for block, (start, end) in zip(blocks, spans, strict=True)):
            raise BadImage(f"{image.source.name} ended while it was read.")
        if piece.picks[0].step == 1:
            yield b"".join(blocks)
        else:
            item = f"V{abs(int(piece.header['BITPIX'])) // 8}"
            yield b"".join(np.frombuffer(one, item)[:: piece.picks[0].step].tobytes() for one in blocks)


def _spans(piece: Piece) -> Iterator[tuple[int, int]]:
    """The parts of the file in order, none longer than `CHUNK`, neighbours joined."""
    shape, item = shape_of(piece.hdu), abs(int(piece.hdu.header["BITPIX"])) // 8
    strides = [item * math.prod(shape[:axis]) for axis in range(len(shape))]
    first, offset = piece.picks[0], piece.hdu._data_offset
    outer = [range(one.start, one.stop, one.step) for one in reversed(piece.picks[1:])]
    begin = end = -1
    for numbers in itertools.product(*outer):
        start = offset + sum(n * s for n, s in zip(reversed(numbers), strides[1:], strict=True)) + first.start * item
        stop = start + (first.stop - first.start) * item
        joined = start == end and stop - begin <= CHUNK and first.step == 1
        if not joined and end >= 0:
            yield from _shorter(begin, end, item * first.step)
        begin, end = (begin if joined else start), stop
    if end >= 0:
        yield from _shorter(begin, end, item * first.step)


def _shorter(begin: int, end: int, unit: int) -> Iterator[tuple[int, int]]:
    length = CHUNK // unit * unit
    for start in range(begin, end, length):
        yield start, min(start + length, end)


def _batches(spans: Iterator[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    batch: list[tuple[int, int]] = []
    size = 0
    for start, end in spans:
        if batch and (size + end - start > CHUNK or len(batch) >= SPANS):
            yield batch
            batch, size = [], 0
        batch.append((start, end))
        size += end - start
    if batch:
        yield batch


def _decompressed(image: Image, piece: Piece) -> Iterator[bytes]:
    """Tiles are decompressed as far as they are needed."""
    kind = np.dtype(fits.BITPIX2DTYPE[int(piece.header["BITPIX"])]).newbyteorder(">")
    for slices in _slabs(tuple(reversed(piece.picks)), CHUNK // kind.itemsize):
        try:
            part = piece.hdu.section[slices]
        except CutoutError:
            raise
        except Exception as error:
            raise BadImage(f"{image.source.name} can't be decompressed: {_line(error)}") from None
        yield np.ascontiguousarray(part).astype(kind, copy=False).tobytes()


def _slabs(picks: tuple[Pick, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Parts in numpy's order that hold ``most`` pixels each at most, outermost axis first."""
    pick, inner = picks[0], picks[1:]
    each = math.prod([one.count for one in inner])
    if each > most:
        for number in range(pick.start, pick.stop, pick.step):
            yield from ((slice(number, number + 1), *rest) for rest in _slabs(inner, most))
        return
    step = max(1, most // each) * pick.step
    for start in range(pick.start, pick.stop, step):
        yield slice(start, min(start + step, pick.stop), pick.step), *(slice(i.start, i.stop, i.step) for i in inner)


def _lookups(image: Image) -> Iterator[bytes]:
    """Tables of distortions that the WCS of a piece looks up (WCSDVARR, D2IMARR), moved along with the first one."""
    keys = [key for one in image.pieces for key in one.header if re.match(r"(CPDIS|D2IMDIS|CPERR)\d", key)]
    if not keys:
        return
    picks = image.pieces[0].picks
    for hdu in image.hdus:
        if hdu.name not in ("WCSDVARR", "D2IMARR") or hdu.size > CHUNK:
            continue
        header = hdu.header.copy()
        for number, pick in enumerate(picks[:2], 1):
            header[f"CRVAL{number}"] = header.get(f"CRVAL{number}", 0.0) - pick.start
        content = image.source.read([(hdu._data_offset, hdu._data_offset + hdu._data_size)])[0]
        yield header.tostring().encode("ascii") + content + b"\0" * (-len(content) % RECORD)


def _line(error: Exception) -> str:
    """What an exception says, on one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]

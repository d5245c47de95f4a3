"""The writer of cutouts.

It reads only the bytes that are needed, a piece at a time.
Pixels are copied as they are stored, so integers stay integers with their BSCALE, BZERO and BLANK.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from uws_service.soda import headers
from uws_service.soda.axes import Pick
from uws_service.soda.errors import BadImage, CutoutError
from uws_service.soda.image import RECORD_BYTES, Image, Piece, one_line, shape_of

CHUNK_BYTES = 8 * 1024 * 1024
"""Read and written at once."""
MAX_SPANS = 4096
"""Parts of a file that are read at once."""


def write(image: Image, out: BinaryIO) -> None:
    """Write a planned cutout as a FITS file.

    It takes constant memory.
    """
    image_headers = [piece.header for piece in image.pieces]
    extensions = len(image_headers) + len(image.companions)
    if "SIMPLE" in image_headers[0]:
        extensions -= 1
        image_headers[0]["EXTEND"] = True
        primary = image_headers[0]
    else:
        primary = headers.of_primary(image.hdus[0].header, image_headers)
        _write_header(primary, out, extensions)
    for piece in image.pieces:
        _write_header(piece.header, out, extensions if piece.header is primary else None)
        _pad(sum(out.write(block) for block in _pixels(image, piece)), out)
    for table in image.companions:
        _write_header(table.header, out)
        size = out.write(table.content)
        _pad(size + sum(out.write(block) for block in _copy(image, *table.span)), out)


def _write_header(header: fits.Header, out: BinaryIO, extensions: int | None = None) -> None:
    if extensions is not None and "NEXTEND" in header:
        header["NEXTEND"] = extensions
    out.write(header.tostring().encode("ascii"))


def _pad(size: int, out: BinaryIO) -> None:
    out.write(b"\0" * (-size % RECORD_BYTES))


def _copy(image: Image, start: int, stop: int) -> Iterator[bytes]:
    for begin, end in _split(start, stop, 1):
        (block,) = image.source.read([(begin, end)])
        if len(block) != end - begin:
            raise BadImage(f"{image.source.name} ended while it was read.")
        yield block


def _pixels(image: Image, piece: Piece) -> Iterator[bytes]:
    if isinstance(piece.hdu, fits.CompImageHDU):
        yield from _decompress(image, piece)
        return
    for spans in _batches(_spans(piece)):
        blocks = image.source.read(spans)
        if any(len(block) != end - start for block, (start, end) in zip(blocks, spans, strict=True)):
            raise BadImage(f"{image.source.name} ended while it was read.")
        if piece.picks[0].step == 1:
            yield b"".join(blocks)
        else:
            item = f"V{abs(int(piece.header['BITPIX'])) // 8}"
            yield b"".join(np.frombuffer(block, item)[:: piece.picks[0].step].tobytes() for block in blocks)


def _spans(piece: Piece) -> Iterator[tuple[int, int]]:
    """Yield the parts of the file in order, neighbours joined.

    None is longer than `CHUNK_BYTES`.
    """
    shape, item = shape_of(piece.hdu), abs(int(piece.hdu.header["BITPIX"])) // 8
    strides = [item * math.prod(shape[:axis]) for axis in range(len(shape))]
    first, offset = piece.picks[0], piece.hdu._data_offset
    outer = [range(pick.start, pick.stop, pick.step) for pick in reversed(piece.picks[1:])]
    begin = end = -1
    for numbers in itertools.product(*outer):
        start = offset + sum(n * s for n, s in zip(reversed(numbers), strides[1:], strict=True)) + first.start * item
        stop = start + (first.stop - first.start) * item
        joined = start == end and stop - begin <= CHUNK_BYTES and first.step == 1
        if not joined and end >= 0:
            yield from _split(begin, end, item * first.step)
        begin, end = (begin if joined else start), stop
    if end >= 0:
        yield from _split(begin, end, item * first.step)


def _split(begin: int, end: int, unit: int) -> Iterator[tuple[int, int]]:
    length = CHUNK_BYTES // unit * unit
    for start in range(begin, end, length):
        yield start, min(start + length, end)


def _batches(spans: Iterator[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    batch: list[tuple[int, int]] = []
    size = 0
    for start, end in spans:
        if batch and (size + end - start > CHUNK_BYTES or len(batch) >= MAX_SPANS):
            yield batch
            batch, size = [], 0
        batch.append((start, end))
        size += end - start
    if batch:
        yield batch


def _decompress(image: Image, piece: Piece) -> Iterator[bytes]:
    """Yield pixels of tiles, decompressed as far as needed."""
    kind = np.dtype(fits.BITPIX2DTYPE[int(piece.header["BITPIX"])]).newbyteorder(">")
    for slices in _slabs(tuple(reversed(piece.picks)), CHUNK_BYTES // kind.itemsize):
        try:
            part = piece.hdu.section[slices]
        except CutoutError:
            raise
        except Exception as error:
            raise BadImage(f"{image.source.name} can't be decompressed: {one_line(error)}") from None
        yield np.ascontiguousarray(part).astype(kind, copy=False).tobytes()


def _slabs(picks: tuple[Pick, ...], max_pixels: int) -> Iterator[tuple[slice, ...]]:
    """Yield parts of ``max_pixels`` each at most.

    They are in numpy's order, outermost axis first.
    """
    pick, inner = picks[0], picks[1:]
    inner_pixels = math.prod([inner_pick.count for inner_pick in inner])
    if inner_pixels > max_pixels:
        for number in range(pick.start, pick.stop, pick.step):
            yield from ((slice(number, number + 1), *inner_slices) for inner_slices in _slabs(inner, max_pixels))
        return
    step = max(1, max_pixels // inner_pixels) * pick.step
    for start in range(pick.start, pick.stop, step):
        yield slice(start, min(start + step, pick.stop), pick.step), *(slice(i.start, i.stop, i.step) for i in inner)

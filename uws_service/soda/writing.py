"""Write a cutout: only the bytes that are needed are read, a piece at a time.

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
from uws_service.soda.image import RECORD, Image, Piece, line, shape_of

CHUNK = 8 * 1024 * 1024
"""Bytes that are read and written at once."""
SPANS = 4096
"""Parts of a file that are asked for at once."""


def write(image: Image, out: BinaryIO) -> None:
    """Write the planned pieces and what belongs to them as a FITS file, in constant memory."""
    parts = [piece.header for piece in image.pieces]
    extensions = len(parts) + len(image.companions)
    if "SIMPLE" in parts[0]:
        extensions -= 1
        parts[0]["EXTEND"] = True
        first = parts[0]
    else:
        first = headers.of_primary(image.hdus[0].header, parts)
        _write_header(first, out, extensions)
    for piece in image.pieces:
        _write_header(piece.header, out, extensions if piece.header is first else None)
        _pad(sum(out.write(block) for block in _pixels(image, piece)), out)
    for table in image.companions:
        _write_header(table.header, out)
        size = out.write(table.content)
        _pad(size + sum(out.write(block) for block in _copied(image, *table.span)), out)


def _write_header(header: fits.Header, out: BinaryIO, extensions: int | None = None) -> None:
    if extensions is not None and "NEXTEND" in header:
        header["NEXTEND"] = extensions
    out.write(header.tostring().encode("ascii"))


def _pad(size: int, out: BinaryIO) -> None:
    out.write(b"\0" * (-size % RECORD))


def _copied(image: Image, start: int, stop: int) -> Iterator[bytes]:
    for begin, end in _shorter(start, stop, 1):
        (block,) = image.source.read([(begin, end)])
        if len(block) != end - begin:
            raise BadImage(f"{image.source.name} ended while it was read.")
        yield block


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
            raise BadImage(f"{image.source.name} can't be decompressed: {line(error)}") from None
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

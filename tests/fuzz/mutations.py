"""Inputs near good ones.

Seeds with bytes, numbers, words and blocks changed at random.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

MAX_BYTES = 200_000
NUMBER = re.compile(rb"\d+")
NUMBERS = b"0 -1 1 255 65536 2147483648 9223372036854775808 99999999999999999999 1e308".split()
WORDS = [
    *b"'\" < > &lt; ]]> NaN -inf %00 % = & ; , ( ) (((((((( -- /* href= * 1:2:3 null true {} [[[[[[[[ \xc3\xa9".split(),
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\r\n", b"\n", b"\t", b"<!DOCTYPE a ["),
    *(b"charset=punycode", b"charset=utf-16"),
]


def mutations(seeds: Sequence[bytes], number: int, source: random.Random) -> Iterator[bytes]:
    """Yield the seeds, then that many inputs made from them."""
    yield from seeds
    for _ in range(number):
        data = source.choice(seeds)
        for _ in range(source.choice((1, 1, 2, 4, 16))):
            data = mutated(data, seeds, source)
        yield data[:MAX_BYTES]


def mutated(data: bytes, seeds: Sequence[bytes], source: random.Random) -> bytes:
    """Return an input with one change."""
    kind = source.randrange(9)
    start = source.randrange(len(data) + 1)
    end = min(len(data), start + source.choice((1, 2, 8, 64, 2880)))
    if kind == 0:  # other bytes
        return data[:start] + source.randbytes(end - start) + data[end:]
    if kind == 1:  # a word more
        return data[:start] + source.choice(WORDS) * source.choice((1, 1, 1, 3, 1000)) + data[start:]
    if kind == 2:  # a block less
        return data[:start] + data[end:]
    if kind == 3:  # a block twice, or very often
        return data[:end] + data[start:end] * source.choice((1, 2, 50, 2000)) + data[end:]
    if kind == 4:  # cut off
        return data[:start]
    if kind == 5:  # the end of another seed
        other = source.choice(seeds)
        return data[:start] + other[source.randrange(len(other) + 1) :]
    if kind == 6:  # one bit
        if not data:
            return b"\x01"
        place = source.randrange(len(data))
        return data[:place] + bytes([data[place] ^ (1 << source.randrange(8))]) + data[place + 1 :]
    if kind == 7:  # blocks exchanged
        return data[:start] + data[end:] + data[start:end]
    places = list(NUMBER.finditer(data[:100_000]))  # another number
    if not places:
        return data + source.choice(WORDS)
    match = source.choice(places)
    return data[: match.start()] + source.choice(NUMBERS) + data[match.end() :]

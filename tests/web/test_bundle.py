"""Archives that are made while they are sent."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from uws_service.web.bundle import Entry, distinct, safe_name, tar_chunks, zip_chunks

pytestmark = pytest.mark.anyio
CHUNK_BYTES = 1 << 20
NOON = 1_764_331_200_000


async def content(size: int) -> AsyncIterator[bytes]:
    for begin in range(0, size, CHUNK_BYTES):
        yield b"x" * min(CHUNK_BYTES, size - begin)


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("sizes", [[], [0], [1], [511, 512, 513], [3 * CHUNK_BYTES + 7, 0, 5]])
async def test_both_forms(sizes: list[int]) -> None:
    entries = [Entry(f"job/f{number}", size, NOON, partial(content, size)) for number, size in enumerate(sizes)]
    with zipfile.ZipFile(io.BytesIO(await joined(zip_chunks(entries)))) as packed:
        assert packed.testzip() is None
        assert [info.file_size for info in packed.infolist()] == sizes
    with tarfile.open(fileobj=io.BytesIO(await joined(tar_chunks(entries)))) as tape:
        assert [member.size for member in tape.getmembers()] == sizes


@pytest.mark.parametrize("make", [zip_chunks, tar_chunks])
async def test_memory_is_bounded(make: Callable[[list[Entry]], AsyncIterator[bytes]]) -> None:
    """300 MB go through; a few chunks are in memory."""
    size = 300 * CHUNK_BYTES
    tracemalloc.start()
    total = 0
    async for chunk in make([Entry("job/big", size, NOON, partial(content, size))]):
        total += len(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total >= size and peak < 10 * CHUNK_BYTES


async def test_a_file_of_another_size_ends_a_tar() -> None:
    with pytest.raises(OSError, match="instead of 9"):
        await joined(tar_chunks([Entry("job/f", 9, NOON, partial(content, 5))]))


@pytest.mark.parametrize(
    ("name", "media_type", "safe"),
    [
        ("result", "application/x-votable+xml", "result.vot"),
        ("../../etc/passwd", "", "_.._etc_passwd"),
        ("..", "text/csv", "file.csv"),
        ("-rf", "text/plain; charset=utf-8", "rf.txt"),
        ("a\\b:c\0\n", "image/png", "a_b_c__.png"),
        ("map.fits.gz", "application/fits", "map.fits.gz"),
        ("ü" * 300, "x/unknown-type", "_" * 100),
        ("", "", "file"),
    ],
)
async def test_names(name: str, media_type: str, safe: str) -> None:
    """Nothing leads out of the folder into which it is unpacked."""
    assert safe_name(name, media_type) == safe


async def test_names_are_distinct() -> None:
    assert distinct(["a.txt", "A.txt", "a.txt", "a-2.txt", "b"]) == ["a.txt", "A-2.txt", "a-3.txt", "a-2-2.txt", "b"]

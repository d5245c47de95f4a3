"""Archives that are made while they are sent."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from functools import partial

import pytest

from uws_service.web.zipped import Member, zip_chunks

CHUNK = bytes(range(256)) * 1024  # 256 KiB


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield CHUNK


@pytest.mark.anyio
async def test_any_reader_opens_it() -> None:
    """Names, contents and times are those of the members."""
    members = [
        Member("a/b.txt", partial(chunks, 3)),
        Member("empty", partial(chunks, 0)),
        Member("ü", partial(chunks, 1)),
    ]
    body = b"".join([part async for part in zip_chunks(members, 1_764_000_000_000)])
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        assert {info.filename: info.file_size for info in archive.infolist()} == {
            "a/b.txt": 3 * len(CHUNK),
            "empty": 0,
            "ü": len(CHUNK),
        }
        assert archive.infolist()[0].date_time == (2025, 11, 24, 16, 0, 0)


@pytest.mark.anyio
async def test_memory_is_bounded() -> None:
    """256 MiB pass through a few."""
    size = 0
    tracemalloc.start()
    try:
        async for part in zip_chunks([Member("large", partial(chunks, 1024))], 0):
            size += len(part)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 1024 * len(CHUNK)
    assert peak < 8 * 1024 * 1024, peak

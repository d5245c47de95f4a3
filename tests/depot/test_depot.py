"""The depot on a folder and on SeaweedFS.

What is put comes back, limits hold, faults are told.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.s3 import KEY, SECRET, S3Server
from uws_service.depot import MAX_NAME_BYTES, Depot
from uws_service.domain.errors import ConfigurationError, NotFound, ServiceUnavailable, TooLarge

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 80_000  # 20 MB: several parts of an upload to S3


@pytest.fixture(params=["folder", "s3"])
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> Depot:
    if request.param == "folder":
        return Depot.open(str(tmp_path / "depot"))
    server: S3Server = request.getfixturevalue("s3")
    return Depot.open(server.url, access_key_id=KEY, secret_access_key=SECRET)


async def chunks(data: bytes, size: int = 1_000_003) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(depot: Depot, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in depot.read(key, start, end)])


async def test_round_trip(depot: Depot, tmp_path: Path) -> None:
    """Bytes, size, checksum, ranges; files in and out."""
    stored = await depot.put("jobs/a/results/result", chunks(DATA), max_size=len(DATA))
    assert stored.size == len(DATA) and stored.sha256 == hashlib.sha256(DATA).hexdigest()
    assert await read(depot, "jobs/a/results/result") == DATA
    assert await read(depot, "jobs/a/results/result", 5, 1_500_000) == DATA[5:1_500_000]
    assert await read(depot, "jobs/a/results/result", len(DATA) - 3) == DATA[-3:]
    info = await depot.head("jobs/a/results/result")
    assert info is not None and info.size == len(DATA)
    file = tmp_path / "file"
    await depot.get_file("jobs/a/results/result", file)
    assert file.read_bytes() == DATA
    await depot.put("jobs/b/logs/stdout", chunks(DATA), max_size=len(DATA))
    assert await read(depot, "jobs/b/logs/stdout") == DATA
    assert sorted([prefix async for prefix in depot.list_prefixes("jobs/")]) == ["jobs/a/", "jobs/b/"]
    for job in ("a", "b"):
        assert await depot.delete_prefix(f"jobs/{job}/") == 1
    assert await depot.head("jobs/a/results/result") is None
    if depot.folder is not None:  # SeaweedFS lists folders that are empty for a while
        assert [prefix async for prefix in depot.list_prefixes("jobs/")] == []
    assert await depot.delete_prefix("jobs/a/") == 0


async def test_empty_object(depot: Depot) -> None:
    stored = await depot.put("jobs/e/uploads/1", chunks(b""), max_size=10)
    assert stored.size == 0 and await read(depot, "jobs/e/uploads/1") == b""
    await depot.delete_prefix("jobs/e/")


async def test_too_large_leaves_nothing(depot: Depot) -> None:
    with pytest.raises(TooLarge, match="1000000"):
        await depot.put("jobs/t/uploads/1", chunks(DATA), max_size=1_000_000)
    assert await depot.head("jobs/t/uploads/1") is None


async def test_missing(depot: Depot) -> None:
    with pytest.raises(NotFound):
        await read(depot, "jobs/none/results/x")
    assert await depot.head("jobs/none/results/x") is None


@pytest.mark.parametrize("key", ["../x", "/x", "a//b", "a/../b", "a/.", "a\0b", "", "a/" + "n" * 250, "é" * 130])
async def test_keys_stay_inside(depot: Depot, key: str) -> None:
    with pytest.raises(ValueError):
        await depot.head(key)


async def test_long_names(depot: Depot) -> None:
    """Every key that is taken can be stored."""
    key = f"jobs/none/{'n' * MAX_NAME_BYTES}"
    await depot.put(key, chunks(b"x"), max_size=1)
    assert await read(depot, key) == b"x"


async def test_check(depot: Depot) -> None:
    """V-020: really writes, reads and deletes."""
    await depot.check()


async def test_wrong_secret(s3: S3Server) -> None:
    wrong = Depot.open(s3.url, access_key_id=KEY, secret_access_key="wrong")
    with pytest.raises(ServiceUnavailable):
        await wrong.check()


async def test_server_down(tmp_path: Path) -> None:
    down = Depot.open("s3://bucket/x?endpoint=http://127.0.0.1:9", access_key_id=KEY, secret_access_key=SECRET)
    with pytest.raises(ServiceUnavailable):
        await down.check()


@pytest.mark.parametrize("url", ["ftp://x/y", "s3://", "s3://user:pass@bucket/x", "s3://bucket/x?secret=1"])
def test_wrong_urls(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Depot.open(url)

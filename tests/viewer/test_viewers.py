"""Results that attack whoever looks into them.

Processes of their own, bounds of time, memory and disk.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.io import fits

from tests.viewer.test_copy import COUNT, table_file
from uws_service.domain.errors import NotFound, UsageError
from uws_service.viewer import ResultFile, Viewers
from uws_service.viewer.settings import ViewerSettings

pytestmark = pytest.mark.anyio


class FolderOfFiles:
    """Files in a folder, as a depot has them; ``remote`` keeps their paths to itself, as a bucket does."""

    def __init__(self, folder: Path, *, remote: bool = False) -> None:
        self.folder = None if remote else folder
        self._folder = folder
        self.reads = 0

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield a file in pieces."""
        self.reads += 1
        content = (self._folder / key).read_bytes()[start:end]
        for begin in range(0, len(content), 100_000):
            yield content[begin : begin + 100_000]


def result(path: Path) -> ResultFile:
    """Return a file as a result."""
    return ResultFile(path.name, path.stat().st_size, "digest")


@pytest.fixture
async def viewers(tmp_path: Path) -> AsyncIterator[Viewers]:
    """Yield what looks into files of the test's folder."""
    settings = ViewerSettings(processes=1, seconds=30, memory=256 << 20)
    running = Viewers(settings, tmp_path / "views", FolderOfFiles(tmp_path))
    running.prepare()
    yield running
    await running.close()


async def test_rows_overview_and_what_is_left_behind(viewers: Viewers, tmp_path: Path) -> None:
    """A pass is made once, whoever asks how often; nothing stays on the disk afterwards."""
    file = result(table_file(tmp_path / "table"))
    overviews = await asyncio.gather(*(viewers.overview(file, f"caller {number}") for number in range(5)))
    assert all(overview["count"] == COUNT for overview in overviews)
    (tmp_path / "table").write_bytes(b"")  # so another pass would fail
    _, rows = await viewers.rows(file, "me", 10, 2, "number", descending=True, typed=True)
    assert [row[4] for row in rows] == [COUNT - 11, COUNT - 12]
    assert len((await viewers.first(file, "me", 7))["rows"]) == 7
    await viewers.close()
    assert not viewers.folder.exists()


async def test_results_in_a_bucket(tmp_path: Path) -> None:
    """They are fetched once for a pass, and the draft goes."""
    files = FolderOfFiles(tmp_path, remote=True)
    viewers = Viewers(ViewerSettings(processes=1), tmp_path / "views", files)
    viewers.prepare()
    try:
        file = result(table_file(tmp_path / "table", "parquet"))
        assert (await viewers.overview(file, "me"))["count"] == COUNT
        await viewers.overview(file, "me")
        assert files.reads == 1 and not list(viewers.folder.glob("*.fetched"))
    finally:
        await viewers.close()


def header(*cards: str) -> bytes:
    """Return a header of FITS."""
    return b"".join(card.ljust(80).encode() for card in (*cards, "END")).ljust(2880)


HUGE_TABLE = header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0") + header(
    "XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 1000000000000", "NAXIS2  = 1000000000000",
    "PCOUNT  = 0", "GCOUNT  = 1", "TFIELDS = 1", "TFORM1  = '1000000000000B'",
)  # fmt: skip
DOCTYPE = b'<?xml version="1.0"?><!DOCTYPE v [%s]><VOTABLE><x>&a;</x></VOTABLE>'
HOSTILE = {
    "entities": DOCTYPE % b'<!ENTITY b "bbbb"><!ENTITY a "&b;&b;">',
    "a file of this machine": DOCTYPE % b'<!ENTITY a SYSTEM "file:///etc/passwd">',
    "a page": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "nothing": b"",
    "noise": bytes(range(256)) * 40,
    "a gzip bomb": gzip.compress(b"a" * (100 << 20), 9),
    "columns without end": b",".join(b"c%d" % number for number in range(100_000)) + b"\n",
    "a FITS table that claims a terabyte": HUGE_TABLE,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_files(viewers: Viewers, tmp_path: Path, name: str) -> None:
    """Each is refused with a sentence, and the next file is read as ever."""
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[name])
    for look in (viewers.overview, viewers.contents):
        try:
            content = await look(result(path), "me")
        except UsageError as error:
            assert error.message and "Traceback" not in error.message and "root:" not in error.message
        else:
            assert look == viewers.contents and content.get("table") in (True, False)
    with pytest.raises(UsageError):
        await viewers.overview(result(path), "me")
    assert (await viewers.overview(result(table_file(tmp_path / "good")), "me"))["count"] == COUNT


async def test_a_file_that_takes_too_long(tmp_path: Path) -> None:
    """Its process is killed in time; asking again costs nothing, and other files are read."""
    viewers = Viewers(ViewerSettings(processes=1, seconds=1), tmp_path / "views", FolderOfFiles(tmp_path))
    viewers.prepare()
    try:
        path = tmp_path / "long.csv"
        with path.open("w") as file:
            file.write("a,b\n")
            rows = "".join(f"{number},word{number}\n" for number in range(100_000))
            file.writelines(rows for _ in range(120))  # some seconds of reading
        began = time.monotonic()
        with pytest.raises(UsageError, match="more time or memory"):
            await viewers.overview(result(path), "me")
        assert time.monotonic() - began < 60
        began = time.monotonic()
        with pytest.raises(UsageError, match="more time or memory"):
            await viewers.overview(result(path), "somebody else")
        assert time.monotonic() - began < 0.5
        assert not list(viewers.folder.glob("*.copy.json"))
    finally:
        await viewers.close()


async def test_memory_is_bounded(viewers: Viewers, tmp_path: Path) -> None:
    """A small file whose texts unpack to a terabyte is refused."""
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10_000_000, "i4")), pa.array(["x" * 100_000]))
    pyarrow.parquet.write_table(pa.table({"text": text}), tmp_path / "bomb")
    assert (tmp_path / "bomb").stat().st_size < 1 << 20
    with pytest.raises(UsageError, match="memory"):
        await viewers.overview(result(tmp_path / "bomb"), "me")


async def test_files_that_are_larger_or_gone(viewers: Viewers, tmp_path: Path) -> None:
    file = ResultFile("table", viewers.settings.file + 1, "x")
    with pytest.raises(UsageError, match="are looked into"):
        await viewers.overview(file, "me")
    with pytest.raises(NotFound, match="no longer there"):
        await viewers.overview(ResultFile("absent", 10, "x"), "me")


async def test_old_copies_make_room(tmp_path: Path) -> None:
    """The disk of all copies has a bound; a copy that went is made again."""
    settings = ViewerSettings(processes=1, cache=2 << 20, copy_size=1 << 20)
    viewers = Viewers(settings, tmp_path / "views", FolderOfFiles(tmp_path))
    viewers.prepare()
    try:
        for number in range(8):
            file = result(table_file(tmp_path / f"table{number}", count=5000 + number))
            assert (await viewers.overview(file, "me"))["count"] == 5000 + number
        used = sum(path.stat().st_size for path in viewers.folder.iterdir())
        assert used <= settings.cache
        first = result(tmp_path / "table0")
        _, rows = await viewers.rows(first, "me", 4999, 10, "", descending=False, typed=True)
        assert [row[0] for row in rows] == ["star 4999"]
    finally:
        await viewers.close()


async def test_images(viewers: Viewers, tmp_path: Path) -> None:
    """A FITS file may hold a table, an image or both; a picture of any image is small."""
    image = np.random.default_rng(1).normal(size=(600, 2000)).astype("f4")
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=np.arange(3.0))])
    fits.HDUList([fits.PrimaryHDU(image), table]).writeto(tmp_path / "both.fits")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    both, alone = result(tmp_path / "both.fits"), result(tmp_path / "table.fits")
    assert await viewers.contents(both, "me") == {"table": True, "image": True}
    assert await viewers.contents(alone, "me") == {"table": True, "image": False}
    picture = await viewers.picture(both, "me")
    assert picture.startswith(b"\x89PNG") and len(picture) < 512 * 512
    with pytest.raises(UsageError):
        await viewers.picture(alone, "me")


async def test_an_image_that_claims_more_than_there_is(viewers: Viewers, tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((10, 10), "f4")).writeto(tmp_path / "image.fits")
    content = (tmp_path / "image.fits").read_bytes()
    wide = content.replace(b"NAXIS1  =                   10", b"NAXIS1  =         100000000000")
    (tmp_path / "image.fits").write_bytes(
        wide.replace(b"NAXIS2  =                   10", b"NAXIS2  =         100000000000")
    )
    with pytest.raises(UsageError):
        await viewers.picture(result(tmp_path / "image.fits"), "me")


def test_folders_of_processes_that_are_gone(tmp_path: Path) -> None:
    """They go at the start; that of a process that lives stays."""
    dead, alive = tmp_path / "views" / "999999999", tmp_path / "views" / str(os.getppid())
    for folder in (dead, alive):
        folder.mkdir(parents=True)
    Viewers(ViewerSettings(), tmp_path / "views", FolderOfFiles(tmp_path)).prepare()
    assert not dead.exists() and alive.exists()

"""Headers of FITS files.

What they claim costs nothing, and whatever stands before the table is passed over.
"""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.tap.readers.tables import read_rows
from uws_service.domain.errors import UsageError

TABLE = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.array([1, 2, 3], "i4"))])


def cards(*pairs: tuple[str, object]) -> bytes:
    """Return a header of these cards as bytes."""
    return b"".join(f"{name:8}= {value!s:>20}".ljust(80).encode() for name, value in pairs) + b"END".ljust(80)


def padded(content: bytes) -> bytes:
    """Fill up the last block."""
    return content + b" " * (-len(content) % 2880)


@pytest.mark.parametrize("number", [1000, 2**31, 2**63, 10**19, -1, "x", "1.5", ""])
@pytest.mark.parametrize("extension", [False, True])
def test_impossible_dimensions(tmp_path: Path, number: object, extension: bool) -> None:
    """Refuse NAXIS beyond the standard's 999 at once, in the first header and in later ones (FITS 4.0 §4.4.1)."""
    bad = cards(("SIMPLE" if not extension else "XTENSION", "T" if not extension else "'IMAGE   '"), ("BITPIX", 8),
                ("NAXIS", number))  # fmt: skip
    good = padded(cards(("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 0)))
    (tmp_path / "t").write_bytes((good if extension else b"") + padded(bad))
    start = time.process_time()
    with pytest.raises(UsageError):
        read_rows(tmp_path / "t")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("sizes", [(-1, 5), (5, -1), (10**30, 10**30)])
def test_impossible_sizes(tmp_path: Path, sizes: tuple[int, int]) -> None:
    """Refuse a table that is larger than its file, or smaller than nothing."""
    header = cards(("XTENSION", "'BINTABLE'"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", sizes[0]), ("NAXIS2", sizes[1]),
                   ("PCOUNT", 0), ("GCOUNT", 1), ("TFIELDS", 1), ("TFORM1", "'J       '"))  # fmt: skip
    first = padded(cards(("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 0)))
    (tmp_path / "t").write_bytes(first + padded(header))
    with pytest.raises(UsageError):
        read_rows(tmp_path / "t")


def test_what_stands_before_a_table(tmp_path: Path) -> None:
    """Pass over images of any kind: plain ones, compressed ones, random groups."""
    image = np.arange(60, dtype="i2").reshape(5, 12)
    fits.HDUList(
        [fits.PrimaryHDU(image), fits.ImageHDU(image), fits.CompImageHDU(image), fits.ImageHDU(), TABLE]
    ).writeto(tmp_path / "images")
    groups = fits.GroupData(np.ones((4, 1, 3), "f4"), bitpix=-32, parnames=["u"], pardata=[np.arange(4.0)])
    fits.HDUList([fits.GroupsHDU(groups), TABLE]).writeto(tmp_path / "groups")
    for name in ("images", "groups"):
        assert read_rows(tmp_path / name) == [(1,), (2,), (3,)], name


def test_no_table(tmp_path: Path) -> None:
    """Say that there is none, also when the file ends in the middle."""
    fits.PrimaryHDU(np.zeros(5000)).writeto(tmp_path / "image")
    content = (tmp_path / "image").read_bytes()
    for length in (len(content), 2880, 2880 + 100):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(UsageError, match="no binary table"):
            read_rows(tmp_path / "cut")


def test_a_compressed_table(tmp_path: Path) -> None:
    """Refuse a table whose columns hold compressed bytes (FITS 4.0 §10.3), instead of reading these as values."""
    packed = np.empty(1, object)
    packed[0] = np.frombuffer(gzip.compress(np.arange(4, dtype=">i4").tobytes()), "u1")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "1PB()", array=packed)])
    table.header.update(ZTABLE=True, ZTILELEN=4, ZNAXIS1=4, ZNAXIS2=4, ZPCOUNT=0, ZFORM1="1J", ZCTYP1="GZIP_1")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "t")
    with pytest.raises(UsageError, match="compressed"):
        read_rows(tmp_path / "t")

"""Headers that claim what no file has.

A refusal at once, in little memory, in a process with a limit.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.io import fits

from tests.soda import skies
from uws_service.soda import cutout
from uws_service.soda.sources import LocalSource

SECONDS = 10
BYTES = 2 << 30
OPEN = """
import sys
from pathlib import Path
from uws_service.soda import cutout
from uws_service.soda.errors import BadImage
from uws_service.soda.sources import LocalSource
try:
    image = cutout.open_image(LocalSource(Path(sys.argv[1])))
    for _, hdu in cutout.images(image):
        cutout.wcs_of(image, hdu)
except BadImage as error:
    print(error.message)
"""


def cards(*pairs: tuple[str, object]) -> bytes:
    """Return a header of these cards, in whole records."""
    text = b"".join(f"{name:8}= {value!s:>20}".ljust(80).encode() for name, value in pairs) + b"END".ljust(80)
    return text + b" " * (-len(text) % 2880)


FIRST = cards(("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 0))
SIP = (
    *(("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", 4), ("NAXIS2", 4), ("CRPIX1", 1), ("CRPIX2", 1)),
    *(("CTYPE1", "'RA---TAN-SIP'"), ("CTYPE2", "'DEC--TAN-SIP'"), ("A_ORDER", 20_000), ("B_ORDER", 20_000)),
)
TABLE = (
    ("XTENSION", "'BINTABLE'"),
    ("BITPIX", 8),
    ("NAXIS", 2),
    ("NAXIS1", 0),
    ("NAXIS2", 0),
    ("PCOUNT", 0),
    ("GCOUNT", 1),
)
HOSTILE = {
    "dimensions": (cards(("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 10**8)), "NAXIS = 100000000"),
    "dimensions of an extension": (
        FIRST + cards(("XTENSION", "'IMAGE   '"), ("BITPIX", 8), ("NAXIS", 10**8)),
        "NAXIS = 100000000",
    ),
    "backwards": (
        FIRST
        + cards(
            ("XTENSION", "'IMAGE   '"), ("BITPIX", 8), ("NAXIS", 1), ("NAXIS1", 2880), ("PCOUNT", -8640), ("GCOUNT", 1)
        ),
        "negative size",
    ),
    "columns": (FIRST + cards(*TABLE, ("TFIELDS", 10**8)), "TFIELDS = 100000000"),
    "dimensions of a compressed image": (
        FIRST + cards(*TABLE, ("TFIELDS", 0), ("ZIMAGE", "T"), ("ZNAXIS", 10**8)),
        "ZNAXIS = 100000000",
    ),
    "no end": (FIRST + b"XTENSION= 'IMAGE   '".ljust(300 << 20), "no END"),
    "orders of distortions": (cards(*SIP) + b"\0" * 2880, "A_ORDER = 20000"),
}


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_at_once(tmp_path: Path, name: str) -> None:
    """A line says what is wrong; neither time nor memory goes with the claim."""
    content, message = HOSTILE[name]
    (tmp_path / "hostile.fits").write_bytes(content)
    process = subprocess.run([sys.executable, "-c", OPEN, str(tmp_path / "hostile.fits")], preexec_fn=_limit,
                             capture_output=True, text=True, check=False)  # fmt: skip
    assert process.returncode == 0, process.stderr[-500:]
    assert "hostile.fits" in process.stdout and message in process.stdout


@pytest.mark.parametrize("behind", [b"\0" * 5000, b"special records".ljust(2880), b"x"])
def test_what_stands_behind_the_last_image(tmp_path: Path, behind: bytes) -> None:
    """Anything may follow (FITS 4.0 §3.5); the images before it are read."""
    path = skies.write(tmp_path / "a.fits", skies.numbered(5, 6), skies.header(10.0, 20.0))
    with fits.open(path, mode="append") as hdus:
        hdus.append(fits.ImageHDU(skies.numbered(5, 6)))
    path.write_bytes(path.read_bytes() + behind)
    image = cutout.open_image(LocalSource(path))
    assert [number for number, _ in cutout.images(image)] == [0, 1]
    image.close()

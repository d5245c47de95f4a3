"""Cutouts of files, broken ones too.

Pixels and coordinates are as in the whole image.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from tests.soda import skies
from uws_service.soda import cutout
from uws_service.soda.errors import BadImage, NoOverlap, Usage
from uws_service.soda.request import Circle, Cut, Interval, Range
from uws_service.soda.sources import LocalSource

C = 299_792_458.0
CENTRE = Circle(10.0, 20.0, 0.1)
NO_COVERAGE = cutout.Coverage()


def cut(path: Path, request: Cut, coverage: cutout.Coverage = NO_COVERAGE, max_bytes: int = 10**9) -> Any:
    """Return the cutout of a file, as astropy reads it."""
    image = cutout.open_image(LocalSource(path))
    try:
        cutout.plan(image, request, coverage, max_bytes)
        out = io.BytesIO()
        cutout.write(image, out)
    finally:
        image.close()
    assert len(out.getvalue()) % 2880 == 0
    hdus = fits.open(io.BytesIO(out.getvalue()))
    hdus.verify("exception")
    return hdus


def quiet(header: fits.Header, hdus: Any = None) -> WCS:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(header, fobj=hdus)


@pytest.mark.parametrize("lat", [0.0, 60.0, 89.99, -90.0])
@pytest.mark.parametrize("turn", [0.0, 25.0])
def test_pixel_by_pixel_as_cutout2d(tmp_path: Path, lat: float, turn: float) -> None:
    """Pixels have the values and positions of Cutout2D."""
    data = skies.numbered(70, 80, dtype=np.int32)
    original = skies.header(0.0, lat, size=(80, 70), turn=turn)
    path = skies.write(tmp_path / "a.fits", data, original)
    wcs = quiet(original)
    random = np.random.default_rng(11)
    for _ in range(15):
        x, y = random.uniform(0, 79), random.uniform(0, 69)
        lon, dec = (float(coordinate) for coordinate in wcs.wcs_pix2world(x, y, 0))
        with cut(path, Cut("a", Circle(lon % 360, dec, random.uniform(0.001, 0.3)))) as hdus:
            hdu = hdus[0]
            ny, nx = hdu.data.shape
            offset_x, offset_y = (original[f"CRPIX{n}"] - hdu.header[f"CRPIX{n}"] for n in (1, 2))
            expected = Cutout2D(data, (offset_x + (nx - 1) / 2, offset_y + (ny - 1) / 2), (ny, nx), wcs=wcs)
            np.testing.assert_array_equal(hdu.data, expected.data)
            corner = quiet(hdu.header).pixel_to_world(0, ny - 1)
            assert corner.separation(expected.wcs.pixel_to_world(0, ny - 1)).arcsec < 1e-6


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_pixels_keep_their_type(tmp_path: Path, kind: type) -> None:
    """Integers with BZERO stay what they were."""
    data = skies.numbered(50, 60, dtype=kind)
    path = skies.write(tmp_path / "a.fits", data, skies.header(10, 20), BUNIT="adu")
    with cut(path, Cut("a", CENTRE)) as hdus, fits.open(path) as original:
        assert hdus[0].header["BITPIX"] == original[0].header["BITPIX"]
        assert hdus[0].header["BUNIT"] == "adu"
        x, y = (int(original[0].header[f"CRPIX{n}"] - hdus[0].header[f"CRPIX{n}"]) for n in (1, 2))
        ny, nx = hdus[0].data.shape
        np.testing.assert_array_equal(hdus[0].data, original[0].data[y : y + ny, x : x + nx])


def test_scaled_and_blank_pixels(tmp_path: Path) -> None:
    """BSCALE and BLANK go with the pixels."""
    hdu = fits.PrimaryHDU(skies.numbered(50, 60, dtype=np.int16), skies.header(10, 20))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 100.0, 1530
    hdu.writeto(tmp_path / "a.fits")
    with cut(tmp_path / "a.fits", Cut("a", CENTRE)) as hdus:
        raw = hdus[0].header["BLANK"]
        assert raw == 1530 and hdus[0].header["BSCALE"] == 0.5
        assert np.isnan(hdus[0].data).sum() == 1


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_2"])
def test_compressed_images(tmp_path: Path, kind: str) -> None:
    """The cutout of tiles is a plain image."""
    data = skies.numbered(50, 60, dtype=np.int16)
    hdu = fits.CompImageHDU(data, skies.header(10, 20), compression_type=kind, tile_shape=(10, 10))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    with cut(tmp_path / "a.fits", Cut("a", CENTRE)) as hdus:
        assert [type(hdu) for hdu in hdus] == [fits.PrimaryHDU, fits.ImageHDU]
        np.testing.assert_array_equal(hdus[1].data, data[14:36, 19:41])


@pytest.mark.parametrize(
    ("low", "high", "channels"),
    [
        (C / 1.4052e9, C / 1.4022e9, slice(2, 6)),  # frequency falls while wavelength grows
        (0.0, np.inf, slice(0, 20)),
        (C / 1.41e9, C / 1.41e9, slice(10, 11)),
        (C / 1.4005e9 + 1e-9, 1.0, slice(0, 1)),
    ],
)
def test_channels_of_a_cube(tmp_path: Path, low: float, high: float, channels: slice) -> None:
    """BAND in metres on an axis of frequency (S-002)."""
    path = skies.cube(tmp_path / "cube.fits")
    with cut(path, Cut("a", None, Interval(low, high))) as hdus, fits.open(path) as original:
        np.testing.assert_array_equal(hdus[0].data, original[0].data[:, channels])
        assert hdus[0].header["CRPIX3"] == 1 - channels.start


def test_velocities_are_wavelengths(tmp_path: Path) -> None:
    """A radio velocity needs a rest frequency."""
    rest_frequency = 1.420405751e9
    axes = {"CTYPE3": "VRAD", "CRVAL3": 0.0, "CDELT3": 1000.0, "CRPIX3": 1.0, "CUNIT3": "m/s"}
    data = skies.numbered(30, 50, 60)
    path = skies.write(tmp_path / "a.fits", data, skies.header(10, 20), **axes, RESTFRQ=rest_frequency)
    band = Interval(*(C / (rest_frequency * (1 - v / C)) for v in (4600.0, 8400.0)))
    with cut(path, Cut("a", CENTRE, band)) as hdus:
        assert hdus[0].data.shape[0] == 4
        assert hdus[0].header["CRPIX3"] == -4
    path = skies.write(tmp_path / "b.fits", data, skies.header(10, 20), **axes)
    with pytest.raises(BadImage, match="no wavelengths"):
        cut(path, Cut("a", CENTRE, band))


@pytest.mark.parametrize(
    ("states", "planes", "scale"),
    [(("I",), [0], 1), (("V", "Q"), [1, 3], 2), (("I", "U", "V"), [0, 1, 2, 3], 1), (("Q", "U", "XX"), [1, 2], 1)],
)
def test_polarizations(tmp_path: Path, states: tuple[str, ...], planes: list[int], scale: int) -> None:
    """POL is one filter (S-002).

    Planes at regular distances are cut alone, else those between too.
    """
    path = skies.cube(tmp_path / "cube.fits")
    with cut(path, Cut("a", pol=states)) as hdus, fits.open(path) as original:
        np.testing.assert_array_equal(hdus[0].data, original[0].data[planes])
        assert hdus[0].header["CDELT4"] == scale
        stokes = quiet(hdus[0].header).sub([4]).wcs_pix2world(range(len(planes)), 0)[0]
        assert [round(number) for number in stokes] == [number + 1 for number in planes]


def test_everything_at_once(tmp_path: Path) -> None:
    """Region, band and polarization of a cube combine.

    A Stokes axis may come first in memory.
    """
    path = skies.cube(tmp_path / "cube.fits")
    request = Cut("a", Range(9.95, 10.05, 19.95, 20.05), Interval(C / 1.4042e9, C / 1.4028e9), None, ("U",))
    with cut(path, request) as hdus, fits.open(path) as original:
        ny, nx = hdus[0].data.shape[2:]
        x, y = (int(original[0].header[f"CRPIX{n}"] - hdus[0].header[f"CRPIX{n}"]) for n in (1, 2))
        np.testing.assert_array_equal(hdus[0].data, original[0].data[2:3, 3:5, y : y + ny, x : x + nx])
    axes = {"CTYPE1": "STOKES", "CRVAL1": 1.0, "CDELT1": 1.0, "CRPIX1": 1.0}
    sky = {key: value for key, value in skies.header(10, 20).items() if not key.startswith("PC")}
    shifted = {f"{key[:-1]}{int(key[-1]) + 1}" if key[-1] in "12" else key: value for key, value in sky.items()}
    data = skies.numbered(50, 60, 4)
    path = skies.write(tmp_path / "b.fits", data, fits.Header(shifted.items()), **axes)
    with cut(path, Cut("a", CENTRE, pol=("Q", "V"))) as hdus:
        ny, nx, _ = hdus[0].data.shape
        x, y = (int(shifted[f"CRPIX{n}"] - hdus[0].header[f"CRPIX{n}"]) for n in (2, 3))
        np.testing.assert_array_equal(hdus[0].data, data[y : y + ny, x : x + nx, 1:4:2])


def test_times_of_a_cube(tmp_path: Path) -> None:
    """TIME is MJD on an axis of seconds."""
    axes = {"CTYPE3": "TIME", "CRVAL3": 0.0, "CDELT3": 43200.0, "CRPIX3": 1.0, "CUNIT3": "s"}
    original = {**axes, "MJDREF": 55000.0, "TIMESYS": "UTC"}
    path = skies.write(tmp_path / "a.fits", skies.numbered(10, 50, 60), skies.header(10, 20), **original)
    with cut(path, Cut("a", time=Interval(55001.0, 55002.0))) as hdus:
        assert (hdus[0].data.shape[0], hdus[0].header["CRPIX3"]) == (3, -1)
    with pytest.raises(NoOverlap, match="TIME"):
        cut(path, Cut("a", time=Interval(50000.0, 50001.0)))


def test_images_without_the_axis() -> None:
    """The image's coverage decides, if it is known."""
    path = Path(fits.__file__).parent / "hdu/compressed/tests/data/m13.fits"
    coverage = cutout.Coverage(Interval(4e-7, 7e-7), Interval(33000.0, 34000.0), ("I",))
    request = Cut("m13", None, Interval(5e-7, 6e-7), Interval(33500.0, np.inf), ("I", "Q"))
    with cut(path, request, coverage) as hdus:
        assert hdus[0].data.shape == (300, 300)
    for outside, term in (
        (Cut("m13", band=Interval(1.0, 2.0)), "BAND"),
        (Cut("m13", time=Interval(1.0, 2.0)), "TIME"),
        (Cut("m13", pol=("V",)), "polarization"),
    ):
        with pytest.raises(NoOverlap, match=term):
            cut(path, outside, coverage)
        with pytest.raises(Usage, match="leave"):
            cut(path, outside, NO_COVERAGE)


def test_files_with_several_images(tmp_path: Path) -> None:
    """Images that overlap are cut, with their names.

    Tables and images of other places are left out.
    """
    science = fits.ImageHDU(skies.numbered(50, 60), skies.header(10, 20), name="SCI")
    flags = fits.ImageHDU(skies.numbered(50, 60, dtype=np.uint8), skies.header(10, 20), name="DQ")
    far_image = fits.ImageHDU(skies.numbered(50, 60), skies.header(100, 20), name="OTHER")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    primary = fits.PrimaryHDU()
    primary.header["OBSERVER"] = "Herschel"
    fits.HDUList([primary, far_image, science, table, flags]).writeto(tmp_path / "a.fits", checksum=True)
    with cut(tmp_path / "a.fits", Cut("a", CENTRE)) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "SCI", "DQ"]
        assert hdus[0].header["OBSERVER"] == "Herschel"
        assert not {"CHECKSUM", "DATASUM"} & set(hdus["SCI"].header)
        assert hdus["SCI"].data.shape == hdus["DQ"].data.shape


def test_distortions_go_with_the_cutout(tmp_path: Path) -> None:
    """SIP polynomials and lookup tables go along."""
    path = Path(fits.__file__).parents[2] / "nddata/tests/data/sip-wcs.fits"
    with cut(path, Cut("a", Circle(280.5462, 0.1126, 0.001))) as hdus, fits.open(path) as original:
        x, y = (original[0].header[f"CRPIX{n}"] - hdus[0].header[f"CRPIX{n}"] for n in (1, 2))
        position = quiet(original[0].header).all_pix2world(x, y, 0)
        np.testing.assert_allclose(quiet(hdus[0].header).all_pix2world(0, 0, 0), position, rtol=1e-12)
    tables = [
        fits.ImageHDU(np.full((5, 6), value, np.float32), name="WCSDVARR", ver=n) for n, value in ((1, 0.7), (2, 2))
    ]
    for table in tables:
        table.data[2, 3] += 4
        for axis in (1, 2):
            table.header[f"CRPIX{axis}"], table.header[f"CRVAL{axis}"], table.header[f"CDELT{axis}"] = 1.0, 1.0, 12.0
    hdu = fits.PrimaryHDU(skies.numbered(50, 60), skies.header(10, 20))
    for n in (1, 2):
        hdu.header[f"CPDIS{n}"] = "LOOKUP"
        for part in (f"EXTVER: {n}", "NAXES: 2", "AXIS.1: 1", "AXIS.2: 2"):
            hdu.header.append(fits.Card(f"DP{n}", part))
    fits.HDUList([hdu, *tables]).writeto(tmp_path / "b.fits")
    with cut(tmp_path / "b.fits", Cut("a", CENTRE)) as hdus, fits.open(tmp_path / "b.fits") as original:
        before, after = quiet(original[0].header, original), quiet(hdus[0].header, hdus)
        x, y = (original[0].header[f"CRPIX{n}"] - hdus[0].header[f"CRPIX{n}"] for n in (1, 2))
        for px, py in ((0, 0), (7.3, 11.1)):
            np.testing.assert_allclose(
                after.all_pix2world(px, py, 0), before.all_pix2world(px + x, py + y, 0), rtol=1e-12
            )
        assert not np.allclose(before.all_pix2world(30, 25, 0), before.wcs_pix2world(30, 25, 0), rtol=1e-9)


def test_other_descriptions_of_the_axes_move_too(tmp_path: Path) -> None:
    """Alternative WCS and IRAF's LTV move along."""
    extra = {"CTYPE1A": "LINEAR", "CRPIX1A": 1.0, "CRVAL1A": 5.0, "CDELT1A": 1.0, "LTV1": -3.0}
    path = skies.write(tmp_path / "a.fits", skies.numbered(50, 60), skies.header(10, 20), **extra)
    with cut(path, Cut("a", CENTRE)) as hdus:
        x = 30.5 - hdus[0].header["CRPIX1"]
        assert hdus[0].header["CRPIX1A"] == 1 - x
        assert hdus[0].header["LTV1"] == -3 - x


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:7000])


def _no_scale(path: Path) -> None:
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["CDELT1"] = 0.0


def _not_a_number(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"CRVAL1  =                 10.0", b"CRVAL1  =                  NaN"))


def _huge(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"NAXIS1  =                   60", b"NAXIS1  =           2000000000"))


def _negative(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"NAXIS1  =                   60", b"NAXIS1  =                  -60"))


def _wrong_projection(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"RA---TAN", b"RA---XYZ").replace(b"DEC--TAN", b"DEC--XYZ"))


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"DEC--TAN", b"LINEAR  "))


def _text(path: Path) -> None:
    path.write_text("not a FITS file\n" * 500)


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(20_000))


@pytest.mark.parametrize(
    "spoil",
    [_truncated, _no_scale, _not_a_number, _huge, _negative, _wrong_projection, _half, _text, _nothing, _noise],
)
def test_broken_files(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """The error is a line that names the file."""
    path = skies.write(tmp_path / "broken.fits", skies.numbered(50, 60), skies.header(10.0, 20.0))
    spoil(path)
    with pytest.raises((BadImage, NoOverlap)) as error_info:
        cut(path, Cut("a", CENTRE))
    assert "\n" not in str(error_info.value)
    assert spoil is _not_a_number or "broken.fits" in str(error_info.value), error_info.value


def test_too_much(tmp_path: Path) -> None:
    """Too many bytes are refused before any is read."""
    path = skies.write(tmp_path / "a.fits", skies.numbered(50, 60), skies.header(10, 20))
    with pytest.raises(Usage, match="would have 12000 bytes; at most 11999"):
        cut(path, Cut("a"), max_bytes=11_999)


def test_the_whole_image_without_a_filter(tmp_path: Path) -> None:
    """ID alone gives all images of the file."""
    plain = fits.ImageHDU(skies.numbered(3, 4), name="PSF")
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(skies.numbered(50, 60), skies.header(10, 20)), plain]).writeto(path)
    with cut(path, Cut("a")) as hdus:
        assert hdus[0].data.shape == (50, 60) and hdus["PSF"].data.shape == (3, 4)

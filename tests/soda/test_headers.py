"""Headers of cutouts.

astropy finds for each pixel the coordinates that it has in the whole file.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from tests.soda import kinds, skies
from uws_service.soda import cutout, headers
from uws_service.soda.axes import Pick
from uws_service.soda.errors import BadImage, NoOverlap, Usage
from uws_service.soda.request import Circle, Cut, Interval
from uws_service.soda.sources import LocalSource

C = 299_792_458.0


def cut(path: Path, request: Cut) -> Any:
    """Return the cutout, as astropy reads and verifies it."""
    image = cutout.open_image(LocalSource(path))
    try:
        cutout.plan(image, request, cutout.Coverage(), 10**9)
        out = io.BytesIO()
        cutout.write(image, out)
    finally:
        image.close()
    assert len(out.getvalue()) % 2880 == 0
    hdus = fits.open(io.BytesIO(out.getvalue()))
    hdus.verify("exception")
    return hdus


def save(path: Path, hdus: fits.HDUList) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdus.writeto(path, output_verify="silentfix")
    return path


def coordinates(hdus: Any, hdu: Any, letter: str = " ") -> WCS:
    """Return astropy's WCS of an image, with what it inherits."""
    header = hdu.header.copy()
    if header.get("INHERIT"):
        header.extend((card for card in hdus[0].header.cards if card.keyword not in header), end=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(header, fobj=hdus, key=letter)


def count_same_positions(original: Any, part: Any) -> int:
    """Check that each pixel is where it was, in all descriptions of its image; how many images there are.

    A pixel's value is its number in the whole image.
    """
    count = 0
    for hdu in part:
        if (
            not hdu.is_image
            or hdu.header["NAXIS"] < 2
            or not (hdu.header["CTYPE*"] or "AMDX1" in hdu.header)
            or hdu.name in ("WCSDVARR", "D2IMARR")
        ):
            continue
        count += 1
        partner = next(
            item for item in original if item.is_image and item.size and (item.name, item.ver) == (hdu.name, hdu.ver)
        )
        position = np.argwhere(np.isfinite(hdu.data))
        original_position = np.stack(
            np.unravel_index(hdu.data[tuple(position.T)].astype(int), partner.data.shape), axis=-1
        )
        letters = {key[-1] if key[-1].isalpha() else " " for key in hdu.header["CTYPE1*"]} or {" "}
        for letter in letters:
            before, after = coordinates(original, partner, letter), coordinates(part, hdu, letter)
            expected = before.all_pix2world(original_position[:, ::-1].astype(float), 0)
            np.testing.assert_allclose(after.all_pix2world(position[:, ::-1].astype(float), 0), expected, rtol=1e-11)
            assert np.isfinite(expected).all()
    return count


@pytest.mark.parametrize("kind", kinds.ALL)
def test_each_pixel_keeps_its_place(tmp_path: Path, kind: str) -> None:
    """Every kind of header keeps the positions."""
    path = save(tmp_path / "a.fits", kinds.ALL[kind]())
    random = np.random.default_rng(3)
    images_compared = 0
    with fits.open(path) as original:
        images = [hdu for hdu in original if hdu.is_image and hdu.size and hdu.name in ("PRIMARY", "SCI")]
        sky = coordinates(original, images[-1])
        for _ in range(12):
            x, y = random.uniform(-3, 63), random.uniform(-3, 53)
            lon, lat = sky.all_pix2world([[x, y, 0, 0][: sky.naxis]], 0)[0][:2]
            radius = random.uniform(0.003, 0.2) * (0.03 if "plate" in kind else 1)
            try:
                hdus = cut(path, Cut("a", Circle(float(lon), float(lat), radius)))
            except NoOverlap:
                continue
            with hdus:
                images_compared += count_same_positions(original, hdus)
        assert images_compared >= 8
        with cut(path, Cut("a")) as hdus:
            assert count_same_positions(original, hdus) == len(images)


@pytest.mark.parametrize(
    ("kind", "unit", "first", "step", "values"),
    [
        ("WAVE", "m", 3.6e-7, 8e-11, lambda v: v),
        ("WAVE", "nm", 360.0, 0.08, lambda v: v * 1e-9),
        ("AWAV", "Angstrom", 3600.0, 1.0, lambda v: v * 1e-10 * 1.00028),
        ("FREQ", "Hz", 1.4e9, 1e6, lambda v: C / v),
        ("FREQ", "GHz", 1.4, -0.001, lambda v: C / (v * 1e9)),
        ("ENER", "eV", 2.0, 0.01, lambda v: 6.62607015e-34 * C / (v * 1.602176634e-19)),
        ("VOPT", "m/s", 1e5, 1e3, lambda v: 3.7e-7 * (1 + v / C)),
    ],
)
def test_bands_of_logarithmic_axes(
    tmp_path: Path, kind: str, unit: str, first: float, step: float, values: Any
) -> None:
    """Axes of FITS 4.0 §8.1.2.2 are cut by wavelength.

    Their values are CRVAL · exp(CDELT (p - CRPIX) / CRVAL), of any quantity.
    """
    path = save(tmp_path / "a.fits", kinds.logarithmic(kind, unit, first, step))
    edges = values(first * np.exp(step * (np.arange(41) - 0.5) / first))
    low, high = sorted((0.6 * edges[7] + 0.4 * edges[8], 0.4 * edges[18] + 0.6 * edges[19]))
    with cut(path, Cut("a", band=Interval(low, high))) as hdus, fits.open(path) as original:
        assert (hdus[0].header["CRPIX3"], hdus[0].header["NAXIS3"]) == (-6, 12)
        count_same_positions(original, hdus)


@pytest.mark.parametrize(("low", "high", "planes"), [(1.0, 1.3, [0, 3]), (3.04, 9.9, [6, 10]), (1.6, 1.7, [4, 5])])
@pytest.mark.parametrize("kind", ["tabular", "indexed_tabular"])
def test_bands_of_tables(tmp_path: Path, kind: str, low: float, high: float, planes: list[int]) -> None:
    """Wavelengths of a table are those of its planes."""
    path = save(tmp_path / "a.fits", kinds.ALL[kind]())
    with cut(path, Cut("a", band=Interval(low * 1e-6, high * 1e-6))) as hdus, fits.open(path) as original:
        np.testing.assert_array_equal(hdus[0].data, original[0].data[slice(*planes)])
        count_same_positions(original, hdus)
    with pytest.raises(NoOverlap, match=r"it has 9\.75e-07 to 5\.5e-06"):
        cut(path, Cut("a", band=Interval(1.0, 2.0)))


@pytest.mark.parametrize("circle", [None, Circle(10, 20, 0.05)])
@pytest.mark.parametrize("band", [None, Interval(1e-6, 1.3e-6)])
def test_errors_and_flags_go_with_their_image(tmp_path: Path, circle: Circle | None, band: Interval | None) -> None:
    """Errors and flags are cut as their image."""
    path = save(tmp_path / "a.fits", kinds.spectrograph())
    with cut(path, Cut("a", circle, band)) as hdus:
        names = [hdu.name for hdu in hdus[1:]]
        assert names == ["SCI", "ERR", "DQ", *([] if circle or band else ["PSF"]), "WCS-TABLE"]
        for name in ("ERR", "DQ"):
            np.testing.assert_array_equal(hdus[name].data, hdus["SCI"].data)
        assert hdus["SCI"].data.shape[0] == (3 if band else 10)
    far = Circle(100, 20, 0.05)
    with pytest.raises(NoOverlap):
        cut(path, Cut("a", far, band))


def test_bands_that_depend_on_the_place(tmp_path: Path) -> None:
    """All planes that overlap anywhere are cut."""
    path = save(tmp_path / "a.fits", kinds.slanted())
    low, high = C / 1.4102e9, C / 1.4098e9
    with cut(path, Cut("a", band=Interval(low, high))) as hdus, fits.open(path) as original:
        count_same_positions(original, hdus)
        x, plane = np.meshgrid(np.arange(60), np.linspace(-0.5, 19.5, 2001))
        frequency = original[0].header["CRVAL3"] + 1e6 * (plane + 0.05 * (x - 29.5))
        beams_inside = np.round(plane[np.abs(frequency - 1.41e9) < 2e5])
        assert hdus[0].header["CRPIX3"] == 1 - beams_inside.min()
        assert hdus[0].header["NAXIS3"] == beams_inside.max() - beams_inside.min() + 1


@pytest.mark.parametrize("pol", [(), ("I",), ("U",), ("I", "U"), ("Q", "V")])
@pytest.mark.parametrize("frequency_last", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_beams_of_the_planes(tmp_path: Path, pol: tuple[str, ...], frequency_last: bool, first: int) -> None:
    """The cutout has the beams of its planes."""
    path = save(tmp_path / "a.fits", kinds.beams(4, frequency_last=frequency_last, first=first))
    band = Interval(C / 1.4112e9, C / 1.4068e9)
    states = ["IQUV".index(hdu) for hdu in pol or "IQUV"]
    with cut(path, Cut("a", Circle(10, 20, 0.05), band, None, pol)) as hdus:
        table = hdus["BEAMS"]
        assert hdus[0].header["CASAMBM"] is True
        assert (table.header["NCHAN"], table.header["NPOL"]) == (5, len(states))
        assert sorted(zip(table.data["POL"], table.data["CHAN"], table.data["BMAJ"], strict=True)) == [
            (number, channel + first, 17 + channel + 100 * state)
            for number, state in enumerate(states)
            for channel in range(5)
        ]


def test_spectral_cube_sees_the_beams(tmp_path: Path) -> None:
    """spectral-cube has a beam for each plane."""
    path = save(tmp_path / "a.fits", kinds.beams())
    band = Interval(C / 1.4112e9, C / 1.4068e9)
    with cut(path, Cut("a", Circle(10, 20, 0.05), band)) as hdus:
        hdus.writeto(tmp_path / "b.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spectral_cube import StokesSpectralCube

        original, part = (StokesSpectralCube.read(tmp_path / name).I for name in ("a.fits", "b.fits"))
        assert part.shape[0] == 5
        np.testing.assert_allclose(part.beams.major.to("arcsec").value, [17, 18, 19, 20, 21])
        np.testing.assert_allclose(part.spectral_axis.value, original.spectral_axis.value[7:12])


def test_beams_without_planes(tmp_path: Path) -> None:
    """Beams without plane numbers are cut by order.

    Where the order is not clear, HISTORY says that they are left out.
    """
    band = Interval(C / 1.4112e9, C / 1.4068e9)
    path = save(tmp_path / "a.fits", kinds.beams(planes=False))
    with cut(path, Cut("a", band=band)) as hdus:
        np.testing.assert_array_equal(hdus["BEAMS"].data["BMAJ"], [17, 18, 19, 20, 21])
    path = save(tmp_path / "b.fits", kinds.beams(4, planes=False))
    with cut(path, Cut("a", band=band)) as hdus:
        assert len(hdus) == 1 and "CASAMBM" not in hdus[0].header
        assert any("BEAMS" in text for text in hdus[0].header["HISTORY"])
    with cut(path, Cut("a", Circle(10, 20, 0.05))) as hdus:  # all planes: nothing to choose
        assert len(hdus["BEAMS"].data) == 48


def test_tables_of_distortions_belong_to_their_chip(tmp_path: Path) -> None:
    """Only tables of chips in the cutout go along.

    One that two chips share is there twice, if they are cut differently.
    """
    hdus = kinds.chips()
    hdus["SCI", 1].header["CRVAL1"] = 200.0
    path = save(tmp_path / "a.fits", hdus)
    with cut(path, Cut("a", Circle(10, 20, 0.05))) as result:
        assert [(hdu.name, hdu.ver) for hdu in result[1:]] == [
            ("SCI", 2), ("WCSDVARR", 3), ("D2IMARR", 3), ("WCSDVARR", 4), ("D2IMARR", 4)
        ]  # fmt: skip
    path = save(tmp_path / "b.fits", kinds.sharing())
    with cut(path, Cut("a", Circle(10, 20, 0.05))) as result:
        assert sorted(hdu.ver for hdu in result if hdu.name == "WCSDVARR") == [1, 2, 3, 4]
    with cut(path, Cut("a")) as result:
        assert sorted(hdu.ver for hdu in result if hdu.name == "WCSDVARR") == [1, 2]


def test_what_extensions_inherit(tmp_path: Path) -> None:
    """The primary header keeps only what stays true."""
    hdus = kinds.inherited()
    hdus[0].header["NEXTEND"] = 2
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])], name="LOG"))
    path = save(tmp_path / "a.fits", hdus)
    with cut(path, Cut("a", Circle(10, 20, 0.05))) as result, fits.open(path) as original:
        primary, image = result[0].header, result["SCI"].header
        assert primary["TELESCOP"] == "Schmidt" and primary["NEXTEND"] == 1 and image["INHERIT"] is True
        assert not {"CRPIX1", "CRPIX2", "DATASEC"} & set(primary)
        assert image["DATASEC"] == f"[1:{image['NAXIS1']},1:{image['NAXIS2']}]"
        assert count_same_positions(original, result) == 1
    extension = fits.ImageHDU(skies.numbered(50, 60), skies.header(10, 20), name="SCI")
    extension.header["INHERIT"] = True
    path = save(
        tmp_path / "b.fits", fits.HDUList([kinds.image(TELESCOP="Schmidt", DATAMAX=3.0, CRVAL1=200.0), extension])
    )
    with cut(path, Cut("a", Circle(10, 20, 0.05))) as hdus:  # the primary image lies elsewhere
        assert hdus[0].header["NAXIS"] == 0 and hdus[0].header["TELESCOP"] == "Schmidt"
        assert not {"CRPIX1", "CTYPE1", "DATAMAX"} & set(hdus[0].header)


SECTIONS = {
    "DATASEC": ("[11:50,1:50]", "[1:40,1:18]"),
    "BIASSEC": ("[1:10,1:50]", None),
    "TRIMSEC": ("[21:30,16:20]", "[11:20,1:5]"),
    "CCDSEC": ("[101:180,400:301]", "[101:180,370:335]"),
    "DETSEC": ("[1:20,1:25]", None),
    "DATASECA": ("[50:11,50:1]", "[40:1,18:1]"),
    "CCDSECA": ("[1:40,1:50]", "[1:40,18:35]"),
    "AMPSECA": ("[40:1,50:1]", "[40:1,33:16]"),
    "DETSECB": ("[1:40,1:50]", None),
    "CCDSIZE": ("[1:2048,1:4096]", "[1:2048,1:4096]"),
    "NOTESEC": ("see [1]", "see [1]"),
}


def test_sections_of_ccds() -> None:
    """Sections are cut along with the image.

    The detector's pixels are those of the part, mirrored and binned or not.
    """
    picks = (Pick(10, 50, 60), Pick(15, 33, 50))
    original = kinds.image(**{key: value for key, (value, _) in SECTIONS.items()}).header
    part = headers.of_part(original, picks)
    assert {key: part.get(key) for key in SECTIONS} == {key: value for key, (_, value) in SECTIONS.items()}
    assert "Not true of a part, left out: BIASSEC, DETSEC, DETSECB" in str(part["HISTORY"])
    unchanged = headers.of_part(original, (Pick(0, 60, 60), Pick(0, 50, 50)))
    assert {key: unchanged.get(key) for key in SECTIONS} == {key: value for key, (value, _) in SECTIONS.items()}


def test_ways_to_the_detector() -> None:
    """IRAF's LTV and LTM move along, and sizes change."""
    picks = (Pick(10, 50, 60), Pick(15, 33, 50))
    original = kinds.image(
        LTV1=-3.0, LTM1_1=0.5, ATV2=7.0, IMAGEW=60, IMNAXIS2=50, GOODMAX=2.0, S_REGION="POLYGON"
    ).header
    part = headers.of_part(original, picks)
    assert (part["LTV1"], part["LTV2"], part["LTM1_1"], part["ATV2"]) == (-13.0, -15.0, 0.5, 7.0)
    assert (part["IMAGEW"], part["IMNAXIS2"]) == (40, 18)
    assert not {"GOODMAX", "S_REGION"} & set(part)
    stokes = fits.Header({"NAXIS": 1, "NAXIS1": 4, "LTM1_1": 2.0, "CTYPE1": "STOKES"})
    strided = headers.of_part(stokes, (Pick(1, 4, 4, 2),))
    # Physical pixels 2 and 4 of logical ones 2 · p before: 2 · 2 is the first, 2 · 4 … are a logical pixel apart.
    assert (strided["LTM1_1"], strided["LTV1"], strided["CRPIX1"], strided["CDELT1"]) == (1.0, 0.0, 0.0, 2.0)


@pytest.mark.parametrize("key", ["CRPIX1", "CRPIX2A", "CNPIX1", "LTV2"])
def test_places_that_are_no_numbers(key: str) -> None:
    """Named, not moved by guess."""
    header = kinds.image(CTYPE1A="LINEAR", CTYPE2A="LINEAR").header
    header[key] = "unknown"
    with pytest.raises(BadImage, match=f"{key} is no number"):
        headers.of_part(header, (Pick(1, 5, 60), Pick(1, 5, 50)))


def test_a_table_that_is_missing(tmp_path: Path) -> None:
    """The error names the file and the table."""
    for kind, word in (("tabular", "WCS-TABLE"), ("distorted", "WCSDVARR")):
        hdus = kinds.ALL[kind]()
        path = save(tmp_path / f"{kind}.fits", fits.HDUList([hdu for hdu in hdus if hdu.name != word]))
        with pytest.raises(BadImage, match=rf"{kind}\.fits.*{word}"):
            cut(path, Cut("a", Circle(10, 20, 0.05)))
    path = save(tmp_path / "short.fits", kinds.beams())
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(BadImage, match=r"short\.fits is cut short"):
        cut(path, Cut("a", Circle(10, 20, 0.05), Interval(C / 1.4112e9, C / 1.4068e9)))


def test_companions_count_as_bytes(tmp_path: Path) -> None:
    """Tables count against the limit of a cutout."""
    path = save(tmp_path / "a.fits", kinds.tabular())
    image = cutout.open_image(LocalSource(path))
    try:
        with pytest.raises(Usage, match="would have"):
            cutout.plan(image, Cut("a"), cutout.Coverage(), skies.numbered(10, 50, 60).nbytes)
    finally:
        image.close()

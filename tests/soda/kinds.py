"""FITS files of many kinds, whose headers name pixels or other extensions in one way each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.io import fits

from tests.soda import skies

WAVES = np.array([1.0, 1.05, 1.2, 1.5, 1.51, 2.0, 3.0, 3.1, 4.0, 5.0]) * 1e-6
NX, NY = 60, 50


def _sky(**more: Any) -> fits.Header:
    header = skies.header(10, 20)
    header.update(more)
    return header


def image(*shape: int, **cards: Any) -> fits.PrimaryHDU:
    """60 × 50 pixels around longitude 10 and latitude 20, in planes as ``shape`` has them."""
    return fits.PrimaryHDU(skies.numbered(*shape, NY, NX), _sky(**cards))


def plate(**more: Any) -> fits.HDUList:
    """A scan of the Digitized Sky Survey: its coordinates are polynomials on the plate, and CNPIX places it there."""
    cards: dict[str, Any] = {
        "EQUINOX": 2000.0, "PLATEID": "A0B1", "PLTRAH": 0, "PLTRAM": 40, "PLTRAS": 0.0, "PLTDECSN": "+", "PLTDECD": 20,
        "PLTDECM": 0, "PLTDECS": 0.0, "PLTSCALE": 67.2, "XPIXELSZ": 15.0, "YPIXELSZ": 15.0,
        "CNPIX1": 11800, "CNPIX2": 11810, "PPO1": 0.0, "PPO2": 0.0, "PPO3": 177500.0, "PPO4": 0.0, "PPO5": 0.0,
        "PPO6": 177500.0,
    }  # fmt: skip
    for axis, first in (("X", [67.2, 0.01, -50.0]), ("Y", [67.2, -0.01, 40.0])):
        cards |= {f"AMD{axis}{n}": value for n, value in enumerate([*first, 1e-5, 1e-6, 2e-6, *[0.0] * 14], 1)}
    return fits.HDUList([fits.PrimaryHDU(skies.numbered(NY, NX), fits.Header(list((cards | more).items())))])


def plate_with_both() -> fits.HDUList:
    """The same with CRPIX and a projection beside, which is less exact."""
    return plate(
        CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=10.0, CRVAL2=20.0, CRPIX1=30.0, CRPIX2=25.0, CDELT1=-2.8e-4,
        CDELT2=2.8e-4,
    )  # fmt: skip


def logarithmic(kind: str = "WAVE", unit: str = "m", first: float = 3.6e-7, step: float = 8e-11) -> fits.HDUList:
    """A cube whose third axis grows by a factor from plane to plane."""
    return fits.HDUList(
        [image(40, CTYPE3=f"{kind}-LOG", CUNIT3=unit, CRVAL3=first, CDELT3=step, CRPIX3=1.0, RESTWAV=3.7e-7)]
    )


def tabular(letter: str = "", *, index: bool = False, version: int = 1) -> fits.HDUList:
    """A cube whose wavelengths stand in a table, as those of JWST; ``index`` adds a column of pixel numbers."""
    cards: dict[str, Any] = {
        "CTYPE3": "WAVE-TAB", "CUNIT3": "m", "CRVAL3": 1.0, "CRPIX3": 1.0, "CDELT3": 1.0, "PS3_0": "WCS-TABLE",
        "PS3_1": "WAVELENGTH", "PV3_1": version, "PV3_2": 1, "PV3_3": 1,
    }  # fmt: skip
    columns = [fits.Column("WAVELENGTH", f"{len(WAVES)}D", dim=f"(1,{len(WAVES)})", array=WAVES.reshape(1, -1, 1))]
    if index:
        cards["PS3_2"] = "PIXEL"
        numbers = np.arange(1.0, len(WAVES) + 1).reshape(1, -1)
        columns.append(fits.Column("PIXEL", f"{len(WAVES)}D", array=numbers))
    primary = image(10, **cards)
    if letter:
        alternative = _sky(CTYPE3="WAVE", CUNIT3="m", CRVAL3=1e-6, CRPIX3=1.0, CDELT3=1e-7)
        primary.header.update(alternative)
        for key in ("PS3_0", "PS3_1", "PV3_1", "PV3_2", "PV3_3"):
            del primary.header[key]
        primary.header.update({f"{key}{letter}": value for key, value in _sky(**cards).items() if key != "RADESYS"})
    tables = [fits.BinTableHDU.from_columns(columns, name="WCS-TABLE", ver=one) for one in {1, version}]
    return fits.HDUList([primary, *tables])


def alternative_tabular() -> fits.HDUList:
    """The wavelengths of a table as a second description, beside a linear one."""
    return tabular("A")


def indexed_tabular() -> fits.HDUList:
    """A table with an index, the second of its name."""
    return tabular(index=True, version=2)


def spectrograph() -> fits.HDUList:
    """As JWST writes cubes: errors and flags without coordinates, and a picture of another shape."""
    cube = tabular()
    science = fits.ImageHDU(cube[0].data, cube[0].header, name="SCI")
    shape = cube[0].data.shape
    others = [fits.ImageHDU(skies.numbered(*shape), name=name) for name in ("ERR", "DQ")]
    science.header["ERRDATA"] = "ERR"
    return fits.HDUList([fits.PrimaryHDU(), science, *others, fits.ImageHDU(skies.numbered(3, 4), name="PSF"), cube[1]])


def slanted() -> fits.HDUList:
    """A cube whose frequency changes along x too."""
    return fits.HDUList(
        [image(20, CTYPE3="FREQ", CUNIT3="Hz", CRVAL3=1.4e9, CDELT3=1e6, CRPIX3=1.0, PC3_1=0.05, PC3_3=1.0)]
    )


def distorted(count: int = 1) -> fits.HDUList:
    """Chips with tables of distortions (WCSDVARR and D2IMARR); each chip has its own, and they overlap on the sky."""
    hdus = [fits.PrimaryHDU()]
    tables = []
    for chip in range(1, count + 1):
        header = _sky(CRPIX1=30.5 - 7 * (chip - 1), CRPIX2=25.5 - 11 * (chip - 1))
        hdu = fits.ImageHDU(skies.numbered(NY, NX), header, name="SCI", ver=chip)
        for axis in (1, 2):
            number = 2 * (chip - 1) + axis
            _look_up(hdu.header, "CPDIS", "DP", axis, number)
            _look_up(hdu.header, "D2IMDIS", "D2IM", axis, number)
            tables += [_table("WCSDVARR", number, 0.3 * number), _table("D2IMARR", number, 0.3 * number)]
        hdus.append(hdu)
    return fits.HDUList([*hdus, *tables])


def chips() -> fits.HDUList:
    """Two chips with tables of their own."""
    return distorted(2)


def sharing() -> fits.HDUList:
    """Two chips, placed differently, that look up one pair of tables."""
    found = distorted(2)
    for hdu in (found["SCI", 2],):
        for axis in (1, 2):
            hdu.header[f"DP{axis}.EXTVER"] = float(axis)
            hdu.header[f"D2IM{axis}.EXTVER"] = float(axis)
    return fits.HDUList([one for one in found if one.name not in ("WCSDVARR", "D2IMARR") or one.ver < 3])


def detector() -> fits.HDUList:
    """A correction of the detector as STScI wrote it before 2012: a row for one axis."""
    primary = image(AXISCORR=1)
    row = fits.ImageHDU(np.linspace(0, 3, 60, dtype=np.float32), name="D2IMARR")
    row.header["CRPIX1"], row.header["CRVAL1"], row.header["CDELT1"] = 1.0, 1.0, 1.0
    return fits.HDUList([primary, row])


def _look_up(header: fits.Header, kind: str, record: str, axis: int, number: int) -> None:
    header[f"{kind}{axis}"] = "LOOKUP"
    for part in (f"EXTVER: {number}", "NAXES: 2", "AXIS.1: 1", "AXIS.2: 2"):
        header.append(fits.Card(f"{record}{axis}", part), end=True)


def _table(name: str, number: int, height: float) -> fits.ImageHDU:
    data = np.add.outer(np.linspace(0, height, 5) ** 2, np.linspace(0, height, 6)).astype(np.float32)
    hdu = fits.ImageHDU(data, name=name, ver=number)
    for axis in (1, 2):
        hdu.header[f"CRPIX{axis}"], hdu.header[f"CRVAL{axis}"], hdu.header[f"CDELT{axis}"] = 1.0, 1.0, 12.0
    return hdu


def polynomial() -> fits.HDUList:
    """SIP: a polynomial around the reference pixel."""
    hdu = image(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2, A_2_0=1e-4, B_1_1=-2e-4)
    return fits.HDUList([hdu])


def scamp() -> fits.HDUList:
    """TPV: a polynomial of PV keywords."""
    more = {"PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": 1e-2, "PV2_0": 0.0, "PV2_1": 1.0, "PV2_5": 2e-2}
    return fits.HDUList([image(CTYPE1="RA---TPV", CTYPE2="DEC--TPV", **more)])


def implicit() -> fits.HDUList:
    """No CRPIX at all, which stands for 0, and a plane axis without any keyword."""
    hdu = image(7, CRVAL1=10.3, CRVAL2=19.7)
    del hdu.header["CRPIX*"]
    return fits.HDUList([hdu])


def repeated() -> fits.HDUList:
    """CRPIX1 twice: wcslib takes the last one."""
    hdu = image()
    hdu.header.append(("CRPIX1", 20.5), end=True)
    return fits.HDUList([hdu])


def inherited() -> fits.HDUList:
    """Coordinates in the primary header, of which an extension says INHERIT = T; its reference pixel is its own."""
    primary = fits.PrimaryHDU(header=_sky(TELESCOP="Schmidt", CRPIX2=20.0, DATASEC="[1:60,1:50]"))
    extension = fits.ImageHDU(skies.numbered(NY, NX), name="SCI")
    extension.header["INHERIT"], extension.header["CRPIX1"] = True, 25.0
    return fits.HDUList([primary, extension])


def compressed() -> fits.HDUList:
    """A file made by fpack of a primary image."""
    hdu = fits.CompImageHDU(skies.numbered(NY, NX, dtype=np.int32), _sky(LTV1=-3.0), name="SCI")
    return fits.HDUList([fits.PrimaryHDU(), hdu])


def beams(states: int = 1, *, first: int = 0, planes: bool = True, frequency_last: bool = False) -> fits.HDUList:
    """A radio cube with a beam for each of 12 channels and each polarization, as CASA and ASKAP write it."""
    count = 12
    shape = (count, states) if frequency_last else (states, count)
    spectral, stokes = (4, 3) if frequency_last else (3, 4)
    cards: dict[str, Any] = {
        f"CTYPE{spectral}": "FREQ", f"CRVAL{spectral}": 1.4e9, f"CDELT{spectral}": 1e6, f"CRPIX{spectral}": 1.0,
        f"CUNIT{spectral}": "Hz", f"CTYPE{stokes}": "STOKES", f"CRVAL{stokes}": 1.0, f"CDELT{stokes}": 1.0,
        f"CRPIX{stokes}": 1.0, "BUNIT": "Jy/beam", "CASAMBM": True, "SPECSYS": "LSRK", "RESTFRQ": 1.42e9,
    }  # fmt: skip
    channel, state = (one.ravel() for one in np.meshgrid(np.arange(count), np.arange(states)))
    columns = [
        fits.Column("BMAJ", "1E", unit="arcsec", array=10 + channel + 100 * state),
        fits.Column("BMIN", "1E", unit="arcsec", array=8 + channel),
        fits.Column("BPA", "1E", unit="deg", array=channel * 1.0),
    ]
    if planes:
        columns += [fits.Column("CHAN", "1J", array=channel + first), fits.Column("POL", "1J", array=state)]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    table.header["NCHAN"], table.header["NPOL"] = count, states
    return fits.HDUList([image(*shape, **cards), table])


ALL: dict[str, Callable[[], fits.HDUList]] = {
    one.__name__: one
    for one in (
        plate, plate_with_both, logarithmic, tabular, alternative_tabular, indexed_tabular, slanted, distorted,
        chips, detector, spectrograph,
        sharing, polynomial, scamp, implicit, repeated, inherited, compressed, beams,
    )
}  # fmt: skip

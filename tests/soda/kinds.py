"""FITS files of many kinds.

The header of each names pixels or other extensions in a way of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.io import fits

from tests.soda import skies

WAVES = np.array([1.0, 1.05, 1.2, 1.5, 1.51, 2.0, 3.0, 3.1, 4.0, 5.0]) * 1e-6
NX, NY = 60, 50


def _sky(**overrides: Any) -> fits.Header:
    header = skies.header(10, 20)
    header.update(overrides)
    return header


def image(*shape: int, **cards: Any) -> fits.PrimaryHDU:
    """Return 60 × 50 pixels around longitude 10 and latitude 20.

    ``shape`` is that of the planes.
    """
    return fits.PrimaryHDU(skies.numbered(*shape, NY, NX), _sky(**cards))


def plate(**overrides: Any) -> fits.HDUList:
    """Return a scan of the Digitized Sky Survey.

    Its coordinates are polynomials on the plate, and CNPIX places it there.
    """
    cards: dict[str, Any] = {
        "EQUINOX": 2000.0, "PLATEID": "A0B1", "PLTRAH": 0, "PLTRAM": 40, "PLTRAS": 0.0, "PLTDECSN": "+", "PLTDECD": 20,
        "PLTDECM": 0, "PLTDECS": 0.0, "PLTSCALE": 67.2, "XPIXELSZ": 15.0, "YPIXELSZ": 15.0,
        "CNPIX1": 11800, "CNPIX2": 11810, "PPO1": 0.0, "PPO2": 0.0, "PPO3": 177500.0, "PPO4": 0.0, "PPO5": 0.0,
        "PPO6": 177500.0,
    }  # fmt: skip
    for axis, first in (("X", [67.2, 0.01, -50.0]), ("Y", [67.2, -0.01, 40.0])):
        cards |= {f"AMD{axis}{n}": value for n, value in enumerate([*first, 1e-5, 1e-6, 2e-6, *[0.0] * 14], 1)}
    return fits.HDUList([fits.PrimaryHDU(skies.numbered(NY, NX), fits.Header(list((cards | overrides).items())))])


def plate_with_both() -> fits.HDUList:
    """Return such a scan with CRPIX and a projection beside.

    These are less exact.
    """
    return plate(
        CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=10.0, CRVAL2=20.0, CRPIX1=30.0, CRPIX2=25.0, CDELT1=-2.8e-4,
        CDELT2=2.8e-4,
    )  # fmt: skip


def logarithmic(kind: str = "WAVE", unit: str = "m", first: float = 3.6e-7, step: float = 8e-11) -> fits.HDUList:
    """Return a cube with a logarithmic third axis."""
    return fits.HDUList(
        [image(40, CTYPE3=f"{kind}-LOG", CUNIT3=unit, CRVAL3=first, CDELT3=step, CRPIX3=1.0, RESTWAV=3.7e-7)]
    )


def tabular(letter: str = "", *, index: bool = False, version: int = 1) -> fits.HDUList:
    """Return a cube with wavelengths in a table, as JWST's have.

    ``index`` adds a column of pixel numbers.
    """
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
    tables = [fits.BinTableHDU.from_columns(columns, name="WCS-TABLE", ver=number) for number in {1, version}]
    return fits.HDUList([primary, *tables])


def alternative_tabular() -> fits.HDUList:
    """Return a cube with a table as alternative description."""
    return tabular("A")


def indexed_tabular() -> fits.HDUList:
    """Return a cube with an indexed table, the second of its name."""
    return tabular(index=True, version=2)


def spectrograph() -> fits.HDUList:
    """Return a cube as JWST writes it.

    Errors and flags have no coordinates; there is an image of another shape.
    """
    cube = tabular()
    science = fits.ImageHDU(cube[0].data, cube[0].header, name="SCI")
    shape = cube[0].data.shape
    planes = [fits.ImageHDU(skies.numbered(*shape), name=name) for name in ("ERR", "DQ")]
    science.header["ERRDATA"] = "ERR"
    return fits.HDUList([fits.PrimaryHDU(), science, *planes, fits.ImageHDU(skies.numbered(3, 4), name="PSF"), cube[1]])


def slanted() -> fits.HDUList:
    """Return a cube whose frequency changes along x too."""
    return fits.HDUList(
        [image(20, CTYPE3="FREQ", CUNIT3="Hz", CRVAL3=1.4e9, CDELT3=1e6, CRPIX3=1.0, PC3_1=0.05, PC3_3=1.0)]
    )


def distorted(count: int = 1) -> fits.HDUList:
    """Return chips with tables of distortions.

    Each has its own WCSDVARR and D2IMARR; the chips overlap on the sky.
    """
    hdus = [fits.PrimaryHDU()]
    tables = []
    for chip in range(1, count + 1):
        header = _sky(CRPIX1=30.5 - 7 * (chip - 1), CRPIX2=25.5 - 11 * (chip - 1))
        hdu = fits.ImageHDU(skies.numbered(NY, NX), header, name="SCI", ver=chip)
        for axis in (1, 2):
            number = 2 * (chip - 1) + axis
            _look_up(hdu.header, "CPDIS", "DP", axis, number)
            _look_up(hdu.header, "D2IMDIS", "D2IM", axis, number)
            tables += [_lookup_table("WCSDVARR", number, 0.3 * number), _lookup_table("D2IMARR", number, 0.3 * number)]
        hdus.append(hdu)
    return fits.HDUList([*hdus, *tables])


def chips() -> fits.HDUList:
    """Return two chips with tables of their own."""
    return distorted(2)


def sharing() -> fits.HDUList:
    """Return two chips that share a pair of tables."""
    hdus = distorted(2)
    for hdu in (hdus["SCI", 2],):
        for axis in (1, 2):
            hdu.header[f"DP{axis}.EXTVER"] = float(axis)
            hdu.header[f"D2IM{axis}.EXTVER"] = float(axis)
    return fits.HDUList([hdu for hdu in hdus if hdu.name not in ("WCSDVARR", "D2IMARR") or hdu.ver < 3])


def detector() -> fits.HDUList:
    """Return an old correction of the detector.

    STScI wrote a row for one axis before 2012.
    """
    primary = image(AXISCORR=1)
    row = fits.ImageHDU(np.linspace(0, 3, 60, dtype=np.float32), name="D2IMARR")
    row.header["CRPIX1"], row.header["CRVAL1"], row.header["CDELT1"] = 1.0, 1.0, 1.0
    return fits.HDUList([primary, row])


def _look_up(header: fits.Header, kind: str, record: str, axis: int, number: int) -> None:
    header[f"{kind}{axis}"] = "LOOKUP"
    for part in (f"EXTVER: {number}", "NAXES: 2", "AXIS.1: 1", "AXIS.2: 2"):
        header.append(fits.Card(f"{record}{axis}", part), end=True)


def _lookup_table(name: str, number: int, height: float) -> fits.ImageHDU:
    data = np.add.outer(np.linspace(0, height, 5) ** 2, np.linspace(0, height, 6)).astype(np.float32)
    hdu = fits.ImageHDU(data, name=name, ver=number)
    for axis in (1, 2):
        hdu.header[f"CRPIX{axis}"], hdu.header[f"CRVAL{axis}"], hdu.header[f"CDELT{axis}"] = 1.0, 1.0, 12.0
    return hdu


def polynomial() -> fits.HDUList:
    """Return SIP: a polynomial around the reference pixel."""
    hdu = image(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2, A_2_0=1e-4, B_1_1=-2e-4)
    return fits.HDUList([hdu])


def scamp() -> fits.HDUList:
    """Return TPV: a polynomial of PV keywords."""
    overrides = {"PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": 1e-2, "PV2_0": 0.0, "PV2_1": 1.0, "PV2_5": 2e-2}
    return fits.HDUList([image(CTYPE1="RA---TPV", CTYPE2="DEC--TPV", **overrides)])


def implicit() -> fits.HDUList:
    """Return an image without CRPIX, which stands for 0.

    Its plane axis has no keyword either.
    """
    hdu = image(7, CRVAL1=10.3, CRVAL2=19.7)
    del hdu.header["CRPIX*"]
    return fits.HDUList([hdu])


def repeated() -> fits.HDUList:
    """Return an image with CRPIX1 twice.

    The last counts.
    """
    hdu = image()
    hdu.header.append(("CRPIX1", 20.5), end=True)
    return fits.HDUList([hdu])


def inherited() -> fits.HDUList:
    """Return an extension that inherits coordinates.

    Its reference pixel is its own.
    """
    primary = fits.PrimaryHDU(header=_sky(TELESCOP="Schmidt", CRPIX2=20.0, DATASEC="[1:60,1:50]"))
    extension = fits.ImageHDU(skies.numbered(NY, NX), name="SCI")
    extension.header["INHERIT"], extension.header["CRPIX1"] = True, 25.0
    return fits.HDUList([primary, extension])


def compressed() -> fits.HDUList:
    """Return a file made by fpack."""
    hdu = fits.CompImageHDU(skies.numbered(NY, NX, dtype=np.int32), _sky(LTV1=-3.0), name="SCI")
    return fits.HDUList([fits.PrimaryHDU(), hdu])


def beams(states: int = 1, *, first: int = 0, planes: bool = True, frequency_last: bool = False) -> fits.HDUList:
    """Return a radio cube as CASA and ASKAP write it.

    It has a beam for each of 12 channels and each polarization.
    """
    count = 12
    shape = (count, states) if frequency_last else (states, count)
    spectral, stokes = (4, 3) if frequency_last else (3, 4)
    cards: dict[str, Any] = {
        f"CTYPE{spectral}": "FREQ", f"CRVAL{spectral}": 1.4e9, f"CDELT{spectral}": 1e6, f"CRPIX{spectral}": 1.0,
        f"CUNIT{spectral}": "Hz", f"CTYPE{stokes}": "STOKES", f"CRVAL{stokes}": 1.0, f"CDELT{stokes}": 1.0,
        f"CRPIX{stokes}": 1.0, "BUNIT": "Jy/beam", "CASAMBM": True, "SPECSYS": "LSRK", "RESTFRQ": 1.42e9,
    }  # fmt: skip
    channel, state = (grid.ravel() for grid in np.meshgrid(np.arange(count), np.arange(states)))
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
    kind.__name__: kind
    for kind in (
        plate, plate_with_both, logarithmic, tabular, alternative_tabular, indexed_tabular, slanted, distorted,
        chips, detector, spectrograph,
        sharing, polynomial, scamp, implicit, repeated, inherited, compressed, beams,
    )
}  # fmt: skip

"""The entry of an index that describes a FITS file.

Footprint, axes, wavelengths, time and names come from its headers.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.time import Time

from uws_service.soda import cutout, sky
from uws_service.soda.axes import Axes
from uws_service.soda.errors import BadImage, CutoutError
from uws_service.soda.image import one_line
from uws_service.soda.index import Entry
from uws_service.soda.pixels import Celestial
from uws_service.soda.sources import Source

POINTS_PER_SIDE = 4
"""Of an outline."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the operator says of images whose headers do not.

    Wavelengths are in metres, times in MJD.
    """

    band: tuple[float, float] | None = None
    time: tuple[float, float] | None = None
    pol: tuple[str, ...] = ()
    collection: str = ""
    facility: str = ""
    instrument: str = ""
    title: str = ""


def describe(source: Source, id_: str, place: str, overrides: Overrides) -> Entry:
    """Return the entry of a file.

    Raises `BadImage` if no cutout can be made of it.
    """
    image = cutout.open_image(source)
    try:
        parts = []
        for _, hdu in cutout.images(image):
            wcs = cutout.wcs_of(image, hdu)
            shape = cutout.shape_of(hdu)
            sky_of_image = cutout.celestial(wcs, shape)
            if sky_of_image is not None:
                cutout.require_whole(image, hdu)
                parts.append((hdu, wcs, shape, sky_of_image[0]))
        if not parts:
            raise BadImage(f"{source.name} has no image with celestial coordinates.")
        return _entry(image, parts, id_, place, overrides)
    except CutoutError:
        raise
    except Exception as error:  # headers can be wrong in more ways than can be foreseen
        raise BadImage(f"{source.name} can't be described: {type(error).__name__}: {one_line(error)}") from None
    finally:
        image.close()


def _entry(image: cutout.Image, parts: list[Any], id_: str, place: str, overrides: Overrides) -> Entry:
    hdu, wcs, shape, celestial = parts[0]
    headers = [hdu.header, image.hdus[0].header]
    outlines = [_outline(part[3]) for part in parts]
    lon, lat = (np.concatenate([outline[axis] for outline in outlines]) for axis in (0, 1))
    is_complete = np.isfinite(lon).all()
    circle = sky.bounding_circle(lon, lat) if is_complete else None
    band, channels, time, pol = _axes(Axes(wcs, shape))
    time = time or overrides.time or _observed(headers)
    corners = np.stack(outlines[0], axis=-1).round(9).ravel() if len(parts) == 1 and is_complete else ()
    return Entry(
        id=id_,
        source=place,
        title=overrides.title or _text(headers, "OBJECT") or image.source.name,
        size=image.source.size,
        circle=(round(circle.lon, 9), round(circle.lat, 9), round(circle.radius, 9)) if circle else (0.0, 0.0, 180.0),
        region=tuple(float(number) for number in corners),
        axes=shape,
        kind="cube" if any(size > 1 for size in shape[2:]) else "image",
        scale=float(f"{np.degrees(celestial.pixel_size()) * 3600:.6g}"),
        band=band or overrides.band,
        channels=channels,
        time=time,
        exposure=_number(headers, "EXPTIME", "EXPOSURE"),
        pol=pol or overrides.pol,
        target=_text(headers, "OBJECT"),
        collection=overrides.collection,
        facility=overrides.facility or _text(headers, "TELESCOP"),
        instrument=overrides.instrument or _text(headers, "INSTRUME"),
    )


def _outline(image: Celestial) -> tuple[sky.Floats, sky.Floats]:
    """Return the outline of an image.

    Its corners and points between them, counter-clockwise on the sky.
    """
    part = np.linspace(0, 1, POINTS_PER_SIDE, endpoint=False)
    x = np.concatenate([part, np.ones(POINTS_PER_SIDE), 1 - part, np.zeros(POINTS_PER_SIDE)]) * image.nx - 0.5
    y = np.concatenate([np.zeros(POINTS_PER_SIDE), part, np.ones(POINTS_PER_SIDE), 1 - part]) * image.ny - 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lon, lat = image.to_sky(x, y)
        points = sky.vectors(lon, lat)
        middle = np.nanmean(points, axis=0)
        turn = float(np.nansum(np.cross(points, np.roll(points, -1, axis=0)) @ middle))
    return (lon, lat) if turn >= 0 else (lon[::-1], lat[::-1])


def _axes(axes: Axes) -> tuple[Any, int | None, Any, tuple[str, ...]]:
    """Return wavelengths, channels, instants and polarizations."""
    band = channels = time = None
    if axes.spectral is not None:
        try:
            band = axes.wavelengths().extent
            channels = axes.shape[axes.spectral] if band else None
        except CutoutError:
            band = None  # a velocity without a rest frequency: the operator may say more
    if axes.time is not None:
        time = axes.instants().extent
    pol = tuple(state for state in axes.states() if state != "?") if axes.stokes is not None else ()
    return band, channels, time, pol


def _observed(headers: list[Any]) -> tuple[float, float] | None:
    """Return begin and end of the observation (FITS 4.0 §9)."""
    begin, end = (_instant(headers, *keys) for keys in (("MJD-BEG", "MJD-OBS", "DATE-BEG", "DATE-OBS"),
                                                        ("MJD-END", "DATE-END")))  # fmt: skip
    if begin is None:
        return None
    if end is None or end < begin:
        end = begin + (_number(headers, "EXPTIME", "EXPOSURE") or 0.0) / 86400
    return round(begin, 9), round(end, 9)


def _instant(headers: list[Any], *keys: str) -> float | None:
    for key in keys:
        value = next((header[key] for header in headers if key in header), None)
        if isinstance(value, int | float) and np.isfinite(value) and value > 0:
            return float(value)
        if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
            try:
                return float(Time(value.strip().rstrip("Z"), scale="utc").mjd)
            except ValueError:
                continue
    return None


def _number(headers: list[Any], *keys: str) -> float | None:
    for key in keys:
        value = next((header[key] for header in headers if key in header), None)
        if isinstance(value, int | float) and np.isfinite(value) and value >= 0:
            return float(value)
    return None


def _text(headers: list[Any], key: str) -> str:
    value = next((header[key] for header in headers if isinstance(header.get(key), str) and header[key].strip()), "")
    return " ".join(str(value).split())[:100]

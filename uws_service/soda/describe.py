"""What a FITS file says of itself, as an entry of an index: footprint, axes, wavelengths, time, names."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.time import Time

from uws_service.soda import cutting, sky
from uws_service.soda.axes import Axes
from uws_service.soda.errors import BadImage, CutoutError
from uws_service.soda.image import line
from uws_service.soda.index import Entry
from uws_service.soda.pixels import Celestial
from uws_service.soda.sources import Source

SIDE = 4
"""Points of an outline along each side of an image."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the operator says of images whose headers do not: metres, MJD, names."""

    band: tuple[float, float] | None = None
    time: tuple[float, float] | None = None
    pol: tuple[str, ...] = ()
    collection: str = ""
    facility: str = ""
    instrument: str = ""
    title: str = ""


def describe(source: Source, id_: str, place: str, given: Given) -> Entry:
    """The entry of one file; `BadImage` if no cutout can be made of it."""
    image = cutting.open_image(source)
    try:
        found = []
        for _, hdu in cutting.images(image):
            wcs = cutting.world(image, hdu)
            shape = cutting.shape_of(hdu)
            there = cutting.celestial(wcs, shape)
            if there is not None:
                cutting.require_whole(image, hdu)
                found.append((hdu, wcs, shape, there[0]))
        if not found:
            raise BadImage(f"{source.name} has no image with celestial coordinates.")
        return _entry(image, found, id_, place, given)
    except CutoutError:
        raise
    except Exception as error:  # headers can be wrong in more ways than can be foreseen
        raise BadImage(f"{source.name} can't be described: {type(error).__name__}: {line(error)}") from None
    finally:
        image.close()


def _entry(image: cutting.Image, found: list[Any], id_: str, place: str, given: Given) -> Entry:
    hdu, wcs, shape, celestial = found[0]
    headers = [hdu.header, image.hdus[0].header]
    outlines = [_outline(one[3]) for one in found]
    lon, lat = (np.concatenate([one[axis] for one in outlines]) for axis in (0, 1))
    whole = np.isfinite(lon).all()
    circle = sky.bounding_circle(lon, lat) if whole else None
    band, channels, time, pol = _axes(Axes(wcs, shape))
    time = time or given.time or _observed(headers)
    corners = np.stack(outlines[0], axis=-1).round(9).ravel() if len(found) == 1 and whole else ()
    return Entry(
        id=id_,
        source=place,
        title=given.title or _text(headers, "OBJECT") or image.source.name,
        size=image.source.size,
        circle=(round(circle.lon, 9), round(circle.lat, 9), round(circle.radius, 9)) if circle else (0.0, 0.0, 180.0),
        region=tuple(float(one) for one in corners),
        axes=shape,
        kind="cube" if any(size > 1 for size in shape[2:]) else "image",
        scale=float(f"{np.degrees(celestial.pixel_size()) * 3600:.6g}"),
        band=band or given.band,
        channels=channels,
        time=time,
        exposure=_number(headers, "EXPTIME", "EXPOSURE"),
        pol=pol or given.pol,
        target=_text(headers, "OBJECT"),
        collection=given.collection,
        facility=given.facility or _text(headers, "TELESCOP"),
        instrument=given.instrument or _text(headers, "INSTRUME"),
    )


def _outline(image: Celestial) -> tuple[sky.Floats, sky.Floats]:
    """The outer corners of the image and points between them, counter-clockwise on the sky."""
    part = np.linspace(0, 1, SIDE, endpoint=False)
    x = np.concatenate([part, np.ones(SIDE), 1 - part, np.zeros(SIDE)]) * image.nx - 0.5
    y = np.concatenate([np.zeros(SIDE), part, np.ones(SIDE), 1 - part]) * image.ny - 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lon, lat = image.to_sky(x, y)
        points = sky.vectors(lon, lat)
        middle = np.nanmean(points, axis=0)
        turn = float(np.nansum(np.cross(points, np.roll(points, -1, axis=0)) @ middle))
    return (lon, lat) if turn >= 0 else (lon[::-1], lat[::-1])


def _axes(axes: Axes) -> tuple[Any, int | None, Any, tuple[str, ...]]:
    """Wavelengths, channels, instants and polarizations of the image's own axes."""
    band = channels = time = None
    if axes.spectral is not None:
        try:
            band = axes.wavelengths().extent
            channels = axes.shape[axes.spectral] if band else None
        except CutoutError:
            band = None  # a velocity without a rest frequency: the operator may say more
    if axes.time is not None:
        time = axes.instants().extent
    pol = tuple(one for one in axes.states() if one != "?") if axes.stokes is not None else ()
    return band, channels, time, pol


def _observed(headers: list[Any]) -> tuple[float, float] | None:
    """Begin and end of the observation, as the header tells (FITS 4.0 §9)."""
    begin, end = (_instant(headers, *keys) for keys in (("MJD-BEG", "MJD-OBS", "DATE-BEG", "DATE-OBS"),
                                                        ("MJD-END", "DATE-END")))  # fmt: skip
    if begin is None:
        return None
    if end is None or end < begin:
        end = begin + (_number(headers, "EXPTIME", "EXPOSURE") or 0.0) / 86400
    return round(begin, 9), round(end, 9)


def _instant(headers: list[Any], *keys: str) -> float | None:
    for key in keys:
        value = next((one[key] for one in headers if key in one), None)
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
        value = next((one[key] for one in headers if key in one), None)
        if isinstance(value, int | float) and np.isfinite(value) and value >= 0:
            return float(value)
    return None


def _text(headers: list[Any], key: str) -> str:
    value = next((one[key] for one in headers if isinstance(one.get(key), str) and one[key].strip()), "")
    return " ".join(str(value).split())[:100]

"""Where regions lie in images.

They are compared with samples of every pixel, and with astropy's Cutout2D.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from tests.soda import skies
from uws_service.soda import sky
from uws_service.soda.errors import NoOverlap
from uws_service.soda.pixels import Box, Celestial, box
from uws_service.soda.request import Circle, Polygon, Range, Shape

SAMPLES = 5
"""Along each side of a pixel."""
IMAGES: dict[str, dict[str, Any]] = {
    "tangential": {"lon": 83.6, "lat": 22.0},
    "turned": {"lon": 200.0, "lat": -45.0, "turn": 33.0},
    "meridian 0": {"lon": 0.0, "lat": 5.0},
    "north pole": {"lon": 40.0, "lat": 90.0},
    "south pole": {"lon": 0.0, "lat": -90.0, "projection": "ZEA", "scale": 0.5},
    "near the pole": {"lon": 359.9, "lat": 89.8, "turn": 70.0},
    "orthographic": {"lon": 359.99, "lat": -60.0, "projection": "SIN", "scale": 0.2},
    "galactic": {"lon": 0.0, "lat": 0.0, "frame": "GALACTIC", "projection": "CAR", "scale": 0.1},
    "galactic, turned": {"lon": 123.0, "lat": 60.0, "frame": "GALACTIC", "turn": -20.0},
    "half the sky": {"lon": 0.0, "lat": 90.0, "projection": "SIN", "scale": 2.2},
    "all the sky": {"lon": 0.0, "lat": 0.0, "projection": "AIT", "scale": 6.0},
    "FK5": {"lon": 0.0, "lat": 40.0, "frame": "FK5"},
}


def image(name: str) -> tuple[Celestial, WCS]:
    size = (60, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(skies.header(size=size, **IMAGES[name]))
    return Celestial(wcs, *size), wcs


def contains(shape: Shape, points: SkyCoord) -> Any:
    """Return whether points are inside, by independent means."""
    match shape:
        case Circle():
            return points.separation(SkyCoord(shape.lon, shape.lat, unit="deg")).deg <= shape.radius
        case Range():
            lon, lat = points.ra.deg, points.dec.deg
            in_longitude = (lon >= shape.west) & (lon <= shape.east)
            if shape.west > shape.east:
                in_longitude = (lon >= shape.west) | (lon <= shape.east)
            return in_longitude & (lat >= shape.south) & (lat <= shape.north)
        case Polygon():  # a triangle: on the same side of all three great circles
            corners = SkyCoord(*np.array(shape.vertices).T, unit="deg").cartesian.xyz.value.T
            sides = [np.cross(corners[n], corners[(n + 1) % 3]) for n in range(3)]
            signs = np.stack([np.sign(np.tensordot(side, points.cartesian.xyz.value, 1)) for side in sides])
            in_front = np.tensordot(corners.sum(axis=0), points.cartesian.xyz.value, 1) > 0  # not on the far side
            return in_front & ((signs >= 0).all(axis=0) | (signs <= 0).all(axis=0))


def sampled_box(celestial: Celestial, wcs: WCS, shape: Shape) -> Box | None:
    """Return the box of pixels with a point inside."""
    offsets = (np.arange(SAMPLES) - (SAMPLES - 1) / 2) / SAMPLES
    x = (np.arange(celestial.nx)[:, None] + offsets).ravel()
    y = (np.arange(celestial.ny)[:, None] + offsets).ravel()
    gx, gy = np.meshgrid(x, y)
    lon, lat = wcs.wcs_pix2world(gx, gy, 0)
    bad = ~np.isfinite(lon)
    frame = {"GLON": "galactic", "RA--": "icrs"}[wcs.wcs.ctype[0][:4]]
    if wcs.wcs.radesys.strip() == "FK5":
        frame = "fk5"
    points = SkyCoord(np.where(bad, 0, lon), np.where(bad, 0, lat), unit="deg", frame=frame).icrs
    is_covered = contains(shape, points) & ~bad
    if not is_covered.any():
        return None
    columns, rows = np.flatnonzero(is_covered.any(axis=0)) // SAMPLES, np.flatnonzero(is_covered.any(axis=1)) // SAMPLES
    return Box(int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1)


def shapes(celestial: Celestial, count: int, seed: int) -> list[Shape]:
    """Return regions of many sizes in and around an image."""
    random = np.random.default_rng(seed)
    regions: list[Shape] = []
    size = np.degrees(celestial.pixel_size())
    while len(regions) < count:
        x, y = random.uniform(-15, celestial.nx + 15), random.uniform(-15, celestial.ny + 15)
        lon, lat = (float(coordinate[0]) for coordinate in celestial.to_sky(np.array([x]), np.array([y])))
        if not np.isfinite(lon):
            continue
        radius = min(float(10 ** random.uniform(-0.5, 1.8)) * size, 60.0)
        kind = len(regions) % 3
        if kind == 0:
            regions.append(Circle(lon, lat, radius))
        elif kind == 1:
            wide = min(radius / max(np.cos(np.radians(lat)), 0.02), 170.0)
            south, north = max(lat - radius, -90.0), min(lat + radius, 90.0)
            regions.append(Range((lon - wide) % 360, (lon + wide) % 360, south, north))
        else:
            corners = SkyCoord(lon, lat, unit="deg").directional_offset_by(
                (np.array([0, 120, 240]) + random.uniform(-40, 40, 3)) * units.deg,
                radius * random.uniform(0.4, 1, 3) * units.deg,
            )
            regions.append(Polygon(tuple((float(corner.ra.deg), float(corner.dec.deg)) for corner in corners)))
    return regions


@pytest.mark.parametrize("name", IMAGES)
def test_the_box_is_the_smallest_one(name: str) -> None:
    """S-007: nothing is missing, and nothing is too much."""
    celestial, wcs = image(name)
    overlaps = 0
    for number, shape in enumerate(shapes(celestial, 36, 7)):
        expected = sampled_box(celestial, wcs, shape)
        try:
            pixels = box(celestial, shape)
        except NoOverlap:
            assert expected is None, f"{number}: {shape} is at {expected}"
            continue
        overlaps += 1
        if expected is None:  # smaller than the points' distance: a corner or a sliver of pixels
            assert min(pixels.x1 - pixels.x0, pixels.y1 - pixels.y0) <= 2, f"{number}: {shape}: {pixels}"
            continue
        low = (expected.x0 - pixels.x0, expected.y0 - pixels.y0)
        high = (pixels.x1 - expected.x1, pixels.y1 - expected.y1)
        slack = 1 if name != "all the sky" else 2
        assert all(0 <= difference <= slack for difference in (*low, *high)), (
            f"{number}: {shape}: {pixels}, expected {expected}"
        )
    assert overlaps >= 12


@pytest.mark.parametrize("name", ["tangential", "turned", "meridian 0", "north pole", "near the pole", "FK5"])
def test_circles_as_cutout2d_has_them(name: str) -> None:
    """A circle's box is that of Cutout2D, to a pixel."""
    celestial, wcs = image(name)
    data = skies.numbered(50, 60)
    random = np.random.default_rng(3)
    for _ in range(30):
        x, y, radius = random.uniform(2, 57), random.uniform(2, 47), random.uniform(0.5, 12)
        lon, lat = (float(coordinate[0]) for coordinate in celestial.to_sky(np.array([x]), np.array([y])))
        pixels = box(celestial, Circle(lon, lat, radius * 0.01))
        expected = Cutout2D(data, (x, y), 2 * radius * 0.01 * units.deg, wcs=wcs, mode="trim")
        (y0, y1), (x0, x1) = expected.bbox_original
        for pixel, expected_pixel in ((pixels.x0, x0), (pixels.x1 - 1, x1), (pixels.y0, y0), (pixels.y1 - 1, y1)):
            assert abs(pixel - expected_pixel) <= 1


def test_what_lies_elsewhere() -> None:
    """The far side of the sky is in no image."""
    for name in ("tangential", "orthographic", "north pole", "half the sky"):
        celestial, _ = image(name)
        lon, lat = (float(coordinate[0]) for coordinate in celestial.to_sky(np.array([30.0]), np.array([25.0])))
        with pytest.raises(NoOverlap):
            box(celestial, Circle((lon + 180) % 360, -lat, 0.5))


def test_a_region_around_the_whole_image() -> None:
    """S-007: more than the image is the image."""
    for name in IMAGES:
        celestial, wcs = image(name)
        expected = sampled_box(celestial, wcs, Circle(10, 10, 180))  # less than the image where that has a limb
        assert box(celestial, Circle(10, 10, 180)) == expected
        assert box(celestial, Range(0, 360, -90, 90)) == expected


def test_a_region_smaller_than_a_pixel() -> None:
    """A pixel is given, the right one."""
    celestial, _ = image("meridian 0")
    lon, lat = (float(coordinate[0]) for coordinate in celestial.to_sky(np.array([12.2]), np.array([33.9])))
    assert box(celestial, Circle(lon, lat, 1e-6)) == Box(12, 13, 34, 35)


def test_points_in_polygons() -> None:
    """The order of a polygon's vertices does not matter."""
    vertices = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 2.0), (0.0, 10.0))
    lon, lat = np.array([1.0, 5.0, 5.0, 359.0, 9.0, 190.0]), np.array([1.0, 1.0, 5.0, 1.0, 8.0, -1.0])
    for order in (vertices, vertices[::-1]):
        assert sky.inside(Polygon(order), lon, lat).tolist() == [True, True, False, False, True, False]

"""Geometry of ADQL against astropy.

There are 100,000 random cases, and the places where formulas break.
DISTANCE and circles are compared with `angular_separation`, polygons with the winding of astropy's position
angles, areas with triangles by L'Huilier: neither is how the engines compute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation, offset_by, position_angle

from tests.adql.sky import engines
from uws_service.adql import Column, Table, sphere, translate
from uws_service.tap.engines.base import Bounds, Engine

PAIRS = 60_000
POINTS, POLYGONS = 2_000, 20
BOUNDS = Bounds(200_000, 60, 500_000_000)


def _sky(random: np.random.Generator, count: int) -> tuple[Any, Any]:
    return random.uniform(0, 360, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))


def _columns(engine: Engine, query: str, columns: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    """Return columns of a query on uploaded doubles."""
    table = Table("TAP_UPLOAD", "t", tuple(Column(name, "double") for name in columns))
    translation = translate(query, [table], engine.dialect)
    batch = pa.RecordBatch.from_pydict({name: pa.array(values, pa.float64()) for name, values in columns.items()})
    batches = list(engine.query(translation, BOUNDS, {"t": (table, [batch])}))
    return [np.asarray(c) for c in pa.Table.from_batches(batches).columns]


@pytest.fixture(scope="module")
def pairs() -> dict[str, Any]:
    random = np.random.default_rng(20)
    lon1, lat1 = _sky(random, PAIRS)
    lon2, lat2 = _sky(random, PAIRS)
    half = PAIRS // 2
    # Half of them near each other, at all scales from 1e-9 degrees, and some near the antipode and at the poles.
    offset = 10 ** random.uniform(-9, 1, half)
    lon2[:half], lat2[:half] = (
        a.to_value(u.deg)
        for a in offset_by(
            lon1[:half] * u.deg, lat1[:half] * u.deg, random.uniform(0, 360, half) * u.deg, offset * u.deg
        )
    )
    lon2[:1000], lat2[:1000] = (lon2[:1000] + 180) % 360, -lat2[:1000]
    lat1[1000:1500], lat2[1500:2000], lat1[2000:2500] = 90, -90, 0
    lon1[2500:3000], lat2[2500:3000] = 0, lat1[2500:3000]
    radius = np.where(
        random.uniform(size=PAIRS) < 0.5, random.uniform(0, 180, PAIRS), 10 ** random.uniform(-8, 1, PAIRS)
    )
    return {"id": np.arange(PAIRS), "lon1": lon1, "lat1": lat1, "lon2": lon2 % 360, "lat2": lat2, "r": radius}


def test_distances_and_circles(engine: Engine, pairs: dict[str, Any]) -> None:
    query = (
        "SELECT DISTANCE(lon1, lat1, lon2, lat2), CONTAINS(POINT(lon1, lat1), CIRCLE(lon2, lat2, r)), "
        "INTERSECTS(CIRCLE(lon1, lat1, r / 2), CIRCLE(lon2, lat2, r / 4)) FROM TAP_UPLOAD.t ORDER BY id"
    )
    distance, is_inside, meets = _columns(engine, query, pairs)
    args = [np.radians(pairs[name]) for name in ("lon1", "lat1", "lon2", "lat2")]
    expected = np.degrees(angular_separation(*args))
    assert np.abs(distance - expected).max() < 1e-12
    radius = pairs["r"]
    clear = np.abs(expected - radius) > 1e-10
    assert (is_inside == (expected <= radius))[clear].all() and clear.sum() > PAIRS * 0.98
    clear = np.abs(expected - 0.75 * radius) > 1e-10
    assert (meets == (expected <= 0.75 * radius))[clear].all()


def _polygon(random: np.random.Generator, around: tuple[float, float]) -> np.ndarray[Any, Any]:
    """Return the corners (n, 2) of a star-shaped polygon."""
    corners = int(random.integers(3, 10))
    angles = np.sort(random.uniform(0, 360, corners))
    while np.diff([*angles, angles[0] + 360]).max() > 150:
        angles = np.sort(random.uniform(0, 360, corners))
    sizes = random.uniform(0.2, 1, corners) * 10 ** random.uniform(-2, 1.5)
    lon, lat = offset_by(around[0] * u.deg, around[1] * u.deg, angles * u.deg, sizes * u.deg)
    return np.stack([lon.to_value(u.deg) % 360, lat.to_value(u.deg)], axis=1)


def _winds(lon: Any, lat: Any, corners: np.ndarray[Any, Any]) -> Any:
    """Return whether the corners go round each point."""
    angles = position_angle(
        np.radians(lon)[:, None], np.radians(lat)[:, None], np.radians(corners[:, 0]), np.radians(corners[:, 1])
    ).to_value(u.rad)
    steps = np.roll(angles, -1, axis=1) - angles
    steps = (steps + np.pi) % (2 * np.pi) - np.pi
    return np.abs(steps.sum(axis=1)) > np.pi


PLACES = [(0.0, 0.0), (359.9, 10.0), (120.0, 89.5), (77.0, 90.0), (200.0, -89.9), (180.0, -45.0)]


def _cases() -> list[tuple[np.ndarray[Any, Any], Any, Any]]:
    """Return polygons with points around them."""
    random = np.random.default_rng(21)
    cases = []
    for number in range(POLYGONS):
        lon, lat = _sky(random, 1)
        place = PLACES[number] if number < len(PLACES) else (float(lon[0]), float(lat[0]))
        corners = _polygon(random, place)
        size = angular_separation(*np.radians([*place, corners[0, 0], corners[0, 1]]))
        angle, offset = (
            random.uniform(0, 360, POINTS),
            random.uniform(0, 1, POINTS) ** 0.5 * min(np.degrees(size) * 3, 80),
        )
        lons, lats = offset_by(place[0] * u.deg, place[1] * u.deg, angle * u.deg, offset * u.deg)
        cases.append((corners, lons.to_value(u.deg) % 360, lats.to_value(u.deg)))
    return cases


def test_points_in_polygons(engine: Engine) -> None:
    checked = 0
    for corners, lon, lat in _cases():
        numbers = ", ".join(repr(float(n)) for n in corners.ravel())
        query = f"SELECT CONTAINS(POINT(lon, lat), POLYGON({numbers})) FROM TAP_UPLOAD.t ORDER BY id"
        (is_inside,) = _columns(engine, query, {"id": np.arange(len(lon)), "lon": lon, "lat": lat})
        expected = _winds(lon, lat, corners)
        edge = sphere.from_boundary(sphere.vectors(lon, lat), sphere.polygon(corners.ravel()))
        clear = edge > 1e-9
        assert (is_inside == expected)[clear].all()
        assert clear.mean() > 0.99
        checked += len(lon)
    assert checked + PAIRS >= 100_000


def _triangle(a: Any, b: Any, c: Any) -> float:
    """Return an area by L'Huilier's theorem."""
    x, y, z = (angular_separation(*np.radians([*p, *q])) for p, q in ((a, b), (b, c), (c, a)))
    s = (x + y + z) / 2
    inner = np.tan(s / 2) * np.tan((s - x) / 2) * np.tan((s - y) / 2) * np.tan((s - z) / 2)
    return float(4 * np.arctan(np.sqrt(max(inner, 0))))


def test_areas_of_polygons() -> None:
    random = np.random.default_rng(22)
    for _ in range(300):
        lon, lat = _sky(random, 1)
        middle = (float(lon[0]), float(lat[0]))
        corners = _polygon(random, middle)
        # The polygon is star-shaped around its middle.
        expected = sum(_triangle(middle, a, b) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True))
        assert sphere.area(sphere.polygon(corners.ravel())) == pytest.approx(expected, rel=1e-6, abs=1e-15)


def test_a_centroid_is_the_mean_of_many_points_inside() -> None:
    random = np.random.default_rng(23)
    for place in PLACES:
        corners = _polygon(random, place)
        angle, offset = random.uniform(0, 360, 200_000), random.uniform(0, 1, 200_000) ** 0.5 * 40
        lon, lat = (
            a.to_value(u.deg) for a in offset_by(place[0] * u.deg, place[1] * u.deg, angle * u.deg, offset * u.deg)
        )
        vectors = sphere.vectors(lon, lat)
        is_inside = sphere.in_polygon(vectors, sphere.polygon(corners.ravel()))
        if is_inside.sum() < 1000:
            continue
        # Points were drawn evenly in the plane of distance and angle: weigh them by the sphere's surface.
        weights = (np.sin(np.radians(offset)) / np.radians(offset))[is_inside, None]
        mean = (vectors[is_inside] * weights).sum(axis=0)
        size = np.degrees(sphere.between(vectors[is_inside], mean / np.linalg.norm(mean)).max())
        distance = np.degrees(
            sphere.between(sphere.centroid(sphere.polygon(corners.ravel())), mean / np.linalg.norm(mean))
        )
        assert distance < size * 6 / np.sqrt(is_inside.sum())


def test_circles_and_polygons_against_points_drawn_in_them() -> None:
    random = np.random.default_rng(24)
    verdicts = {True: 0, False: 0}
    for number in range(300):
        place = PLACES[number % len(PLACES)]
        corners = _polygon(random, place)
        size = float(np.degrees(angular_separation(*np.radians([*place, *corners[0]]))))
        lon, lat = offset_by(
            place[0] * u.deg, place[1] * u.deg, random.uniform(0, 360) * u.deg, random.uniform(0, 2) * size * u.deg
        )
        circle = [float(lon.to_value(u.deg)) % 360, float(lat.to_value(u.deg)), float(random.uniform(0.05, 1)) * size]
        angles, offset = random.uniform(0, 360, 500), random.uniform(0, 1, 500) ** 0.5 * circle[2]
        lons, lats = offset_by(circle[0] * u.deg, circle[1] * u.deg, angles * u.deg, offset * u.deg)
        drawn = _winds(lons.to_value(u.deg), lats.to_value(u.deg), corners)
        polygon = corners.ravel().tolist()
        within, meets = sphere.contains(circle, polygon), sphere.intersects(circle, polygon)
        assert not within or drawn.all()
        assert meets or not drawn.any()
        assert drawn.any() <= meets and (not within or meets)
        around = sphere.contains(polygon, circle)
        distances = SkyCoord(corners, unit="deg").separation(SkyCoord(circle[0], circle[1], unit="deg")).deg
        assert around == bool((distances <= circle[2]).all())
        verdicts[meets] += 1
    assert min(verdicts.values()) > 30


def test_polygons_against_pgsphere(tmp_path: Path) -> None:
    """Pairs of polygons, near each other and at difficult places, on DuckDB and by pgsphere."""
    random = np.random.default_rng(25)
    pairs: list[tuple[list[float], list[float]]] = []
    for number in range(400):
        place = PLACES[number % len(PLACES)]
        first = _polygon(random, place)
        size = float(np.degrees(angular_separation(*np.radians([*place, *first[0]]))))
        lon, lat = offset_by(
            place[0] * u.deg, place[1] * u.deg, random.uniform(0, 360) * u.deg, random.uniform(0, 2) * size * u.deg
        )
        second = _polygon(random, (float(lon.to_value(u.deg)) % 360, float(lat.to_value(u.deg))))
        pairs.append((first.ravel().tolist(), second.ravel().tolist()))
    table = Table(
        "TAP_UPLOAD",
        "t",
        (Column("n", "int"), Column("a", "double", "*", "polygon"), Column("b", "double", "*", "polygon")),
    )
    rows = pa.RecordBatch.from_pydict(
        {"n": pa.array(range(len(pairs)), pa.int32()), "a": [p[0] for p in pairs], "b": [p[1] for p in pairs]}
    )
    columns = "INTERSECTS(a, b) AS i, CONTAINS(a, b) AS c, CONTAINS(b, a) AS d, AREA(a) AS s"
    query = f"SELECT {columns} FROM TAP_UPLOAD.t ORDER BY n"
    answers = []
    for name in ("duckdb", "pgsphere"):
        for engine in engines(tmp_path / name, name):
            translation = translate(query, [table], engine.dialect)
            batches = list(engine.query(translation, BOUNDS, {"t": (table, [rows])}))
            answers.append(pa.Table.from_batches(batches).to_pydict())
    for name, min_cases in (("i", 100), ("c", 10), ("d", 10)):
        assert answers[0][name] == answers[1][name]
        assert min_cases < sum(answers[0][name]) < len(pairs)
    # pgsphere adds up angles, whose errors of some 1e-12 rad are what is left of a small area.
    assert answers[0]["s"] == pytest.approx(answers[1]["s"], rel=1e-6, abs=3e-7)

"""T-006: announced features work on every engine."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from lxml import etree

from tests.adql.sky import ask
from uws_service.adql import sphere
from uws_service.adql.errors import AdqlError
from uws_service.adql.functions import FUNCTIONS
from uws_service.adql.geometry import Geometry
from uws_service.adql.translated import Sql
from uws_service.applications import load_applications
from uws_service.tap import documents
from uws_service.tap.engines.base import Engine
from uws_service.web.faces.registry import STANDARDS

CDS = "SELECT id FROM stars WHERE "
QUERIES: dict[str, tuple[str, Any]] = {
    "POINT": ("SELECT POINT('ICRS', 10, 20)", [[[10.0, 20.0]]]),
    "CIRCLE": (f"{CDS}1 = CONTAINS(POINT(ra, dec), CIRCLE(POINT(83.6, 22), 0.1))", [[14]]),
    "BOX": (f"{CDS}1 = CONTAINS(POINT(ra, dec), BOX(83.6, 22, 0.2, 0.2))", [[14]]),
    "POLYGON": (f"{CDS}1 = CONTAINS(POINT(ra, dec), POLYGON(83, 21, 84, 21, 84, 23, 83, 23))", [[14]]),
    "REGION": (f"{CDS}1 = CONTAINS(POINT(ra, dec), REGION('Circle ICRS 83.6 22 0.1'))", [[14]]),
    "CONTAINS": ("SELECT CONTAINS(POINT(1, 1), CIRCLE(1, 2, 3))", [[1]]),
    "INTERSECTS": ("SELECT fid FROM fields WHERE 1 = INTERSECTS(beam, CIRCLE(10, 21.5, 1))", [[1]]),
    "DISTANCE": ("SELECT DISTANCE(POINT(10, 20), POINT(10, 21))", [[1.0]]),
    "AREA": ("SELECT AREA(CIRCLE(10, 20, 180))", [[129600 / math.pi]]),
    "CENTROID": ("SELECT CENTROID(beam) FROM fields WHERE fid = 1", [[[10.0, 20.0]]]),
    "COORD1": ("SELECT COORD1(centre) FROM fields WHERE fid = 4", [[200.0]]),
    "COORD2": ("SELECT COORD2(centre) FROM fields WHERE fid = 4", [[-43.0]]),
    "COORDSYS": ("SELECT COORDSYS(POINT(1, 2))", [["ICRS"]]),
    "LOWER": ("SELECT LOWER('NGC')", [["ngc"]]),
    "UPPER": ("SELECT UPPER('ngc')", [["NGC"]]),
    "ILIKE": (f"{CDS}kind ILIKE 'WHITE%'", [[4], [9], [14], [19]]),
    "UNION": ("SELECT 1 AS a UNION SELECT 1 AS a", [[1]]),
    "EXCEPT": ("SELECT id FROM stars EXCEPT SELECT id FROM stars WHERE id > 1", [[1]]),
    "INTERSECT": ("SELECT id FROM stars INTERSECT SELECT 7 AS id", [[7]]),
    "WITH": ("WITH few AS (SELECT id FROM stars WHERE id < 3) SELECT COUNT(*) FROM few", [[2]]),
    "CAST": ("SELECT CAST('7' AS INTEGER)", [[7]]),
    "OFFSET": ("SELECT id FROM stars ORDER BY id OFFSET 19", [[20]]),
    "IN_UNIT": ("SELECT IN_UNIT(ra, 'arcmin') FROM stars WHERE id = 9", [[600.0]]),
    "ivo_healpix_index(hpxOrder INTEGER, long REAL, lat REAL) -> BIGINT": (
        "SELECT ivo_healpix_index(0, ra, dec) FROM stars WHERE id IN (4, 6) ORDER BY id", [[2], [8]],
    ),
    "ivo_healpix_index(hpxOrder INTEGER, p POINT) -> BIGINT": (
        "SELECT ivo_healpix_index(29, POINT(45, 89.999999)), ivo_healpix_index(1, centre) FROM fields WHERE fid = 1",
        [[288230376151711743, 19]],
    ),
}  # fmt: skip


def announced() -> list[str]:
    """Return the announced forms of language features."""
    application = load_applications([], STANDARDS)["tap"]
    root = etree.fromstring(documents.capabilities_xml(application, "http://localhost/tap"))
    return [form.text or "" for form in root.iterfind(".//language/languageFeatures/feature/form")]


def test_each_announced_feature_has_a_query() -> None:
    """T-006."""
    forms = announced()
    assert len(forms) == len(set(forms)) > 20
    assert set(forms) == set(QUERIES)


@pytest.mark.parametrize("form", QUERIES)
def test_each_announced_feature_works(form: str, engine: Engine) -> None:
    """T-006."""
    query, expected = QUERIES[form]
    _, rows = ask(engine, query)
    assert len(rows) == len(expected)
    for row, wanted_row in zip(sorted(rows), expected, strict=True):
        for value, wanted_value in zip(row, wanted_row, strict=True):
            assert value == (wanted_value if isinstance(wanted_value, str) else pytest.approx(wanted_value, rel=1e-12))


def test_the_translator_and_the_list_have_the_same_geometry() -> None:
    functions = set(Geometry(Sql("duckdb"))._functions)
    assert functions == {
        name for name, signature in FUNCTIONS.items() if signature.feature in ("features-adqlgeo", "features-udf")
    }


def _positions() -> list[tuple[float, float]]:
    """Return random positions and difficult ones."""
    source = random.Random(12)
    anywhere = [(source.uniform(-360, 720), math.degrees(math.asin(source.uniform(-1, 1)))) for _ in range(150)]
    rings = [(lon, lat) for lon in range(0, 360, 45) for lat in (0.001, 41.82, 89.99999, -41.81, -89.999)]
    return [*anywhere, *((lon + 0.0123, lat) for lon, lat in rings), (-1e-20, 10.0), (359.9999999, -12.3)]


@pytest.mark.parametrize("order", [0, 1, 6, 12, 20, 29])
def test_healpix_index_is_that_of_cdshealpix(order: int, engine: Engine) -> None:
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    places = _positions()
    lon, lat = (np.array(column) for column in zip(*places, strict=True))
    expected = lonlat_to_healpix(Longitude(lon % 360, u.deg), Latitude(lat, u.deg), order).astype(int).tolist()
    actual: list[int] = []
    for start in range(0, len(places), 30):
        items = ", ".join(f"ivo_healpix_index({order}, {x!r}, {y!r})" for x, y in places[start : start + 30])
        actual += ask(engine, f"SELECT {items}")[1][0]
    if order < 29:
        assert actual == expected
    else:  # cells of 0.4 mas: the last bits of the sines decide
        assert sum(a != b for a, b in zip(actual, expected, strict=True)) < len(expected) / 4
        assert [a >> 12 for a in actual] == [b >> 12 for b in expected]


def test_healpix_index_groups_rows(engine: Engine) -> None:
    """Rows can be counted by cell."""
    cell = "ivo_healpix_index(2, POINT(ra, dec))"
    query = f"SELECT {cell} AS cell, COUNT(*) AS n, AVG(ra) AS ra FROM stars GROUP BY {cell} ORDER BY cell"
    _, rows = ask(engine, query)
    _, single = ask(engine, "SELECT ivo_healpix_index(2, ra, dec) AS cell FROM stars")
    cells = [row[0] for row in single]
    assert [row[:2] for row in rows] == [[cell, cells.count(cell)] for cell in sorted(set(cells))]


def test_healpix_index_of_no_position_is_null(engine: Engine) -> None:
    _, rows = ask(engine, "SELECT ivo_healpix_index(5, centre) FROM fields WHERE fid = 5")
    assert rows == [[None]]
    # A parallax is NULL, NaN, or no latitude.
    _, rows = ask(engine, "SELECT id, ivo_healpix_index(5, 10, 20 * parallax) FROM stars WHERE id IN (3, 5, 8, 20)")
    assert {row[0] for row in rows if row[1] is None} == {3, 5, 20}


def _polygons() -> list[list[float]]:
    """Return polygons at random and at difficult places."""
    source = random.Random(40)
    polygons = []
    for number in range(24):
        middle = [(0.0, 90.0), (0.0, -90.0), (0.0, 0.0), (source.uniform(0, 360), source.uniform(-80, 80))][number % 4]
        corners, size = 3 + number % 5, 10 ** source.uniform(-2, 1.2)
        turns = sorted(source.uniform(0, 2 * math.pi) for _ in range(corners))
        around = sphere.vectors(*middle)
        east = np.cross(np.eye(3)[np.abs(around).argmin()], around)
        east /= np.linalg.norm(east)
        north = np.cross(around, east)
        vectors = [around + math.tan(math.radians(size)) * (math.cos(a) * east + math.sin(a) * north) for a in turns]
        lon, lat = sphere.degrees(np.array(vectors[:: 1 if number % 3 else -1]))
        polygons.append([float(n) for pair in zip(lon, lat, strict=True) for n in pair])
    return polygons


def test_distance_to_a_region_is_that_to_its_centroid(engine: Engine) -> None:
    """DISTANCE(s_region, POINT(…)) works, as archives' examples have it."""
    for numbers in _polygons():
        values = ", ".join(f"{number!r} + 0 * fid" for number in numbers)
        polygon = f"POLYGON({values})"
        query = (
            f"SELECT DISTANCE({polygon}, POINT('', 12.5, -7)), DISTANCE(POINT(12.5, -7), {polygon}),"
            f" CENTROID({polygon}) FROM fields WHERE fid = 1"
        )
        (row,) = ask(engine, query)[1]
        middle = sphere.centroid(sphere.polygon(numbers))
        expected = math.degrees(sphere.between(middle, sphere.vectors(12.5, -7)))
        assert row[:2] == [pytest.approx(expected, abs=1e-9)] * 2, numbers
        assert sphere.between(middle, sphere.vectors(*row[2])) < 1e-10, numbers


def test_distances_of_a_column_of_regions_sort(engine: Engine) -> None:
    query = "SELECT fid, DISTANCE(footprint, POINT('', 11, 21)) AS d FROM fields WHERE fid < 5 ORDER BY d"
    _, rows = ask(engine, query)
    assert [row[0] for row in rows] == [1, 2, 3, 4] and [row[1] for row in rows] == sorted(row[1] for row in rows)
    _, circles = ask(engine, "SELECT DISTANCE(POINT(10, 21), beam) FROM fields WHERE fid IN (1, 5) ORDER BY fid")
    assert circles == [[pytest.approx(1.0)], [None]]
    _, near = ask(engine, "SELECT fid FROM fields WHERE DISTANCE(footprint, POINT(10, 20)) < 0.5")
    assert near == [[1]]
    _, none = ask(engine, "SELECT DISTANCE(footprint, POINT(1, 2)) FROM fields WHERE fid = 5")
    assert none == [[None]]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT POINT('GALACTIC', 0, 0)", "positions are in ICRS here, not in GALACTIC"),
        ("SELECT CIRCLE('FK4 B1950', 1, 2, 3)", "not in FK4"),
        ("SELECT REGION('CIRCLE GALACTIC 1 2 3')", "not in GALACTIC"),
        ("SELECT REGION('UNION ICRS (CIRCLE 1 2 3 CIRCLE 1 2 4)')", "REGION can't read 'UNION"),
        ("SELECT REGION('CIRCLE 1 2')", "CIRCLE has 2 arguments"),
        ("SELECT REGION('POLYGON 1 2 3 4 5')", "POLYGON has 5 coordinates"),
        ("SELECT REGION('CIRCLE 1 2 x')", "'x' in the text of REGION is not a number"),
        ("SELECT REGION('CIRCLE 1 95 3')", "the latitude 95"),
        ("SELECT REGION('')", "REGION can't read ''"),
        ("SELECT REGION(kind) FROM stars", "not a string constant"),
        ("SELECT ivo_healpix_index(30, 1, 2)", "no whole number from 0 to 29"),
        ("SELECT ivo_healpix_index(id, ra, dec) FROM stars", "no whole number from 0 to 29"),
        ("SELECT ivo_healpix_index(3, 5)", "takes a POINT, not a number"),
        ("SELECT DISTANCE(beam, footprint) FROM fields", "DISTANCE takes points, not a CIRCLE"),
    ],
)
def test_what_is_refused(query: str, words: str, engine: Engine) -> None:
    with pytest.raises(AdqlError) as error:
        ask(engine, query)
    assert words in str(error.value)

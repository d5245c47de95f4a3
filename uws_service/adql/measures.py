"""Functions that measure geometries (ADQL 2.1 §4.2).

DISTANCE, AREA, CENTROID, COORD1, COORD2, COORDSYS, and IVO_HEALPIX_INDEX.
"""

from __future__ import annotations

import math
from dataclasses import replace

from uws_service.adql import shapes, sphere
from uws_service.adql.centroids import centroid_sql
from uws_service.adql.errors import Fault
from uws_service.adql.functions import FUNCTIONS
from uws_service.adql.healpix import nested_index_sql
from uws_service.adql.pgsphere import to_spoly
from uws_service.adql.shapes import check_count, check_latitude, must_be_geometries, numbers_of
from uws_service.adql.sky_index import Pair
from uws_service.adql.translated import Shape, Sql, Translated, compose, must_be_number
from uws_service.adql.types import GEOMETRIES, INTEGERS, in_words

_SQUARE_DEGREES = (180 / math.pi) ** 2


def half_chord(sql: Sql, first: Pair, second: Pair) -> str:
    """Return the squared half chord between points.

    It grows with their distance, and is right for the smallest one.
    """
    (a, b), (c, d) = ((sql.double(p[0]), sql.double(p[1])) for p in (first, second))
    return (
        f"(power(sin(radians({d} - {b}) / 2), 2) + cos(radians({b})) * cos(radians({d}))"
        f" * power(sin(radians({c} - {a}) / 2), 2))"
    )


def separation(sql: Sql, first: Pair, second: Pair) -> str:
    """Return the angle between two points in degrees.

    It comes from the chords to the second point and to its antipode, so that no difference is lost.
    """
    (a, b), (c, d) = ((sql.double(p[0]), sql.double(p[1])) for p in (first, second))
    to_antipode = (
        f"(power(sin(radians({b} + {d}) / 2), 2) + cos(radians({b})) * cos(radians({d}))"
        f" * power(cos(radians({c} - {a}) / 2), 2))"
    )
    return f"degrees(2 * atan2(sqrt({half_chord(sql, first, second)}), sqrt({to_antipode})))"


def distance(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate DISTANCE."""
    if len(arguments) == 2:
        kinds = [value.type for value in arguments]
        for value in arguments:
            if value.type not in GEOMETRIES or "point" not in kinds:
                hint = "Write DISTANCE(point, point), DISTANCE(region, point) or DISTANCE(lon1, lat1, lon2, lat2)."
                raise Fault(f"DISTANCE takes points, not {in_words(value.type)}", value.at, hint)
        if "polygon" in kinds:
            return _distance_of_centroid(sql, at, *sorted(arguments, key=lambda value: value.type == "point"))
        # That of a region is counted from its centroid, as the archives' examples for s_region want it.
        numbers = [n for value in arguments for n in numbers_of(value)[:2]]
    else:
        check_count("DISTANCE", at, arguments, 4)
        numbers = arguments
        for number in numbers:
            must_be_number(number, "DISTANCE")
        for latitude in (numbers[1], numbers[3]):
            check_latitude(latitude)
    angle = separation(sql, (numbers[0], numbers[1]), (numbers[2], numbers[3]))
    value = compose(angle, "double", at, *numbers, unit="deg")
    return replace(value, shape=Shape(tuple(numbers)))  # for `Geometry.distance_index`


def _distance_of_centroid(sql: Sql, at: int, polygon: Translated, point: Translated) -> Translated:
    centre = centroid(sql, at, [polygon])
    if sql.duckdb or centre.shape is not None:
        return distance(sql, at, [centre, point])
    # The centroid is computed once, not for each of its numbers.
    start = [Translated(f"p[{place}]", "double", at) for place in (1, 2)]
    end = numbers_of(point)
    angle = separation(sql, (start[0], start[1]), (end[0], end[1]))
    query = f"(SELECT {angle} FROM (SELECT {centre.sql} AS p OFFSET 0) AS c)"
    return compose(query, "double", at, polygon, point, unit="deg")


def area(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate AREA, in square degrees."""
    (region,) = must_be_geometries("AREA", arguments)
    if region.type == "point":
        text = "0.0e0" if sql.duckdb else "0.0::float8"
    elif region.type == "circle":
        radius = sql.double(numbers_of(region)[2])
        # 2 pi (1 - cos r) without the difference
        text = f"(4 * pi() * power(sin(radians({radius}) / 2), 2) * {_SQUARE_DEGREES!r})"
    elif region.shape is not None and (constant := region.shape.constant) is not None:
        text = sql.constant(sphere.area(sphere.polygon(constant)) * _SQUARE_DEGREES)
    elif sql.duckdb:
        text = f"adql_area({region.sql})"
    else:
        text = f"(area({to_spoly(sql, region)}) * {_SQUARE_DEGREES!r})"
    return compose(text, "double", at, region, unit="deg**2")


def centroid(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate CENTROID."""
    (region,) = must_be_geometries("CENTROID", arguments)
    if region.type == "point":
        return region
    if region.type == "circle":
        return shapes.geometry(sql, "point", at, list(numbers_of(region)[:2]))
    if region.shape is not None and (constant := region.shape.constant) is not None:
        position = sphere.degrees(sphere.centroid(sphere.polygon(constant)))
        return shapes.geometry(sql, "point", at, [shapes.constant_number(sql, float(n), at) for n in position])
    if sql.duckdb:
        return compose(f"adql_centroid({region.sql})", "point", at, region)
    return compose(centroid_sql(region.sql), "point", at, region)


def first_coordinate(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate COORD1."""
    return _coordinate(sql, at, arguments[0], 0)


def second_coordinate(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate COORD2."""
    return _coordinate(sql, at, arguments[0], 1)


def _coordinate(sql: Sql, at: int, point: Translated, index: int) -> Translated:
    if point.type != "point":
        raise Fault(f"COORD{index + 1} takes a POINT, not {in_words(point.type)}", point.at)
    number = numbers_of(point)[index]
    return replace(compose(sql.double(number), "double", at, point, unit="deg"), number=number.number)


def coordinate_system(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate COORDSYS."""
    (region,) = must_be_geometries("COORDSYS", arguments)
    return compose(f"CASE WHEN {region.sql} IS NULL THEN NULL ELSE 'ICRS' END", "char", at, region)


def healpix_index(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate IVO_HEALPIX_INDEX of the IVOA's catalogue of functions."""
    order, *position = arguments
    if not order.literal or order.type not in INTEGERS or order.number is None or not 0 <= order.number <= 29:
        raise Fault("the order of IVO_HEALPIX_INDEX is no whole number from 0 to 29", order.at)
    if len(position) == 1 and position[0].type != "point":
        hint = f"Write {FUNCTIONS['IVO_HEALPIX_INDEX'].form}."
        raise Fault(f"IVO_HEALPIX_INDEX takes a POINT, not {in_words(position[0].type)}", position[0].at, hint)
    lon, lat = numbers_of(position[0]) if len(position) == 1 else position
    for number in (lon, lat):
        must_be_number(number, "IVO_HEALPIX_INDEX")
    check_latitude(lat)
    depth, x, y = int(order.number), sql.double(lon), sql.double(lat)
    text = f"adql_healpix({x}, {y}, {depth})" if sql.duckdb else nested_index_sql(depth, x, y)
    return compose(text, "long", at, *arguments)

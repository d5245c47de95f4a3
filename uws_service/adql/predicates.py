"""CONTAINS and INTERSECTS (ADQL 2.1 §4.2).

They carry the condition of an index where one follows from them.
Polygons are computed by functions of ours in DuckDB. PostgreSQL computes a point in a constant polygon in plain SQL and
leaves the rest to pgsphere.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from uws_service.adql import sky_index, sphere
from uws_service.adql.errors import Fault
from uws_service.adql.measures import half_chord, separation
from uws_service.adql.pgsphere import to_pgsphere
from uws_service.adql.shapes import constant_number, located, must_be_geometries, numbers_of
from uws_service.adql.sky_index import Spread
from uws_service.adql.translated import Sql, Translated, compose

Predicate = Literal["contains", "intersects"]


def contains(sql: Sql, spread: Spread, at: int, arguments: list[Translated]) -> Translated:
    """Translate CONTAINS."""
    inner, outer = must_be_geometries("CONTAINS", arguments)
    if outer.type == "point":
        hint = "Write CONTAINS(inner, outer)." if inner.type != "point" else "Use DISTANCE."
        raise Fault("the second argument of CONTAINS is a POINT, which contains nothing", outer.at, hint)
    return _relation(sql, spread, at, inner, outer, "contains")


def intersects(sql: Sql, spread: Spread, at: int, arguments: list[Translated]) -> Translated:
    """Translate INTERSECTS."""
    first, second = must_be_geometries("INTERSECTS", arguments)
    if first.type == second.type == "point":
        raise Fault("INTERSECTS takes regions, not two points", at, "Use DISTANCE.")
    if second.type == "point":
        first, second = second, first
    return _relation(sql, spread, at, first, second, "contains" if first.type == "point" else "intersects")


def _relation(
    sql: Sql, spread: Spread, at: int, first: Translated, second: Translated, predicate: Predicate
) -> Translated:
    numbers, outer_numbers = (v.shape.constant if v.shape else None for v in (first, second))
    index = None
    if numbers is not None and outer_numbers is not None:
        function = sphere.contains if predicate == "contains" else sphere.intersects
        condition = "(1 = 1)" if located(function, at, numbers, outer_numbers) else "(1 = 0)"
    elif first.type != "polygon" and second.type == "circle":
        condition, index = _with_circle(sql, spread, first, second, predicate)
    elif sql.duckdb:
        condition = f"adql_{predicate}({first.sql}, {second.sql})"
        index = _polygon_index(sql, spread, first, outer_numbers)
    elif first.type == "point" and outer_numbers is not None:
        condition = point_in_polygon(sql, first, outer_numbers)
        index = _polygon_index(sql, spread, first, outer_numbers)
    else:
        operator = "<@" if predicate == "contains" else "&&"
        comparison = f"{to_pgsphere(sql, first)} {operator} {to_pgsphere(sql, second)}"
        # Not the bare operator: pgsphere names wrong negators, which NOT would be replaced by.
        condition = f"(CASE {comparison} WHEN TRUE THEN TRUE WHEN FALSE THEN FALSE END)"
    value = compose(f"CAST({condition} AS INTEGER)", "int", at, first, second)
    return replace(value, condition=condition, index=index)


def _with_circle(
    sql: Sql, spread: Spread, value: Translated, circle: Translated, predicate: Predicate
) -> tuple[str, str | None]:
    """Return condition and index for a circle."""
    lon, lat, radius = numbers_of(circle)
    numbers = numbers_of(value)
    centre = (numbers[0], numbers[1])
    if value.type == "point":
        index = sky_index.near(sql, spread, centre, (lon, lat), radius)
        chord = half_chord(sql, centre, (lon, lat))
        limit = f"power(sin(radians({sql.double(radius)}) / 2), 2)"
        if radius.number is None:  # the sine falls again beyond 180 degrees
            limit = f"power(sin(radians(least(greatest({sql.double(radius)}, 0), 180)) / 2), 2)"
            return f"({sql.double(radius)} >= 0 AND {chord} <= {limit})", index
        return f"({chord} <= {limit})", index
    angle = separation(sql, centre, (lon, lat))
    inner_radius, outer_radius = sql.double(numbers[2]), sql.double(radius)
    if predicate == "contains":
        return f"({angle} + {inner_radius} <= {outer_radius} + 1e-11)", None
    return f"({angle} <= {inner_radius} + {outer_radius} + 1e-11)", None


def _polygon_index(sql: Sql, spread: Spread, point: Translated, polygon: list[float] | None) -> str | None:
    """Return the circle around a constant polygon as index."""
    if polygon is None or point.type != "point" or len(polygon) < 6:
        return None
    lon, lat, radius = (constant_number(sql, n, point.at) for n in sphere.bounding_circle(sphere.polygon(polygon)))
    numbers = numbers_of(point)
    return sky_index.near(sql, spread, (numbers[0], numbers[1]), (lon, lat), radius)


def point_in_polygon(sql: Sql, point: Translated, polygon: list[float]) -> str:
    """Return whether a constant polygon holds a point, as SQL.

    It computes what `sphere.in_polygon` does.
    """
    corners = sphere.polygon(polygon)
    centre, first_axis, second_axis, x, y = sphere.plane_corners(corners)
    lon, lat = numbers_of(point)
    crossings: list[str] = []
    on_side: list[str] = []
    for number in range(len(x)):
        (x1, y1, x2, y2) = (float(v) for v in (x[number], y[number], x[number - 1], y[number - 1]))
        if x1 != x2:
            low, high, slope = min(x1, x2), max(x1, x2), (y2 - y1) / (x2 - x1)
            height = f"{y1!r} + (u - {x1!r}) * {slope!r}"
            crossings.append(f"CASE WHEN u >= {low!r} AND u < {high!r} AND w < {height} THEN 1 ELSE 0 END")
        length = math.hypot(x2 - x1, y2 - y1)
        across = f"abs((u - {x1!r}) * {(y2 - y1) / length!r} - (w - {y1!r}) * {(x2 - x1) / length!r})"
        along = f"(u - {x1!r}) * {(x2 - x1) / length!r} + (w - {y1!r}) * {(y2 - y1) / length!r}"
        on_side.append(f"({across} <= 1e-13 AND {along} BETWEEN -1e-13 AND {length + 1e-13!r})")
    within = f"a > 0 AND (mod({' + '.join(crossings)}, 2) = 1 OR {' OR '.join(on_side)})"
    a, u, w = (
        " + ".join(f"{part} * {sql.constant(k)}" for part, k in zip("xyz", axis, strict=True))
        for axis in (centre, first_axis, second_axis)
    )
    ra, dec = sql.double(lon), sql.double(lat)
    # OFFSET 0 keeps PostgreSQL from writing each of them out wherever it is used.
    horizontal = f"cos(radians({dec})) * cos(radians({ra})) AS x, cos(radians({dec})) * sin(radians({ra})) AS y"
    vector = f"SELECT {horizontal}, sin(radians({dec})) AS z OFFSET 0"
    flat = f"({u}) / NULLIF({a}, 0) AS u, ({w}) / NULLIF({a}, 0) AS w"
    plane = f"SELECT {a} AS a, {flat} FROM ({vector}) AS v OFFSET 0"
    return f"(SELECT {within} FROM ({plane}) AS p)"

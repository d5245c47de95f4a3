"""The centroid of a polygon in plain SQL.

PostgreSQL computes with it what `sphere.centroid` does.
"""

from __future__ import annotations


def _dot(first: str, second: str) -> str:
    return " + ".join(f"{first}{axis} * {second}{axis}" for axis in "xyz")


def centroid_sql(polygon: str) -> str:
    """Return the centroid of a polygon as SQL.

    The polygon is an array of degrees; the centroid is NULL for what is no polygon.
    """
    lon, lat = "radians(n[2 * i - 1])", "radians(n[2 * i])"
    corners = (
        f"SELECT i, cos({lat}) * cos({lon}) AS ax, cos({lat}) * sin({lon}) AS ay, sin({lat}) AS az"
        f" FROM (SELECT {polygon} AS n OFFSET 0) AS g, generate_series(1, array_length(n, 1) / 2) AS i OFFSET 0"
    )
    corner_b = ", ".join(
        f"coalesce(lead(a{axis}) OVER (ORDER BY i), first_value(a{axis}) OVER (ORDER BY i)) AS b{axis}"
        for axis in "xyz"
    )
    # The sum over the sides of their normals, as long as the sides are; s is the sum of the corners.
    cross = "ay * bz - az * by AS nx, az * bx - ax * bz AS ny, ax * by - ay * bx AS nz"
    sides = (
        f"SELECT ax, ay, az, {_dot('a', 'b')} AS along, {cross} FROM (SELECT *, {corner_b} FROM ({corners}) AS k) AS s"
    )
    with_length = f"SELECT *, sqrt({_dot('n', 'n')}) AS length FROM ({sides}) AS l OFFSET 0"
    weight = "CASE WHEN length > 1e-13 THEN atan2(length, along) / length ELSE 0 END"
    sums = ", ".join([*(f"sum(n{d} * {weight}) AS t{d}" for d in "xyz"), *(f"sum(a{d}) AS s{d}" for d in "xyz")])
    total = f"SELECT {sums}, array_agg(ax) AS xs, array_agg(ay) AS ys, array_agg(az) AS zs FROM ({with_length}) AS w"
    with_sizes = (
        f"SELECT *, sqrt({_dot('s', 's')}) AS middle, sqrt({_dot('t', 't')}) AS whole FROM ({total}) AS t OFFSET 0"
    )
    # It fits into half the sky: no corner is 90 degrees or more from the middle of the corners.
    nearest = "SELECT min(x * sx + y * sy + z * sz) FROM unnest(xs, ys, zs) AS c(x, y, z)"
    fits_half_sky = f"middle >= 1e-9 AND cardinality(xs) >= 3 AND ({nearest}) / NULLIF(middle, 0) > 1e-6"
    direction = f"CASE WHEN whole < 1e-13 THEN 0 WHEN {_dot('t', 's')} > 0 THEN 1 ELSE -1 END"
    signed = f"SELECT *, {direction} AS way FROM ({with_sizes}) AS z WHERE {fits_half_sky} OFFSET 0"
    axes = ", ".join(f"CASE way WHEN 0 THEN s{d} ELSE t{d} * way END AS c{d}" for d in "xyz")
    vector = f"SELECT {axes} FROM ({signed}) AS v OFFSET 0"
    x = "degrees(atan2(cy, cx))"
    longitude = f"CASE WHEN {x} < 0 THEN {x} + 360 ELSE {x} END"
    return f"(SELECT ARRAY[{longitude}, degrees(atan2(cz, sqrt(cx * cx + cy * cy)))]::float8[] FROM ({vector}) AS u)"

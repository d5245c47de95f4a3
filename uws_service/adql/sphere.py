"""Geometry on the unit sphere with numpy.

It serves constants in a query and DuckDB row by row. Angles are in radians.
A polygon is an array (n, 3) of unit vectors; its sides are great circles. It must fit into half the sky, and its inside
is the side that does, whichever way round the corners are given. In the gnomonic plane around its centre its sides are
straight lines, which makes the tests those of plane polygons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Truth = NDArray[np.bool_]

EDGE_RADIANS = 1e-13  # rounding of a point on a side or corner, 20 nanoarcseconds


def vectors(lon: Any, lat: Any) -> Array:
    """Return unit vectors (…, 3) of positions in degrees."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def degrees(vector: Array) -> tuple[Any, Any]:
    """Return longitude (0 to 360) and latitude."""
    lon = np.degrees(np.arctan2(vector[..., 1], vector[..., 0])) % 360.0
    return lon, np.degrees(np.arctan2(vector[..., 2], np.hypot(vector[..., 0], vector[..., 1])))


def between(a: Array, b: Array) -> Array:
    """Return the angles between unit vectors."""
    return np.asarray(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))


def polygon(numbers: Any) -> Array:
    """Return the corners of a DALI polygon.

    Raises `ValueError` if they are too few or too far apart.
    """
    numbers = np.asarray(numbers, dtype=float)
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("a polygon has at least three corners, each of two numbers")
    if not np.isfinite(numbers).all():
        raise ValueError("a corner of the polygon is not a number")
    corners = vectors(numbers[0::2], numbers[1::2])
    corners = corners[between(corners, np.roll(corners, 1, axis=0)) > EDGE_RADIANS]  # a corner given twice
    if len(corners) < 3:
        raise ValueError("the polygon has fewer than three different corners")
    _plane(corners)
    return corners


def _plane(corners: Array) -> tuple[Array, Array, Array]:
    """Return centre and two axes of the gnomonic plane."""
    total = corners.sum(axis=0)
    length = np.linalg.norm(total)
    if length < 1e-9 or ((corners @ total) / length).min() <= 1e-6:
        raise ValueError("the polygon does not fit into half the sky")
    centre = total / length
    first = np.cross(np.eye(3)[np.abs(centre).argmin()], centre)
    first /= np.linalg.norm(first)
    return centre, first, np.cross(centre, first)


def plane_corners(corners: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Return the gnomonic plane, and corners in it.

    Its centre, its two axes, and the corners' x and y.
    """
    centre, first, second = _plane(corners)
    depth = corners @ centre
    return centre, first, second, (corners @ first) / depth, (corners @ second) / depth


def in_polygon(points: Array, corners: Array) -> Truth:
    """Return whether points (m, 3) are in a polygon.

    Its boundary belongs to it.
    """
    centre, first, second, x, y = plane_corners(corners)
    depth = points @ centre
    ahead = depth > 0
    depth = np.where(ahead, depth, 1.0)
    u, w = (points @ first) / depth, (points @ second) / depth
    within = np.zeros(len(points), dtype=bool)
    for x1, y1, x2, y2 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        if x1 != x2:
            within ^= ((x1 > u) != (x2 > u)) & (w < y1 + (u - x1) * ((y2 - y1) / (x2 - x1)))
    result: Truth = (within & ahead) | (from_boundary(points, corners) <= EDGE_RADIANS)
    return result


def from_boundary(points: Array, corners: Array) -> Array:
    """Return the distance of points (m, 3) to the boundary."""
    nearest = np.full(len(points), np.pi)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        normal = np.cross(a, b)
        normal /= np.linalg.norm(normal)
        height = points @ normal
        # The foot of the perpendicular is on the side if it is right of a and left of b.
        beside = (points @ np.cross(normal, a) >= 0) & (points @ np.cross(b, normal) >= 0)
        distance = np.where(
            beside, np.abs(np.arcsin(np.clip(height, -1, 1))), np.minimum(between(points, a), between(points, b))
        )
        nearest = np.minimum(nearest, distance)
    return nearest


def sides_cross(first: Array, second: Array) -> bool:
    """Return whether sides cross, not only touch."""
    a, b = first[:, None], np.roll(first, -1, axis=0)[:, None]
    c, d = second[None], np.roll(second, -1, axis=0)[None]
    first_normals, second_normals = np.cross(a, b), np.cross(c, d)
    ca, da = (first_normals * c).sum(-1), (first_normals * d).sum(-1)
    ac, bc = (second_normals * a).sum(-1), (second_normals * b).sum(-1)
    parted = (ca * da < 0) & (ac * bc < 0) & (np.minimum(np.abs(ca), np.abs(da)) > EDGE_RADIANS)
    parted &= np.minimum(np.abs(ac), np.abs(bc)) > EDGE_RADIANS
    # Without this, sides that cross each other's antipodes would count.
    return bool((parted & (ca * bc > 0)).any())


def area(corners: Array) -> float:
    """Return the area of a polygon in steradians.

    It is the sum of the signed triangles of the centre with each side (Eriksson).
    """
    centre = _plane(corners)[0]
    after = np.roll(corners, -1, axis=0)
    volume = np.cross(corners, after) @ centre
    around = 1 + (corners * after).sum(-1) + after @ centre + corners @ centre
    return abs(float((2 * np.arctan2(volume, around)).sum()))


def centroid(corners: Array) -> Array:
    """Return the unit vector to a polygon's centroid.

    It has the direction of the sum of the sides' normals, each as long as its side.
    """
    after = np.roll(corners, -1, axis=0)
    normals = np.cross(corners, after)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    total = (normals * between(corners, after)[:, None]).sum(axis=0)
    length = np.linalg.norm(total)
    centre = _plane(corners)[0]
    if length < EDGE_RADIANS:
        return centre
    total = total / length
    return np.asarray(total if total @ centre > 0 else -total)


def box(lon: float, lat: float, width: float, height: float) -> list[float]:
    """Return the corners of a BOX as DALI polygon.

    Its sides cross the arms' ends at right angles (STC).
    """
    corners: list[float] = []
    for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        east, north = x * np.tan(np.radians(width) / 2), y * np.tan(np.radians(height) / 2)
        phi = np.radians(lat)
        out, up = np.cos(phi) - north * np.sin(phi), np.sin(phi) + north * np.cos(phi)
        corners += [
            float((lon + np.degrees(np.arctan2(east, out))) % 360.0),
            float(np.degrees(np.arctan2(up, np.hypot(east, out)))),
        ]
    return corners


def contains(inner: Any, outer: Any) -> bool:
    """Return whether a DALI geometry lies within another.

    Their lengths tell what they are; the outer one is a circle or a polygon.
    """
    if len(outer) == 3:
        middle, radius = vectors(outer[0], outer[1]), np.radians(outer[2])
        if len(inner) == 3:
            return bool(between(vectors(inner[0], inner[1]), middle) + np.radians(inner[2]) <= radius + EDGE_RADIANS)
        corners = vectors(np.asarray(inner)[0::2], np.asarray(inner)[1::2])
        if len(inner) > 2:
            polygon(inner)
            if radius > np.pi / 2:  # the complement is a circle then, and must be free of the polygon
                return not intersects([*_opposite(outer), 180 - outer[2] - 1e-11], inner)
        return bool((between(corners, middle) <= radius + EDGE_RADIANS).all())
    corners = polygon(outer)
    if len(inner) == 2:
        return bool(in_polygon(vectors(inner[0], inner[1])[None], corners)[0])
    if len(inner) == 3:
        middle = vectors(inner[0], inner[1])[None]
        return bool(
            in_polygon(middle, corners)[0] and from_boundary(middle, corners)[0] >= np.radians(inner[2]) - EDGE_RADIANS
        )
    inner_corners = polygon(inner)
    middles = _halves(inner_corners)
    return bool(
        in_polygon(np.concatenate([inner_corners, middles]), corners).all() and not sides_cross(inner_corners, corners)
    )


def _opposite(circle: Any) -> tuple[float, float]:
    return (float(circle[0]) + 180.0) % 360.0, -float(circle[1])


def _halves(corners: Array) -> Array:
    middles = corners + np.roll(corners, -1, axis=0)
    return np.asarray(middles / np.linalg.norm(middles, axis=-1, keepdims=True))


def intersects(first: Any, second: Any) -> bool:
    """Return whether two DALI geometries overlap or touch."""
    if len(first) == 2 or len(second) == 2:
        return contains(first, second) if len(first) == 2 else contains(second, first)
    if len(first) == 3 and len(second) == 3:
        angle = between(vectors(first[0], first[1]), vectors(second[0], second[1]))
        return bool(angle <= np.radians(first[2]) + np.radians(second[2]) + EDGE_RADIANS)
    if len(first) == 3 or len(second) == 3:
        circle, corners = (first, polygon(second)) if len(first) == 3 else (second, polygon(first))
        middle = vectors(circle[0], circle[1])[None]
        near = from_boundary(middle, corners)[0] <= np.radians(circle[2]) + EDGE_RADIANS
        return bool(near or in_polygon(middle, corners)[0])
    a, b = polygon(first), polygon(second)
    return bool(sides_cross(a, b) or in_polygon(a, b).any() or in_polygon(b, a).any())


def bounding_circle(corners: Array) -> tuple[float, float, float]:
    """Return a circle around a polygon.

    Longitude, latitude and radius are in degrees.
    """
    centre = _plane(corners)[0]
    lon, lat = degrees(centre)
    return float(lon), float(lat), float(np.degrees(between(corners, centre).max()))

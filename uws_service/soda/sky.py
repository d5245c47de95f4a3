"""Regions on the sphere with numpy. Pure; ICRS degrees.

Which points lie inside, and points along the edge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uws_service.soda.request import Circle, Polygon, Range, Shape

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
EDGE_POINTS = 2048
"""The extremes of a curve between two of them are off by a millionth of its size."""


def vectors(lon: Any, lat: Any) -> Floats:
    """Return unit vectors, shape (..., 3)."""
    along, up = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(up) * np.cos(along), np.cos(up) * np.sin(along), np.sin(up)], axis=-1)


def degrees(points: Floats) -> tuple[Floats, Floats]:
    """Return longitude (0 to 360) and latitude of vectors."""
    lon = np.degrees(np.arctan2(points[..., 1], points[..., 0])) % 360
    lat = np.degrees(np.arctan2(points[..., 2], np.hypot(points[..., 0], points[..., 1])))
    return lon, lat


def inside(shape: Shape, lon: Floats, lat: Floats) -> Bools:
    """Return whether points lie in a region or on its edge.

    NaN lies in none.
    """
    with np.errstate(invalid="ignore"):
        match shape:
            case Circle():
                near: Bools = _distance(shape, lon, lat) <= np.radians(shape.radius)
                return near
            case Range():
                east = ((lon - shape.west) % 360 <= shape.width) | (shape.width >= 360)
                between: Bools = east & (lat >= shape.south) & (lat <= shape.north)
                return between
            case Polygon():
                return _in_polygon(shape, vectors(lon, lat))


def edge(shape: Shape, count: int = EDGE_POINTS) -> tuple[Floats, Floats]:
    """Return about ``count`` points along the edge.

    The region's corners are among them.
    """
    match shape:
        case Circle():
            return degrees(_ring(shape, count))
        case Range():
            return _frame(shape, count // 4)
        case Polygon():
            corners = vectors(*np.array(shape.vertices).T)
            steps = max(16, count // len(corners))
            arcs = [_arc(a, b, steps) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
            return degrees(np.concatenate(arcs))


def bounding_circle(lon: Floats, lat: Floats) -> Circle:
    """Return a circle that holds all points.

    It is not always the smallest one.
    """
    points = vectors(lon, lat)
    middle = points.mean(axis=0)
    middle = middle / (np.linalg.norm(middle) or 1.0)
    chord = float(np.linalg.norm(points - middle, axis=-1).max())
    centre = degrees(middle)
    return Circle(float(centre[0]), float(centre[1]), float(np.degrees(2 * np.arcsin(min(1.0, chord / 2)))))


def _distance(shape: Circle, lon: Floats, lat: Floats) -> Floats:
    """Return the radians from a circle's centre.

    They are exact for small and for large angles.
    """
    half = np.linalg.norm(vectors(lon, lat) - vectors(shape.lon, shape.lat), axis=-1) / 2
    angle: Floats = 2 * np.arcsin(np.minimum(half, 1.0))
    return angle


def _basis(axis: Floats) -> tuple[Floats, Floats]:
    """Return two unit vectors across an axis and each other."""
    helper = np.eye(3)[np.argmin(np.abs(axis))]
    first = np.cross(axis, helper)
    first /= np.linalg.norm(first)
    return first, np.cross(axis, first)


def _ring(shape: Circle, count: int) -> Floats:
    axis = vectors(shape.lon, shape.lat)
    first, second = _basis(axis)
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
    radius = np.radians(shape.radius)
    ring: Floats = np.cos(radius) * axis + np.sin(radius) * (np.cos(angle) * first + np.sin(angle) * second)
    return ring


def _frame(shape: Range, count: int) -> tuple[Floats, Floats]:
    along, up = np.linspace(0, shape.width, count) + shape.west, np.linspace(shape.south, shape.north, count)
    parts = [(along, np.full(count, shape.south)), (along, np.full(count, shape.north))]
    if shape.width < 360:
        parts += [(np.full(count, shape.west), up), (np.full(count, shape.east), up)]
    lon, lat = np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
    return lon % 360, lat


def _arc(start: Floats, end: Floats, steps: int) -> Floats:
    """Return points of a great circle, without its end."""
    angle = 2 * np.arcsin(min(1.0, float(np.linalg.norm(end - start)) / 2))
    part = np.linspace(0, 1, steps, endpoint=False)[:, None]
    if angle < 1e-12:
        return start + part * (end - start)
    arc: Floats = (np.sin((1 - part) * angle) * start + np.sin(part * angle) * end) / np.sin(angle)
    return arc


def _in_polygon(shape: Polygon, points: Floats) -> Bools:
    """Return whether points lie in a polygon: count the crossings.

    Great circles are straight lines in the gnomonic projection on the polygon's middle.
    """
    corners = vectors(*np.array(shape.vertices).T)
    centre = corners.mean(axis=0)
    centre /= np.linalg.norm(centre)
    first, second = _basis(centre)

    def plane(vector: Floats) -> tuple[Floats, Floats, Floats]:
        depth = vector @ centre
        with np.errstate(divide="ignore", invalid="ignore"):
            return (vector @ first) / depth, (vector @ second) / depth, depth

    x, y, depth = plane(points)
    cx, cy, _ = plane(corners)
    within = np.zeros(points.shape[:-1], bool)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for ax, ay, bx, by in zip(cx, cy, np.roll(cx, -1), np.roll(cy, -1), strict=True):
            crosses = (ay > y) != (by > y)
            within ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    inside_plane: Bools = within & (depth > 1e-6)
    return inside_plane

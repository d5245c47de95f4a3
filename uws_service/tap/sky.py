"""Positions as a picture.

The whole sky in Hammer's equal-area projection, or a small region around its middle. SVG with presentation attributes
only, so that it needs no style of its own; east is left, as the sky is seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

Position = tuple[float, float]
WIDE_DEGREES = 60.0
"""Positions that are spread wider are drawn on the whole sky."""


def sky_svg(positions: Sequence[Position]) -> str:
    """Draw positions in degrees.

    Return an empty text for none.
    """
    if not positions:
        return ""
    middle = _middle(positions)
    reach = max(_distance(middle, position) for position in positions)
    return _whole_sky(positions) if reach > WIDE_DEGREES / 2 else _region(positions, middle, max(reach * 1.15, 1 / 60))


def pixels_per_degree(positions: Sequence[Position]) -> float:
    """Return the scale of the picture that positions get."""
    middle = _middle(positions)
    reach = max(_distance(middle, position) for position in positions)
    if reach > WIDE_DEGREES / 2:
        return 2 * 340 * math.sqrt(2) / 360  # at the middle of the map
    return math.radians(150 / math.tan(math.radians(max(reach * 1.15, 1 / 60))))


def cells_svg(positions: Sequence[Position], levels: Sequence[int], steps: int, edge: float, total: int) -> str:
    """Draw cells of the sky by their density.

    Parameters
    ----------
    positions
        The middles of the cells, in degrees.
    levels
        The density of each cell, from 0 to below ``steps``.
    edge
        The side of a cell, in degrees.
    total
        How many positions the cells hold, for the title.
    """
    middle = _middle(positions)
    reach = max(_distance(middle, position) for position in positions)
    if reach > WIDE_DEGREES / 2:
        scale = pixels_per_degree(positions)
        points = [_hammer(lon % 360, lat) for lon, lat in positions]
        return _svg(720, 360, [*_grid(), *_squares(points, levels, steps, edge * scale), *_grid_labels()],
                    f"{total} positions on the whole sky, counted in {len(positions)} cells")  # fmt: skip
    reach = max(reach * 1.15, edge, 1 / 60)
    scale = 150 / math.tan(math.radians(reach))
    points = [_tangent(position, middle, scale) for position in positions]
    squares = _squares(points, levels, steps, scale * math.radians(edge))
    words, size = _region_frame(middle, reach)
    title = f"{total} positions around {size}, counted in {len(positions)} cells"
    return _svg(360, 360, [*words[:2], *squares, *words[2:]], title)


def _squares(points: Sequence[Position], levels: Sequence[int], steps: int, side: float) -> Iterator[str]:
    """Yield one path for each level of density."""
    side = min(max(side, 1.2), 40)
    for level in range(steps):
        places = [point for point, number in zip(points, levels, strict=True) if number == level]
        if places:
            path = "".join(
                f"M{x - side / 2:.1f} {y - side / 2:.1f}h{side:.1f}v{side:.1f}h-{side:.1f}z" for x, y in places
            )
            yield f'<path d="{path}" fill="#1f77b4" fill-opacity="{0.35 + 0.65 * level / max(1, steps - 1):.2f}"/>'


def _vector(position: Position) -> tuple[float, float, float]:
    lon, lat = math.radians(position[0]), math.radians(position[1])
    return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)


def _middle(positions: Sequence[Position]) -> Position:
    x, y, z = (sum(part) for part in zip(*map(_vector, positions), strict=True))
    return math.degrees(math.atan2(y, x)) % 360, math.degrees(math.atan2(z, math.hypot(x, y)))


def _distance(first: Position, second: Position) -> float:
    chord = math.dist(_vector(first), _vector(second))
    return math.degrees(2 * math.asin(min(1.0, chord / 2)))


def _hammer(lon: float, lat: float) -> Position:
    """Project to a map of 720 by 360, centred at longitude 180."""
    half, phi = math.radians(180 - lon) / 2, math.radians(lat)
    scale = 1 / math.sqrt(1 + math.cos(phi) * math.cos(half))
    return 360 + 340 * math.cos(phi) * math.sin(half) * scale, 180 - 170 * math.sin(phi) * scale


def _whole_sky(positions: Sequence[Position]) -> str:
    dots = [_dot(*_hammer(lon % 360, lat)) for lon, lat in positions]
    return _svg(720, 360, [*_grid(), *dots, *_grid_labels()], f"{len(positions)} positions on the whole sky")


def _grid() -> list[str]:
    lines = [_path([_hammer(lon, lat) for lat in range(-90, 91, 5)]) for lon in range(0, 361, 30)]
    return lines + [_path([_hammer(lon, lat) for lon in range(0, 361, 5)]) for lat in range(-60, 61, 30)]


def _grid_labels() -> list[str]:
    labels = [_label(*_hammer(lon, 0), f"{lon}°") for lon in range(0, 360, 60)]
    return labels + [_label(*_hammer(180, lat), f"{lat:+d}°") for lat in (-60, -30, 30, 60)]


def _region(positions: Sequence[Position], middle: Position, reach: float) -> str:
    """Draw a tangent plane around the middle.

    The circle has the radius that is written below it.
    """
    scale = 150 / math.tan(math.radians(reach))
    dots = [_dot(*_tangent(position, middle, scale), 2.5) for position in positions]
    words, size = _region_frame(middle, reach)
    return _svg(360, 360, [*words[:2], *dots, *words[2:]], f"{len(positions)} positions around {size}")


def _tangent(position: Position, middle: Position, scale: float) -> Position:
    """Project to the tangent plane, on a map of 360 by 360."""
    lon0, lat0 = map(math.radians, middle)
    along, phi = math.radians(position[0]) - lon0, math.radians(position[1])
    depth = math.sin(lat0) * math.sin(phi) + math.cos(lat0) * math.cos(phi) * math.cos(along)
    x = math.cos(phi) * math.sin(along) / depth
    y = (math.cos(lat0) * math.sin(phi) - math.sin(lat0) * math.cos(phi) * math.cos(along)) / depth
    return 180 - scale * x, 180 - scale * y


def _region_frame(middle: Position, reach: float) -> tuple[list[str], str]:
    """Return circle, cross and words of a region, and its place as words."""
    size = f"{reach:.2g}°" if reach >= 1 else f"{reach * 60:.2g} arcmin"
    place = f"{middle[0]:.4f}° {middle[1]:+.4f}°, radius {size}"
    parts = [
        '<circle cx="180" cy="180" r="150" fill="none" stroke="currentColor" stroke-opacity="0.4"/>',
        '<path d="M180 170v20M170 180h20" fill="none" stroke="currentColor" stroke-opacity="0.4"/>',
        _label(180, 346, place),
        _label(16, 184, "E"),
        _label(180, 24, "N"),
    ]
    return parts, place


def _path(points: Sequence[Position]) -> str:
    text = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{text}" fill="none" stroke="currentColor" stroke-opacity="0.25"/>'


def _dot(x: float, y: float, radius: float = 1.8) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="#1f77b4" fill-opacity="0.7"/>'


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="11" text-anchor="middle" fill="currentColor">{text}</text>'


def _svg(width: int, height: int, parts: Sequence[str], title: str) -> str:
    def lines() -> Iterator[str]:
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">'
        yield f"<title>{title}</title>"
        yield from parts
        yield "</svg>"

    return "\n".join(lines())

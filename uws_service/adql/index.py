"""Sky indexes: conditions that many rows fail at once, put beside the exact one that they follow from.

DuckDB's tables are sorted by a HEALPix column, so that ranges of it skip row groups. PostgreSQL gets the conditions of
q3c or pgsphere, which use its indexes. Everything else gets a band of latitudes.
"""

from __future__ import annotations

import math

from uws_service.adql.physical import HEALPIX, bare, has_healpix, identifier, is_passing
from uws_service.adql.value import Sql, Translated

_MOST_RANGES = 16
_WIDEST = 60.0  # degrees; wider circles read the table
Pair = tuple[Translated, Translated]


def near(sql: Sql, one: Pair, other: Pair, radius: Translated) -> str | None:
    """A condition that holds wherever two points are at most ``radius`` degrees apart."""
    if _indexed(one) and not (_indexed(other) and _driving(other, one)):
        return _near_column(sql, one, other, radius)
    if _indexed(other):
        return _near_column(sql, other, one, radius)
    return None


def _driving(one: Pair, other: Pair) -> bool:
    """Whether ``other`` is an upload, or the first table, whose rows look for partners in ``one``."""
    first, second = one[0].origin, other[0].origin
    assert first is not None and second is not None
    if is_passing(first.table) != is_passing(second.table):
        return is_passing(second.table)
    return int(first.alias[2:-1]) > int(second.alias[2:-1])


def _indexed(point: Pair) -> bool:
    lon, lat = point[0].origin, point[1].origin
    if lon is None or lat is None or lon.alias != lat.alias:
        return False
    position = lon.table.position
    return position is not None and (lon.name, lat.name) == (bare(position[0]), bare(position[1]))


def _near_column(sql: Sql, column: Pair, other: Pair, radius: Translated) -> str | None:
    lon, lat, far = other[0].number, other[1].number, radius.number
    constant = lon is not None and lat is not None
    if far is not None and not 0 <= far < _WIDEST:
        return None
    origin = column[0].origin
    assert origin is not None
    if has_healpix(origin.table, sql.dialect) and lon is not None and lat is not None and far is not None:
        return _healpix(f"{origin.alias}.{identifier(HEALPIX)}", lon, lat, far)
    if sql.has("q3c") and far is not None:
        here = f"{sql.double(column[0])}, {sql.double(column[1])}"
        there = f"{sql.double(other[0])}, {sql.double(other[1])}"
        reach = sql.constant(_wider(far) + 1e-6)  # q3c finds nothing within 1e-9 degrees
        if constant:
            return f"q3c_radial_query({here}, {there}, {reach})"
        return f"q3c_join({there}, {here}, {reach})"
    if sql.has("pgsphere"):
        # pgsphere rounds angles of 1e-9 radians.
        reach = sql.constant(_wider(far) + 1e-6) if far is not None else f"({sql.double(radius)} + 1e-6)"
        return f"{spoint(sql, column)} <@ scircle({spoint(sql, other)}, radians({reach}))"
    return _band(sql, column[1], other[1], radius)


def _wider(degrees: float) -> float:
    return degrees * (1 + 1e-9) + 1e-9


def spoint(sql: Sql, point: Pair) -> str:
    """A point of pgsphere, written as indexes on it are."""
    return f"spoint(radians({sql.double(point[0])}), radians({sql.double(point[1])}))"


def _band(sql: Sql, column: Translated, other: Translated, radius: Translated) -> str:
    here, there = sql.double(column), sql.double(other)
    if other.number is not None and radius.number is not None:
        reach = _wider(radius.number)
        return f"{here} >= {sql.constant(other.number - reach)} AND {here} <= {sql.constant(other.number + reach)}"
    reach_sql = sql.constant(_wider(radius.number)) if radius.number is not None else f"({sql.double(radius)} + 1e-9)"
    return f"{here} >= {there} - {reach_sql} AND {here} <= {there} + {reach_sql}"


def _healpix(column: str, lon: float, lat: float, radius: float) -> str:
    ranges = healpix_ranges(lon, lat, radius)
    parts = [f"{column} BETWEEN {first} AND {last}" for first, last in ranges]
    # The outer bounds let the engine skip files and row groups even where it does not look into an OR.
    outer = f"{column} BETWEEN {ranges[0][0]} AND {ranges[-1][1]}"
    return outer if len(parts) == 1 else f"{outer} AND ({' OR '.join(parts)})"


def healpix_ranges(lon: float, lat: float, radius: float) -> list[tuple[int, int]]:
    """Ranges of nested HEALPix numbers of depth 29, both ends inside, that cover a circle (degrees)."""
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import cone_search

    reach = max(_wider(radius), 1e-6)
    depth = min(29, max(0, math.floor(math.log2(58.6 / reach)) + 2))
    cells, depths, _ = cone_search(Longitude(lon % 360.0, u.deg), Latitude(lat, u.deg), reach * u.deg, depth)
    ranges: list[tuple[int, int]] = []
    found = sorted(
        (int(cell) << 2 * (29 - int(deep)), ((int(cell) + 1) << 2 * (29 - int(deep))) - 1)
        for cell, deep in zip(cells, depths, strict=True)
    )
    for first, last in found:
        if ranges and first == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    while len(ranges) > _MOST_RANGES:
        gap = min(range(len(ranges) - 1), key=lambda i: ranges[i + 1][0] - ranges[i][1])
        ranges[gap : gap + 2] = [(ranges[gap][0], ranges[gap + 1][1])]
    return ranges

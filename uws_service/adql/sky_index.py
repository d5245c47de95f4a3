"""Sky indexes: cheap conditions beside the exact one.

They follow from it, and most rows fail them at once.
DuckDB's tables are sorted by a HEALPix column: its ranges skip row groups, and joins go by equal cells. PostgreSQL gets
the conditions of q3c or pgsphere, which use its indexes. Everything else gets a band of latitudes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from uws_service.adql.physical import HEALPIX, bare, column_names, has_healpix, identifier, is_transient, table_sql
from uws_service.adql.scope import Origin
from uws_service.adql.translated import Sql, Translated

CELL, ROW = "__cell", "__row"
_MAX_JOIN_DEPTH = 20  # cells of 0.1 arcsec; deeper ones gain nothing
_MAX_RANGES = 16
_MAX_RADIUS_DEGREES = 60.0  # wider circles read the table
Pair = tuple[Translated, Translated]


@dataclass(slots=True)
class Spread:
    """Tables that are replaced by others for joins.

    DuckDB then joins positions by equal HEALPix cells.
    The rows of one table stand once for each cell around their position. A row of the other table is in one cell, so a
    pair is found once at most. That is right where the condition must hold, and where the first table's rows need not
    be kept without a partner: ``allowed`` are such aliases at the place that is being translated. Where its rows must
    be kept but not those of the second one (upload LEFT JOIN catalogue), the second one is replaced by its rows that
    share a cell with some row, and that row's number. ``tables`` are the replacements by alias.
    """

    allowed: frozenset[str] = frozenset()
    tables: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def allowing(self, aliases: frozenset[str]) -> Iterator[None]:
        """Allow these tables to be spread meanwhile."""
        outer, self.allowed = self.allowed, aliases
        try:
            yield
        finally:
            self.allowed = outer

    def join(self, cells: Origin, lon: Origin, lat: Origin, radius: float) -> str | None:
        """Return the condition that joins by cells, or None."""
        # In cells of this depth a circle reaches into direct neighbours only: the narrowest one of depth n is
        # 40 / 2**n degrees wide.
        depth = min(_MAX_JOIN_DEPTH, math.floor(math.log2(36.0 / max(_with_margin(radius), 1e-6))))
        # A table is replaced for one pair only: the cells of a second partner would have to be equal too.
        if depth < 0 or lon.alias == cells.alias or {lon.alias, cells.alias} & set(self.tables):
            return None
        places = [bare(c.name) for c in lon.table.columns]
        names = column_names(lon.table, "duckdb")
        x, y = (identifier(names[places.index(o.name)]) for o in (lon, lat))
        spread = f"UNNEST(adql_cells(CAST({x} AS DOUBLE), CAST({y} AS DOUBLE), {depth})) AS {identifier(CELL)}"
        if lon.alias in self.allowed:
            self.tables[lon.alias] = f"(SELECT *, {spread} FROM {table_sql(lon.table)})"
            return f"{_cell(cells.alias, depth)} = {lon.alias}.{identifier(CELL)}"
        if cells.alias in self.allowed and is_transient(lon.table):
            candidates_around = f"SELECT rowid AS {identifier(ROW)}, {spread} FROM {table_sql(lon.table)}"
            on = f'{_cell(identifier("s"), depth)} = "u".{identifier(CELL)}'
            candidates = f'{table_sql(cells.table)} AS "s" JOIN ({candidates_around}) AS "u" ON {on}'
            self.tables[cells.alias] = f'(SELECT "s".*, "u".{identifier(ROW)} FROM {candidates})'
            return f"{cells.alias}.{identifier(ROW)} = {lon.alias}.rowid"
        return None


def _cell(alias: str, depth: int) -> str:
    return f"({alias}.{identifier(HEALPIX)} >> {2 * (29 - depth)})"


def near(sql: Sql, spread: Spread, first: Pair, second: Pair, radius: Translated) -> str | None:
    """Return what holds where two points are near.

    They are at most ``radius`` degrees apart.
    """
    if _indexed(first) and not (_indexed(second) and _driving(second, first)):
        return _near_column(sql, spread, first, second, radius)
    if _indexed(second):
        return _near_column(sql, spread, second, first, radius)
    return None


def _driving(first: Pair, second: Pair) -> bool:
    """Return whether the second table drives the join.

    Its rows then look for partners in the first.

    Those of an upload do, or else those of the table that comes first in FROM.
    """
    origin, partner = first[0].origin, second[0].origin
    assert origin is not None and partner is not None
    if is_transient(origin.table) != is_transient(partner.table):
        return is_transient(partner.table)
    return int(origin.alias[2:-1]) > int(partner.alias[2:-1])


def _indexed(point: Pair) -> bool:
    lon, lat = point[0].origin, point[1].origin
    if lon is None or lat is None or lon.alias != lat.alias:
        return False
    position = lon.table.position
    return position is not None and (lon.name, lat.name) == (bare(position[0]), bare(position[1]))


def _near_column(sql: Sql, spread: Spread, column: Pair, point: Pair, radius: Translated) -> str | None:
    lon, lat, radius_degrees = point[0].number, point[1].number, radius.number
    constant = lon is not None and lat is not None
    if radius_degrees is not None and not 0 <= radius_degrees < _MAX_RADIUS_DEGREES:
        return None
    origin = column[0].origin
    assert origin is not None
    if has_healpix(origin.table, sql.dialect) and lon is not None and lat is not None and radius_degrees is not None:
        return _healpix(f"{origin.alias}.{identifier(HEALPIX)}", lon, lat, radius_degrees)
    if has_healpix(origin.table, sql.dialect) and radius_degrees is not None:
        x, y = point[0].origin, point[1].origin
        if x is not None and y is not None and x.alias == y.alias:
            condition = spread.join(origin, x, y, radius_degrees)
            if condition is not None:
                return condition
    if sql.has("q3c") and radius_degrees is not None:
        position = f"{sql.double(column[0])}, {sql.double(column[1])}"
        partner = f"{sql.double(point[0])}, {sql.double(point[1])}"
        reach = sql.constant(_with_margin(radius_degrees) + 1e-6)  # q3c finds nothing within 1e-9 degrees
        if constant:
            return f"q3c_radial_query({position}, {partner}, {reach})"
        return f"q3c_join({partner}, {position}, {reach})"
    if sql.has("pgsphere"):
        # pgsphere rounds angles of 1e-9 radians.
        reach = f"({sql.double(radius)} + 1e-6)"
        if radius_degrees is not None:
            reach = sql.constant(_with_margin(radius_degrees) + 1e-6)
        return f"{spoint(sql, column)} <@ scircle({spoint(sql, point)}, radians({reach}))"
    return _band(sql, column[1], point[1], radius)


def _with_margin(degrees: float) -> float:
    return degrees * (1 + 1e-9) + 1e-9


def spoint(sql: Sql, point: Pair) -> str:
    """Return a point as pgsphere's indexes have it."""
    return f"spoint(radians({sql.double(point[0])}), radians({sql.double(point[1])}))"


def _band(sql: Sql, column: Translated, latitude: Translated, radius: Translated) -> str:
    text, centre = sql.double(column), sql.double(latitude)
    if latitude.number is not None and radius.number is not None:
        reach = _with_margin(radius.number)
        low, high = sql.constant(latitude.number - reach), sql.constant(latitude.number + reach)
        return f"{text} >= {low} AND {text} <= {high}"
    reach_sql = f"({sql.double(radius)} + 1e-9)"
    if radius.number is not None:
        reach_sql = sql.constant(_with_margin(radius.number))
    return f"{text} >= {centre} - {reach_sql} AND {text} <= {centre} + {reach_sql}"


def _healpix(column: str, lon: float, lat: float, radius: float) -> str:
    ranges = healpix_ranges(lon, lat, radius)
    parts = [f"{column} BETWEEN {first} AND {last}" for first, last in ranges]
    # The outer bounds let the engine skip files and row groups even where it does not look into an OR.
    outer = f"{column} BETWEEN {ranges[0][0]} AND {ranges[-1][1]}"
    return outer if len(parts) == 1 else f"{outer} AND ({' OR '.join(parts)})"


def healpix_ranges(lon: float, lat: float, radius: float) -> list[tuple[int, int]]:
    """Return ranges of HEALPix numbers that cover a circle.

    The numbers are nested, of depth 29; both ends are inside. The circle is in degrees.
    """
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import cone_search

    reach = max(_with_margin(radius), 1e-6)
    depth = min(29, max(0, math.floor(math.log2(58.6 / reach)) + 2))
    cells, depths, _ = cone_search(Longitude(lon % 360.0, u.deg), Latitude(lat, u.deg), reach * u.deg, depth)
    ranges: list[tuple[int, int]] = []
    covered = sorted(
        (int(cell) << 2 * (29 - int(cell_depth)), ((int(cell) + 1) << 2 * (29 - int(cell_depth))) - 1)
        for cell, cell_depth in zip(cells, depths, strict=True)
    )
    for first, last in covered:
        if ranges and first == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    while len(ranges) > _MAX_RANGES:
        gap = min(range(len(ranges) - 1), key=lambda i: ranges[i + 1][0] - ranges[i][1])
        ranges[gap : gap + 2] = [(ranges[gap][0], ranges[gap + 1][1])]
    return ranges

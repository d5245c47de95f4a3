"""Geometries as values of pgsphere's types in PostgreSQL."""

from __future__ import annotations

from uws_service.adql.errors import Fault
from uws_service.adql.shapes import numbers_of
from uws_service.adql.sky_index import spoint
from uws_service.adql.translated import Sql, Translated


def to_pgsphere(sql: Sql, value: Translated) -> str:
    """Return a geometry as spoint, scircle or spoly."""
    if not sql.has("pgsphere"):
        hint = "A point in a constant POLYGON, and circles, do."
        raise Fault("this server's PostgreSQL can't compare these regions without pgsphere", value.at, hint)
    if value.type == "polygon":
        return to_spoly(sql, value)
    numbers = numbers_of(value)
    point = spoint(sql, (numbers[0], numbers[1]))
    return point if value.type == "point" else f"scircle({point}, radians({sql.double(numbers[2])}))"


def to_spoly(sql: Sql, value: Translated) -> str:
    """Return a polygon as spoly, read from text."""
    if not sql.has("pgsphere"):
        raise Fault("this server's PostgreSQL can't compute with polygons of columns without pgsphere", value.at)
    corners = (
        f"SELECT string_agg('(' || radians(n[2 * i - 1]) || ',' || radians(n[2 * i]) || ')', ',' ORDER BY i)"
        f" FROM (SELECT {value.sql} AS n) AS polygon, generate_series(1, array_length(n, 1) / 2) AS i"
    )
    return f"CAST('{{' || ({corners}) || '}}' AS spoly)"

"""The functions of ADQL (ADQL 2.1 §2.3, §4).

How many arguments each takes, and the SQL of those that compute numbers from numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signature:
    """The number of arguments of a function.

    ``form`` is how a person writes it.

    ``feature`` is the kind of optional features that it belongs to (TAPRegExt 1.0 §2.3), None for what every service
    has; ``announced`` are its forms there if its name is not enough.
    """

    form: str
    min_arguments: int
    max_arguments: int
    feature: str | None = None
    announced: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Maths:
    """SQL of a function of doubles in both dialects.

    ``{0}`` and ``{1}`` stand for arguments; ``unit`` is the result's.
    A unit of ``=`` is that of the argument.
    """

    duckdb: str
    postgresql: str
    unit: str | None = None


GEOMETRY, STRING, UNIT, USER_DEFINED = "features-adqlgeo", "features-adql-string", "features-adql-unit", "features-udf"

AGGREGATES = ("COUNT", "SUM", "AVG", "MIN", "MAX")

# What PostgreSQL refuses by itself and DuckDB would answer with infinity or NaN. PostgreSQL refuses underflow too.
_EXP = "(CASE WHEN {0} > 709.782712893384e0 AND isfinite({0}) THEN error('overflow in EXP') ELSE exp({0}) END)"
_POWER = (
    "(CASE WHEN {0} < 0 AND isfinite({1}) AND {1} <> floor({1}) THEN error('POWER of a negative number') "
    "WHEN isinf(power({0}, {1})) AND isfinite({0}) AND isfinite({1}) THEN error('overflow in POWER') "
    "ELSE power({0}, {1}) END)"
)


def _alike(sql: str, unit: str | None = None) -> Maths:
    return Maths(sql, sql, unit)


MATHS = {
    "DEGREES": _alike("degrees({0})", "deg"),
    "RADIANS": _alike("radians({0})", "rad"),
    "EXP": Maths(_EXP, "(CASE WHEN {0} < -745.2 THEN 0 ELSE exp({0}) END)"),
    "LOG": _alike("ln({0})"),
    "LOG10": Maths("log10({0})", "log({0})"),
    "POWER": Maths(_POWER, "power({0}, {1})"),
    "SQRT": _alike("sqrt({0})"),
    "CEILING": _alike("ceil({0})", "="),
    "FLOOR": _alike("floor({0})", "="),
    "PI": _alike("pi()"),
    "ACOS": _alike("acos({0})", "rad"),
    "ASIN": _alike("asin({0})", "rad"),
    "ATAN": _alike("atan({0})", "rad"),
    "ATAN2": _alike("atan2({0}, {1})", "rad"),
    "COS": _alike("cos({0})"),
    "SIN": _alike("sin({0})"),
    "TAN": _alike("tan({0})"),
    "COT": _alike("(1 / tan({0}))"),
}

_OF_ONE_NUMBER = "DEGREES RADIANS EXP LOG LOG10 SQRT CEILING FLOOR ACOS ASIN ATAN COS SIN TAN COT ABS".split()

FUNCTIONS: dict[str, Signature] = {
    **{name: Signature(f"{name}(x)", 1, 1) for name in _OF_ONE_NUMBER},
    "PI": Signature("PI()", 0, 0),
    "RAND": Signature("RAND()", 0, 1),
    "ATAN2": Signature("ATAN2(y, x)", 2, 2),
    "POWER": Signature("POWER(x, y)", 2, 2),
    "MOD": Signature("MOD(x, y)", 2, 2),
    "ROUND": Signature("ROUND(x, digits)", 1, 2),
    "TRUNCATE": Signature("TRUNCATE(x, digits)", 1, 2),
    "LOWER": Signature("LOWER(string)", 1, 1, STRING),
    "UPPER": Signature("UPPER(string)", 1, 1, STRING),
    # Its kind, features-adql-conditional, is an error to the STILTS of today's distributions.
    "COALESCE": Signature("COALESCE(a, b, …)", 1, 200),
    "IN_UNIT": Signature("IN_UNIT(value, 'unit')", 2, 2, UNIT),
    "POINT": Signature("POINT(lon, lat)", 2, 3, GEOMETRY),
    "CIRCLE": Signature("CIRCLE(lon, lat, radius) or CIRCLE(point, radius)", 2, 4, GEOMETRY),
    "BOX": Signature("BOX(lon, lat, width, height) or BOX(point, width, height)", 3, 5, GEOMETRY),
    "POLYGON": Signature("POLYGON(lon1, lat1, lon2, lat2, lon3, lat3, …) or of points", 3, 2001, GEOMETRY),
    "REGION": Signature("REGION('CIRCLE ICRS lon lat radius')", 1, 1, GEOMETRY),
    "CONTAINS": Signature("CONTAINS(inner, outer)", 2, 2, GEOMETRY),
    "INTERSECTS": Signature("INTERSECTS(one, other)", 2, 2, GEOMETRY),
    "DISTANCE": Signature(
        "DISTANCE(point, point), DISTANCE(region, point) or DISTANCE(lon1, lat1, lon2, lat2)", 2, 4, GEOMETRY
    ),
    "AREA": Signature("AREA(region)", 1, 1, GEOMETRY),
    "CENTROID": Signature("CENTROID(region)", 1, 1, GEOMETRY),
    "COORD1": Signature("COORD1(point)", 1, 1, GEOMETRY),
    "COORD2": Signature("COORD2(point)", 1, 1, GEOMETRY),
    "COORDSYS": Signature("COORDSYS(geometry)", 1, 1, GEOMETRY),
    "IVO_HEALPIX_INDEX": Signature(
        "IVO_HEALPIX_INDEX(order, lon, lat) or IVO_HEALPIX_INDEX(order, point)",
        2,
        3,
        USER_DEFINED,
        (
            "ivo_healpix_index(hpxOrder INTEGER, long REAL, lat REAL) -> BIGINT",
            "ivo_healpix_index(hpxOrder INTEGER, p POINT) -> BIGINT",
        ),
        "The number of the HEALPix cell in the nested scheme that a position lies in.",
    ),
}

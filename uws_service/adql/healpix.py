"""HEALPix numbers in plain SQL.

For a PostgreSQL that has no function for them (Górski et al. 2005, nested scheme).
"""

from __future__ import annotations

_MASKS = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)
"""How the bits of a 32-bit number are moved apart, a zero after each."""


def _levels(columns: list[str], source: str) -> str:
    """Select columns from a query.

    OFFSET 0 keeps each of them from being written out wherever it is used.
    """
    return f"SELECT {', '.join(columns)} FROM ({source}) AS h OFFSET 0"


def nested_index_sql(order: int, lon: str, lat: str) -> str:
    """Return the HEALPix number of a position as SQL.

    It is of the nested scheme, and NULL where there is no position; positions are in degrees.
    """
    side = 1 << order
    good = f"{lat} BETWEEN -90 AND 90 AND {lon} > '-infinity' AND {lon} < 'infinity'"
    quarter = "(x - 360 * floor(x / 360)) / 90"
    source = f"SELECT CAST({lon} AS float8) AS x, CAST({lat} AS float8) AS y WHERE {good} OFFSET 0"
    # t: longitude in quarters of a turn, from 0 to below 4; z: sine of the latitude.
    source = _levels([f"{quarter} AS q", "sin(radians(y)) AS z", "cos(radians(y)) AS c"], source)
    turn = "CASE WHEN q < 4 THEN q ELSE 0 END AS t"  # a small negative longitude is rounded up to 360 degrees
    source = _levels([turn, "z", "c", "abs(z) <= 2.0::float8 / 3 AS belt"], source)
    polar = f"{side} * c / sqrt((1 + abs(z)) / 3)"
    source = _levels(
        [
            "z",
            "belt",
            "floor(t)::bigint AS n",
            f"CASE WHEN belt THEN floor({side} * (0.5 + t) - {side} * (z * 0.75))"
            f" ELSE least(floor((t - floor(t)) * {polar}), {side - 1}) END::bigint AS jp",
            f"CASE WHEN belt THEN floor({side} * (0.5 + t) + {side} * (z * 0.75))"
            f" ELSE least(floor((1 - (t - floor(t))) * {polar}), {side - 1}) END::bigint AS jm",
        ],
        source,
    )
    fp, fm = f"(jp >> {order})", f"(jm >> {order})"
    face = f"CASE WHEN {fp} = {fm} THEN {fp} | 4 WHEN {fp} < {fm} THEN {fp} ELSE {fm} + 8 END"
    source = _levels(
        [
            f"CASE WHEN belt THEN {face} WHEN z >= 0 THEN n ELSE n + 8 END AS face",
            f"CASE WHEN belt THEN jm & {side - 1} WHEN z >= 0 THEN {side - 1} - jm ELSE jp END AS ix",
            f"CASE WHEN belt THEN {side - 1} - (jp & {side - 1}) WHEN z >= 0 THEN {side - 1} - jp ELSE jm END AS iy",
        ],
        source,
    )
    for shift, mask in _MASKS:
        source = _levels(["face", *(f"(({i} | ({i} << {shift})) & {mask}) AS {i}" for i in ("ix", "iy"))], source)
    return f"(SELECT (face << {2 * order}) | ix | (iy << 1) FROM ({source}) AS h)"

"""The SQL of ROUND, TRUNCATE and CAST to an integer.

It is exact for every double and every integer (ADQL 2.1 §2.3).
A double from 2^52 on is whole, and an integer from 2^53 on fits no double: neither may change by being rounded.
"""

from __future__ import annotations

from uws_service.adql.translated import Sql, Translated, arithmetic_type
from uws_service.adql.types import INTEGERS

_WHOLE_FROM = 2.0**52
_BELOW_HALF = 0.49999999999999994
"""The largest double below 0.5: x + 0.5 itself is rounded up just below a half and above 2^52."""
_LONG_DIGITS = 18
"""Powers of ten up to this one are of the type long."""


def nearest_whole(sql: Sql, number: str) -> str:
    """Return the nearest whole number, halves away from zero."""
    half = f"CASE WHEN {number} < 0 THEN {sql.constant(-_BELOW_HALF)} ELSE {sql.constant(_BELOW_HALF)} END"
    return f"trunc({number} + {half})"


def is_exact(value: Translated, digits: int) -> bool:
    """Return whether rounding is done with integers.

    No digit of a long gets lost then.
    """
    return value.type in INTEGERS and digits >= -_LONG_DIGITS


def rounded_integer(sql: Sql, name: str, value: Translated, digits: int) -> tuple[str, str]:
    """Return SQL and type of a rounded integer."""
    if digits >= 0:
        kind = arithmetic_type(value.type)
        return sql.cast(value, kind), kind
    number, unit = sql.cast(value, "long"), 10**-digits
    remainder = f"({number} % {unit})"
    if name == "TRUNCATE":
        return f"({number} - {remainder})", "long"
    half = unit // 2
    up = f"CASE WHEN {remainder} >= {half} THEN {unit} WHEN {remainder} <= -{half} THEN -{unit} ELSE 0 END"
    return f"({number} - {remainder} + {up})", "long"


def rounded_double(sql: Sql, name: str, value: Translated, digits: int) -> str:
    """Return the SQL of a rounded double."""
    number = sql.double(value)
    if not digits:
        return f"({nearest_whole(sql, number)})" if name == "ROUND" else f"trunc({number})"
    scale = float(10 ** abs(digits))
    up, down = ("*", "/") if digits > 0 else ("/", "*")
    scaled = f"({number} {up} {sql.constant(scale)})"
    nearest = f"({nearest_whole(sql, scaled)} {down} {sql.constant(scale)})"
    # What has no digits beyond these stays as it is; the product with the scale would lose some of its own.
    limit = sql.constant(_WHOLE_FROM / scale if digits > 0 else _WHOLE_FROM * scale)
    if name == "ROUND":
        return f"(CASE WHEN abs({number}) < {limit} THEN {nearest} ELSE {number} END)"
    cut = f"(trunc({scaled}) {down} {sql.constant(scale)})"
    # 0.29 * 100 is 28.999999999999996, though 0.29 has two digits already.
    return f"(CASE WHEN abs({number}) < {limit} AND {nearest} <> {number} THEN {cut} ELSE {number} END)"

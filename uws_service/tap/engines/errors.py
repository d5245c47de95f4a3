"""Errors of queries that end before their time."""

from __future__ import annotations

import re

from uws_service.adql.model import Translation
from uws_service.domain.errors import UsageError, UwsError
from uws_service.tap.engines.base import Bounds


class QueryTooLarge(UsageError):
    """A query that exceeds its time, memory or disk."""


def too_slow(bounds: Bounds) -> QueryTooLarge:
    """Return the error of a query out of time."""
    return QueryTooLarge(
        f"The query took longer than its {bounds.seconds:g} seconds. Narrow it with WHERE, join by columns instead of "
        "everything with everything, or run it asynchronously with a longer execution duration."
    )


def too_big(bounds: Bounds) -> QueryTooLarge:
    """Return the error of a query out of memory or disk."""
    return QueryTooLarge(
        f"The query needs more than its {bounds.memory / 1e6:.0f} MB of memory. Narrow it with WHERE, sort or group "
        "fewer rows, or return fewer columns."
    )


_EXPLANATIONS = (
    (r"undefined outside|input is out of range", "a function of a number outside its range, such as ACOS(2)"),
    (r"division by zero", "a division by zero"),
    (r"zero raised to a negative power", "zero to a negative power"),
    (r"logarithm of", "the logarithm of a number that is not positive"),
    (r"square root of a negative", "the square root of a negative number"),
    (r"POWER of a negative|negative number raised to a non-integer", "a negative number to a power that is no integer"),
    (
        r"overflow|out of range|too large to|underflow|can't be cast because the value",
        "a number that is too large for its type",
    ),
    (r"more than one row returned|More than one row", "a subquery with more than one row in place of a value"),
    (
        r"invalid input syntax|could not convert|Conversion Error|invalid.*timestamp|date/time field",
        "a string that can't be cast",
    ),
)


def bad_value(message: str) -> UsageError | None:
    """Translate an engine's error about a value.

    None for others.
    """
    for pattern, explanation in _EXPLANATIONS:
        if re.search(pattern, message, re.IGNORECASE):
            return UsageError(f"The query can't be answered: it has {explanation}.")
    return None


def engine_failure() -> UwsError:
    """Return the error for an engine's failure.

    The translator should have refused such a query; the engine's own message stays in the log.
    """
    return UwsError("The query engine failed on this query. The operator finds the reason in the log.")


def with_row_limit(translation: Translation, rows: int) -> str:
    """Return the SQL with a limit on its rows."""
    if translation.limit is None:
        return f"{translation.sql} LIMIT {rows}"
    if translation.limit <= rows:
        return translation.sql
    return f"{translation.sql.removesuffix(f' LIMIT {translation.limit}')} LIMIT {rows}"

"""What ends a query before its time, in words for a person."""

from __future__ import annotations

import re

from uws_service.adql.model import Translation
from uws_service.domain.errors import UsageError, UwsError
from uws_service.tap.engines.base import Bounds


class QueryTooLarge(UsageError):
    """A query that takes more time, memory or disk than it may."""


def too_slow(bounds: Bounds) -> QueryTooLarge:
    """The query ran out of time."""
    return QueryTooLarge(
        f"The query took longer than its {bounds.seconds:g} seconds. Narrow it with WHERE, join by columns instead of "
        "everything with everything, or run it asynchronously with a longer execution duration."
    )


def too_big(bounds: Bounds) -> QueryTooLarge:
    """The query ran out of memory or disk."""
    return QueryTooLarge(
        f"The query needs more than its {bounds.memory / 1e6:.0f} MB of memory. Narrow it with WHERE, sort or group "
        "fewer rows, or return fewer columns."
    )


_WORDS = (
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
    """An engine's complaint about a value; None if it is about something else."""
    for pattern, words in _WORDS:
        if re.search(pattern, message, re.IGNORECASE):
            return UsageError(f"The query can't be answered: it has {words}.")
    return None


def unknown() -> UwsError:
    """What the translator should have refused: the engine's own words stay in the log."""
    return UwsError("The query engine failed on this query. The operator finds the reason in the log.")


def limited(translation: Translation, rows: int) -> str:
    """The SQL with at most that many rows."""
    if translation.limit is None:
        return f"{translation.sql} LIMIT {rows}"
    if translation.limit <= rows:
        return translation.sql
    return f"{translation.sql.removesuffix(f' LIMIT {translation.limit}')} LIMIT {rows}"

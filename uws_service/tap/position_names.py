"""Columns that hold positions, by their names: for tables without UCDs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from uws_service.adql.model import Column

_NAMES = {
    "ra": r"_?raj2000|ra|ra_?deg|right_?ascension|ra_?icrs|radeg\w*|alpha\w*",
    "dec": r"_?dej2000|dec|dec_?deg|de_?deg|declination|de_?icrs|dedeg\w*|decdeg\w*|delta\w*",
}
_DEGREES = frozenset({None, "deg", "degree", "degrees"})


def is_angle(column: Column) -> bool:
    """Return whether a column can hold degrees."""
    return column.datatype in ("float", "double") and column.arraysize is None and column.unit in _DEGREES


def columns_named(axis: str, columns: Sequence[Column]) -> list[int]:
    """Return the numbers of the columns that are named as right ascension (``ra``) or declination (``dec``) is."""
    return [
        number
        for number, column in enumerate(columns)
        if re.fullmatch(_NAMES[axis], column.name.lower()) and is_angle(column)
    ]


def guessed_positions(columns: Sequence[Column]) -> tuple[int, int] | None:
    """Return the numbers of two columns that are positions by their names."""
    lon, lat = columns_named("ra", columns), columns_named("dec", columns)
    return (lon[0], lat[0]) if lon and lat else None

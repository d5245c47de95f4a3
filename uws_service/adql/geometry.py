"""Geometry in ADQL to SQL (ADQL 2.1 §4.2).

Both engines get the same formulas, with a condition of an index beside them.
A geometry is an array of doubles in the engines, as in DALI: point 2 numbers, circle 3, polygon 6 or more, in degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from uws_service.adql import measures, predicates, regions, shapes, sky_index
from uws_service.adql.errors import Fault
from uws_service.adql.translated import Sql, Translated
from uws_service.adql.types import STRINGS


class Geometry:
    """The geometry functions of one query."""

    def __init__(self, sql: Sql) -> None:
        self.sql = sql
        self.spread = sky_index.Spread()
        self._functions: dict[str, Callable[[Sql, int, list[Translated]], Translated]] = {
            **shapes.CONSTRUCTORS,
            "REGION": shapes.region,
            "CONTAINS": lambda sql, at, arguments: predicates.contains(sql, self.spread, at, arguments),
            "INTERSECTS": lambda sql, at, arguments: predicates.intersects(sql, self.spread, at, arguments),
            "DISTANCE": measures.distance,
            "AREA": measures.area,
            "CENTROID": measures.centroid,
            "COORD1": measures.first_coordinate,
            "COORD2": measures.second_coordinate,
            "COORDSYS": measures.coordinate_system,
            "IVO_HEALPIX_INDEX": measures.healpix_index,
        }

    def call(self, name: str, at: int, arguments: list[Translated]) -> Translated | None:
        """Translate a call, or return None for other functions."""
        function = self._functions.get(name)
        if function is None:
            return None
        if name in shapes.CONSTRUCTORS and arguments[0].type in STRINGS:
            if not arguments[0].literal:
                raise Fault("the coordinate system is not a string constant", arguments[0].at, "It may be left out.")
            if (frame := regions.other_frame(arguments[0].sql)) is not None:
                raise Fault(f"positions are in ICRS here, not in {frame}", arguments[0].at)
            arguments = arguments[1:]
        return replace(function(self.sql, at, arguments), name=name.lower())

    def distance_index(self, value: Translated, radius: Translated) -> str | None:
        """Return what follows from DISTANCE(…) <= radius.

        None if the value is no such distance.
        """
        if value.name != "distance" or value.shape is None:
            return None
        numbers = value.shape.numbers
        return sky_index.near(self.sql, self.spread, (numbers[0], numbers[1]), (numbers[2], numbers[3]), radius)

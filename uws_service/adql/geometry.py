"""Geometry in ADQL to SQL (ADQL 2.1 §4.2): the same formulas on both engines, with an index beside them.

A geometry is an array of doubles in the engines, as in DALI: point 2 numbers, circle 3, polygon 6 or more, in degrees.
Polygons are computed by functions of ours in DuckDB. PostgreSQL computes a point in a constant polygon in plain SQL and
leaves the rest to pgsphere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from uws_service.adql import regions, sky_index, sphere
from uws_service.adql.centroids import centroid_sql
from uws_service.adql.errors import Fault
from uws_service.adql.functions import FUNCTIONS
from uws_service.adql.healpix import nested_index_sql
from uws_service.adql.translated import Shape, Sql, Translated, made, must_be_number
from uws_service.adql.types import GEOMETRIES, INTEGERS, STRINGS, in_words

T = TypeVar("T")
_SQUARE_DEGREES = (180 / math.pi) ** 2


class Shapes:
    """The geometry functions of one query."""

    def __init__(self, sql: Sql) -> None:
        self.sql = sql
        self.spread = sky_index.Spread()
        self._functions: dict[str, Callable[[int, list[Translated]], Translated]] = {
            "POINT": self._point,
            "CIRCLE": self._circle,
            "BOX": self._box,
            "POLYGON": self._polygon,
            "REGION": self._region,
            "CONTAINS": self._contains,
            "INTERSECTS": self._intersects,
            "DISTANCE": self._distance,
            "AREA": self._area,
            "CENTROID": self._centroid,
            "COORD1": lambda at, a: self._coordinate(at, a[0], 0),
            "COORD2": lambda at, a: self._coordinate(at, a[0], 1),
            "COORDSYS": self._coordsys,
            "IVO_HEALPIX_INDEX": self._healpix_index,
        }

    def call(self, name: str, at: int, arguments: list[Translated]) -> Translated | None:
        """The function of that name; None if it is not one of geometry."""
        function = self._functions.get(name)
        if function is None:
            return None
        if name in ("POINT", "CIRCLE", "BOX", "POLYGON") and arguments[0].type in STRINGS:
            if not arguments[0].literal:
                raise Fault("the coordinate system is not a string constant", arguments[0].at, "It may be left out.")
            if (frame := regions.other_frame(arguments[0].sql)) is not None:
                raise Fault(f"positions are in ICRS here, not in {frame}", arguments[0].at)
            arguments = arguments[1:]
        return replace(function(at, arguments), name=name.lower())

    # Making geometries.

    def shape(self, kind: str, at: int, numbers: list[Translated]) -> Translated:
        """A geometry of numbers, checked where they are constants."""
        sql = self.sql
        for place, number in enumerate(numbers):
            if number.number is not None and place % 2 and not (kind == "circle" and place == 2):
                _check_latitude(number)
        array = sql.array([sql.double(n) for n in numbers])
        unknown = [f"{text} IS NULL" for text in dict.fromkeys(sql.double(n) for n in numbers if n.number is None)]
        if unknown:
            array = f"(CASE WHEN {' OR '.join(unknown)} THEN NULL ELSE {array} END)"
        return replace(made(array, kind, at, *numbers), shape=Shape(tuple(numbers)))

    def _point(self, at: int, arguments: list[Translated]) -> Translated:
        _count("POINT", at, arguments, 2)
        for number in arguments:
            must_be_number(number, "POINT")
        return self.shape("point", at, arguments)

    def _circle(self, at: int, arguments: list[Translated]) -> Translated:
        lon, lat, radius = self._around("CIRCLE", at, arguments, 1)
        if radius.number is not None and not 0 <= radius.number <= 180:
            raise Fault(f"the radius of a CIRCLE is {radius.number:g} degrees", radius.at, "It is from 0 to 180.")
        return self.shape("circle", at, [lon, lat, radius])

    def _around(self, name: str, at: int, arguments: list[Translated], sizes: int) -> list[Translated]:
        """Centre as point or two numbers, and sizes, as numbers."""
        if arguments and arguments[0].type == "point":
            _count(name, at, arguments, 1 + sizes)
            numbers = [*self.numbers(arguments[0]), *arguments[1:]]
        else:
            _count(name, at, arguments, 2 + sizes)
            numbers = arguments
        for number in numbers:
            must_be_number(number, name)
        return numbers

    def _box(self, at: int, arguments: list[Translated]) -> Translated:
        lon, lat, width, height = self._around("BOX", at, arguments, 2)
        constant = Shape((lon, lat, width, height)).constant
        if lat.number is not None:
            _check_latitude(lat)
        for size in (width, height):
            if size.number is not None and not 0 < size.number < 180:
                raise Fault(f"a side of the BOX is {size.number:g} degrees", size.at, "It is between 0 and 180.")
        if constant is not None:
            corners = sphere.box(constant[0], constant[1], constant[2], constant[3])
            return self.shape("polygon", at, [self._constant(c, at) for c in corners])
        a, b, w, h = (self.sql.double(n) for n in (lon, lat, width, height))
        numbers: list[Translated] = []
        for x, y in (("-", "-"), ("", "-"), ("", ""), ("-", "")):
            east, north = f"({x}tan(radians({w}) / 2))", f"({y}tan(radians({h}) / 2))"
            out = f"(cos(radians({b})) - {north} * sin(radians({b})))"
            up = f"(sin(radians({b})) + {north} * cos(radians({b})))"
            corner = (
                f"({a} + degrees(atan2({east}, {out})))",
                f"degrees(atan2({up}, sqrt({east} * {east} + {out} * {out})))",
            )
            numbers += [made(c, "double", at, lon, lat, width, height) for c in corner]
        return self.shape("polygon", at, numbers)

    def _constant(self, number: float, at: int) -> Translated:
        return Translated(self.sql.constant(number), "double", at, number=number)

    def _polygon(self, at: int, arguments: list[Translated]) -> Translated:
        if arguments and arguments[0].type == "point":
            for point in arguments:
                if point.type != "point":
                    raise Fault("POLYGON takes either points or numbers, not both", point.at)
            arguments = [n for point in arguments for n in self.numbers(point)]
        for number in arguments:
            if number.type == "point":
                raise Fault("POLYGON takes either points or numbers, not both", number.at)
            must_be_number(number, "POLYGON")
        if len(arguments) < 6 or len(arguments) % 2:
            hint = "A polygon has at least three corners, each of longitude and latitude."
            raise Fault(f"POLYGON has {len(arguments)} coordinates", at, hint)
        found = self.shape("polygon", at, arguments)
        assert found.shape is not None
        if (constant := found.shape.constant) is not None:
            _checked(sphere.polygon, at, constant)
        return found

    def _region(self, at: int, arguments: list[Translated]) -> Translated:
        """A region in words: the function that they name."""
        text = arguments[0]
        if text.type not in STRINGS or not text.literal:
            raise Fault("the text of REGION is not a string constant", text.at, f"Write {FUNCTIONS['REGION'].form}.")
        name, numbers = _checked(regions.parse_region, text.at, text.sql[1:-1].replace("''", "'"))
        return self._functions[name](text.at, [self._constant(number, text.at) for number in numbers])

    def numbers(self, value: Translated) -> tuple[Translated, ...]:
        """The numbers of a point or circle, of a constant or a column."""
        if value.shape is not None:
            return value.shape.numbers
        count = {"point": 2, "circle": 3}[value.type]
        return tuple(made(f"({value.sql})[{place}]", "double", value.at, value) for place in range(1, count + 1))

    # Measuring.

    def _half_chord(self, one: sky_index.Pair, other: sky_index.Pair) -> str:
        """Square of the half chord between two points: grows with their distance, right for the smallest."""
        (a, b), (c, d) = ((self.sql.double(p[0]), self.sql.double(p[1])) for p in (one, other))
        return (
            f"(power(sin(radians({d} - {b}) / 2), 2) + cos(radians({b})) * cos(radians({d}))"
            f" * power(sin(radians({c} - {a}) / 2), 2))"
        )

    def _separation(self, one: sky_index.Pair, other: sky_index.Pair) -> str:
        """Angle in degrees from the chords to the other point and to its antipode, so that no difference is lost."""
        (a, b), (c, d) = ((self.sql.double(p[0]), self.sql.double(p[1])) for p in (one, other))
        away = (
            f"(power(sin(radians({b} + {d}) / 2), 2) + cos(radians({b})) * cos(radians({d}))"
            f" * power(cos(radians({c} - {a}) / 2), 2))"
        )
        return f"degrees(2 * atan2(sqrt({self._half_chord(one, other)}), sqrt({away})))"

    def _distance(self, at: int, arguments: list[Translated]) -> Translated:
        if len(arguments) == 2:
            kinds = [value.type for value in arguments]
            for value in arguments:
                if value.type not in GEOMETRIES or "point" not in kinds:
                    hint = "Write DISTANCE(point, point), DISTANCE(region, point) or DISTANCE(lon1, lat1, lon2, lat2)."
                    raise Fault(f"DISTANCE takes points, not {in_words(value.type)}", value.at, hint)
            if "polygon" in kinds:
                return self._centroid_distance(at, *sorted(arguments, key=lambda value: value.type == "point"))
            # That of a region is counted from its centroid, as the archives' examples for s_region want it.
            numbers = [n for value in arguments for n in self.numbers(value)[:2]]
        else:
            _count("DISTANCE", at, arguments, 4)
            numbers = arguments
            for number in numbers:
                must_be_number(number, "DISTANCE")
            for latitude in (numbers[1], numbers[3]):
                _check_latitude(latitude)
        one, other = (numbers[0], numbers[1]), (numbers[2], numbers[3])
        found = made(self._separation(one, other), "double", at, *numbers, unit="deg")
        return replace(found, shape=Shape(tuple(numbers)))  # for `distance_index`

    def _centroid_distance(self, at: int, polygon: Translated, point: Translated) -> Translated:
        middle = self._centroid(at, [polygon])
        if self.sql.duckdb or middle.shape is not None:
            return self._distance(at, [middle, point])
        # The centroid is computed once, not for each of its numbers.
        here = [Translated(f"p[{place}]", "double", at) for place in (1, 2)]
        there = self.numbers(point)
        apart = self._separation((here[0], here[1]), (there[0], there[1]))
        sql = f"(SELECT {apart} FROM (SELECT {middle.sql} AS p OFFSET 0) AS c)"
        return made(sql, "double", at, polygon, point, unit="deg")

    def distance_index(self, value: Translated, radius: Translated) -> str | None:
        """A condition that follows from DISTANCE(…) <= radius; None if the value is no such distance."""
        if value.name != "distance" or value.shape is None:
            return None
        numbers = value.shape.numbers
        return sky_index.near(self.sql, self.spread, (numbers[0], numbers[1]), (numbers[2], numbers[3]), radius)

    def _area(self, at: int, arguments: list[Translated]) -> Translated:
        (region,) = self._geometries("AREA", arguments)
        if region.type == "point":
            sql = "0.0e0" if self.sql.duckdb else "0.0::float8"
        elif region.type == "circle":
            radius = self.sql.double(self.numbers(region)[2])
            # 2 pi (1 - cos r) without the difference
            sql = f"(4 * pi() * power(sin(radians({radius}) / 2), 2) * {_SQUARE_DEGREES!r})"
        elif region.shape is not None and (constant := region.shape.constant) is not None:
            sql = self.sql.constant(sphere.area(sphere.polygon(constant)) * _SQUARE_DEGREES)
        elif self.sql.duckdb:
            sql = f"adql_area({region.sql})"
        else:
            sql = f"(area({self._spoly(region)}) * {_SQUARE_DEGREES!r})"
        return made(sql, "double", at, region, unit="deg**2")

    def _centroid(self, at: int, arguments: list[Translated]) -> Translated:
        (region,) = self._geometries("CENTROID", arguments)
        if region.type == "point":
            return region
        if region.type == "circle":
            return self.shape("point", at, list(self.numbers(region)[:2]))
        if region.shape is not None and (constant := region.shape.constant) is not None:
            lon, lat = sphere.degrees(sphere.centroid(sphere.polygon(constant)))
            return self.shape("point", at, [self._constant(float(lon), at), self._constant(float(lat), at)])
        if self.sql.duckdb:
            return made(f"adql_centroid({region.sql})", "point", at, region)
        return made(centroid_sql(region.sql), "point", at, region)

    def _coordinate(self, at: int, point: Translated, place: int) -> Translated:
        if point.type != "point":
            raise Fault(f"COORD{place + 1} takes a POINT, not {in_words(point.type)}", point.at)
        number = self.numbers(point)[place]
        return replace(made(self.sql.double(number), "double", at, point, unit="deg"), number=number.number)

    def _coordsys(self, at: int, arguments: list[Translated]) -> Translated:
        (region,) = self._geometries("COORDSYS", arguments)
        return made(f"CASE WHEN {region.sql} IS NULL THEN NULL ELSE 'ICRS' END", "char", at, region)

    def _healpix_index(self, at: int, arguments: list[Translated]) -> Translated:
        """The nested HEALPix number of a position, as in the IVOA's catalogue of user-defined functions."""
        order, *position = arguments
        if not order.literal or order.type not in INTEGERS or order.number is None or not 0 <= order.number <= 29:
            raise Fault("the order of IVO_HEALPIX_INDEX is no whole number from 0 to 29", order.at)
        if len(position) == 1 and position[0].type != "point":
            hint = f"Write {FUNCTIONS['IVO_HEALPIX_INDEX'].form}."
            raise Fault(f"IVO_HEALPIX_INDEX takes a POINT, not {in_words(position[0].type)}", position[0].at, hint)
        lon, lat = self.numbers(position[0]) if len(position) == 1 else position
        for number in (lon, lat):
            must_be_number(number, "IVO_HEALPIX_INDEX")
        _check_latitude(lat)
        depth, x, y = int(order.number), self.sql.double(lon), self.sql.double(lat)
        sql = f"adql_healpix({x}, {y}, {depth})" if self.sql.duckdb else nested_index_sql(depth, x, y)
        return made(sql, "long", at, *arguments)

    def _geometries(self, name: str, arguments: list[Translated]) -> list[Translated]:
        for value in arguments:
            if value.type not in GEOMETRIES:
                hint = "POINT(lon, lat), CIRCLE(lon, lat, radius) and POLYGON(…) are geometries."
                raise Fault(f"{name} takes geometries, not {in_words(value.type)}", value.at, hint)
        return arguments

    # Comparing.

    def _contains(self, at: int, arguments: list[Translated]) -> Translated:
        inner, outer = self._geometries("CONTAINS", arguments)
        if outer.type == "point":
            hint = "Write CONTAINS(inner, outer)." if inner.type != "point" else "Use DISTANCE."
            raise Fault("the second argument of CONTAINS is a POINT, which contains nothing", outer.at, hint)
        return self._relation(at, inner, outer, "contains")

    def _intersects(self, at: int, arguments: list[Translated]) -> Translated:
        one, other = self._geometries("INTERSECTS", arguments)
        if one.type == other.type == "point":
            raise Fault("INTERSECTS takes regions, not two points", at, "Use DISTANCE.")
        if other.type == "point":
            one, other = other, one
        return self._relation(at, one, other, "contains" if one.type == "point" else "intersects")

    def _relation(self, at: int, one: Translated, other: Translated, what: str) -> Translated:
        first, second = (v.shape.constant if v.shape else None for v in (one, other))
        beside = None
        if first is not None and second is not None:
            true = _checked(getattr(sphere, what), at, first, second)
            test = "(1 = 1)" if true else "(1 = 0)"
        elif one.type != "polygon" and other.type == "circle":
            test, beside = self._near_circle(one, other, what)
        elif self.sql.duckdb:
            test = f"adql_{what}({one.sql}, {other.sql})"
            beside = self._around_polygon(one, second)
        elif one.type == "point" and second is not None:
            test = self._in_polygon(one, second)
            beside = self._around_polygon(one, second)
        else:
            operator = "<@" if what == "contains" else "&&"
            both = f"{self._pgsphere(one)} {operator} {self._pgsphere(other)}"
            # Not the bare operator: pgsphere names wrong negators, which NOT would be replaced by.
            test = f"(CASE {both} WHEN TRUE THEN TRUE WHEN FALSE THEN FALSE END)"
        return replace(made(f"CAST({test} AS INTEGER)", "int", at, one, other), test=test, beside=beside)

    def _near_circle(self, one: Translated, circle: Translated, what: str) -> tuple[str, str | None]:
        """A point or circle in a circle, or a circle that meets one."""
        a, b, radius = self.numbers(circle)
        mine = self.numbers(one)
        if one.type == "point":
            beside = sky_index.near(self.sql, self.spread, (mine[0], mine[1]), (a, b), radius)
            chord = self._half_chord((mine[0], mine[1]), (a, b))
            limit = f"power(sin(radians({self.sql.double(radius)}) / 2), 2)"
            if radius.number is None:  # the sine falls again beyond 180 degrees
                limit = f"power(sin(radians(least(greatest({self.sql.double(radius)}, 0), 180)) / 2), 2)"
                return f"({self.sql.double(radius)} >= 0 AND {chord} <= {limit})", beside
            return f"({chord} <= {limit})", beside
        apart = self._separation((mine[0], mine[1]), (a, b))
        own, their = self.sql.double(mine[2]), self.sql.double(radius)
        if what == "contains":
            return f"({apart} + {own} <= {their} + 1e-11)", None
        return f"({apart} <= {own} + {their} + 1e-11)", None

    def _around_polygon(self, one: Translated, polygon: list[float] | None) -> str | None:
        """An index for a point in a constant polygon: the circle around it."""
        if polygon is None or one.type != "point" or len(polygon) < 6:
            return None
        lon, lat, radius = (self._constant(n, one.at) for n in sphere.bounding_circle(sphere.polygon(polygon)))
        mine = self.numbers(one)
        return sky_index.near(self.sql, self.spread, (mine[0], mine[1]), (lon, lat), radius)

    def _in_polygon(self, point: Translated, polygon: list[float]) -> str:
        """A point in a constant polygon in plain SQL, as `sphere.in_polygon` does it."""
        corners = sphere.polygon(polygon)
        centre, first, second, x, y = sphere.plane_corners(corners)
        lon, lat = self.numbers(point)
        crossed: list[str] = []
        on_side: list[str] = []
        for number in range(len(x)):
            (x1, y1, x2, y2) = (float(v) for v in (x[number], y[number], x[number - 1], y[number - 1]))
            if x1 != x2:
                left, right, slope = min(x1, x2), max(x1, x2), (y2 - y1) / (x2 - x1)
                height = f"{y1!r} + (u - {x1!r}) * {slope!r}"
                crossed.append(f"CASE WHEN u >= {left!r} AND u < {right!r} AND w < {height} THEN 1 ELSE 0 END")
            length = math.hypot(x2 - x1, y2 - y1)
            across = f"abs((u - {x1!r}) * {(y2 - y1) / length!r} - (w - {y1!r}) * {(x2 - x1) / length!r})"
            along = f"(u - {x1!r}) * {(x2 - x1) / length!r} + (w - {y1!r}) * {(y2 - y1) / length!r}"
            on_side.append(f"({across} <= 1e-13 AND {along} BETWEEN -1e-13 AND {length + 1e-13!r})")
        parts = " + ".join(crossed)
        inside = f"a > 0 AND (mod({parts}, 2) = 1 OR {' OR '.join(on_side)})"
        a, u, w = (
            " + ".join(f"{part} * {self.sql.constant(k)}" for part, k in zip("xyz", axis, strict=True))
            for axis in (centre, first, second)
        )
        ra, dec = self.sql.double(lon), self.sql.double(lat)
        # OFFSET 0 keeps PostgreSQL from writing each of them out wherever it is used.
        around = f"cos(radians({dec})) * cos(radians({ra})) AS x, cos(radians({dec})) * sin(radians({ra})) AS y"
        vector = f"SELECT {around}, sin(radians({dec})) AS z OFFSET 0"
        flat = f"({u}) / NULLIF({a}, 0) AS u, ({w}) / NULLIF({a}, 0) AS w"
        plane = f"SELECT {a} AS a, {flat} FROM ({vector}) AS v OFFSET 0"
        return f"(SELECT {inside} FROM ({plane}) AS p)"

    def _pgsphere(self, value: Translated) -> str:
        if not self.sql.has("pgsphere"):
            hint = "A point in a constant POLYGON, and circles, do."
            raise Fault("this server's PostgreSQL can't compare these regions without pgsphere", value.at, hint)
        if value.type == "polygon":
            return self._spoly(value)
        numbers = self.numbers(value)
        point = sky_index.spoint(self.sql, (numbers[0], numbers[1]))
        return point if value.type == "point" else f"scircle({point}, radians({self.sql.double(numbers[2])}))"

    def _spoly(self, value: Translated) -> str:
        if not self.sql.has("pgsphere"):
            raise Fault("this server's PostgreSQL can't compute with polygons of columns without pgsphere", value.at)
        corners = (
            f"SELECT string_agg('(' || radians(n[2 * i - 1]) || ',' || radians(n[2 * i]) || ')', ',' ORDER BY i)"
            f" FROM (SELECT {value.sql} AS n) AS polygon, generate_series(1, array_length(n, 1) / 2) AS i"
        )
        return f"CAST('{{' || ({corners}) || '}}' AS spoly)"


def _count(name: str, at: int, arguments: list[Translated], wanted: int) -> None:
    if len(arguments) != wanted:
        raise Fault(
            f"{name} has {len(arguments)} argument{'s' * (len(arguments) != 1)}", at, f"Write {FUNCTIONS[name].form}."
        )


def _check_latitude(number: Translated) -> None:
    if number.number is not None and not -90 <= number.number <= 90:
        raise Fault(f"the latitude {number.number:g} is not within -90 and 90 degrees", number.at)


def _checked(function: Callable[..., T], at: int, *arguments: object) -> T:
    try:
        return function(*arguments)
    except ValueError as error:
        raise Fault(str(error), at) from None

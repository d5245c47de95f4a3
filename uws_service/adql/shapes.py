"""Geometries and their constructors (ADQL 2.1 §4.2).

POINT, CIRCLE, BOX, POLYGON and REGION.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from uws_service.adql import regions, sphere
from uws_service.adql.errors import Fault
from uws_service.adql.functions import FUNCTIONS
from uws_service.adql.translated import Shape, Sql, Translated, compose, must_be_number
from uws_service.adql.types import GEOMETRIES, STRINGS, in_words

T = TypeVar("T")


def geometry(sql: Sql, kind: str, at: int, numbers: list[Translated]) -> Translated:
    """Return a geometry of numbers; check constant ones."""
    for position, number in enumerate(numbers):
        if number.number is not None and position % 2 and not (kind == "circle" and position == 2):
            check_latitude(number)
    array = sql.array([sql.double(n) for n in numbers])
    nullable = [f"{text} IS NULL" for text in dict.fromkeys(sql.double(n) for n in numbers if n.number is None)]
    if nullable:
        array = f"(CASE WHEN {' OR '.join(nullable)} THEN NULL ELSE {array} END)"
    return replace(compose(array, kind, at, *numbers), shape=Shape(tuple(numbers)))


def constant_number(sql: Sql, number: float, at: int) -> Translated:
    """Return a constant as a value."""
    return Translated(sql.constant(number), "double", at, number=number)


def numbers_of(value: Translated) -> tuple[Translated, ...]:
    """Return the numbers of a point or circle."""
    if value.shape is not None:
        return value.shape.numbers
    count = {"point": 2, "circle": 3}[value.type]
    return tuple(compose(f"({value.sql})[{place}]", "double", value.at, value) for place in range(1, count + 1))


def point(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate POINT."""
    check_count("POINT", at, arguments, 2)
    for number in arguments:
        must_be_number(number, "POINT")
    return geometry(sql, "point", at, arguments)


def circle(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate CIRCLE."""
    lon, lat, radius = _centre_and_sizes("CIRCLE", at, arguments, 1)
    if radius.number is not None and not 0 <= radius.number <= 180:
        raise Fault(f"the radius of a CIRCLE is {radius.number:g} degrees", radius.at, "It is from 0 to 180.")
    return geometry(sql, "circle", at, [lon, lat, radius])


def _centre_and_sizes(name: str, at: int, arguments: list[Translated], sizes: int) -> list[Translated]:
    """Return centre and sizes as numbers.

    The centre is a point or two numbers.
    """
    if arguments and arguments[0].type == "point":
        check_count(name, at, arguments, 1 + sizes)
        numbers = [*numbers_of(arguments[0]), *arguments[1:]]
    else:
        check_count(name, at, arguments, 2 + sizes)
        numbers = arguments
    for number in numbers:
        must_be_number(number, name)
    return numbers


def box(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate BOX, which is a polygon."""
    lon, lat, width, height = _centre_and_sizes("BOX", at, arguments, 2)
    constant = Shape((lon, lat, width, height)).constant
    if lat.number is not None:
        check_latitude(lat)
    for size in (width, height):
        if size.number is not None and not 0 < size.number < 180:
            raise Fault(f"a side of the BOX is {size.number:g} degrees", size.at, "It is between 0 and 180.")
    if constant is not None:
        corners = sphere.box(constant[0], constant[1], constant[2], constant[3])
        try:
            sphere.polygon(corners)
        except ValueError:
            hint = "Its centre is a position in degrees; its sides are longer than 1e-11 degrees."
            raise Fault("the BOX has no four corners that differ", at, hint) from None
        return geometry(sql, "polygon", at, [constant_number(sql, c, at) for c in corners])
    a, b, w, h = (sql.double(n) for n in (lon, lat, width, height))
    numbers: list[Translated] = []
    for x, y in (("-", "-"), ("", "-"), ("", ""), ("-", "")):
        east, north = f"({x}tan(radians({w}) / 2))", f"({y}tan(radians({h}) / 2))"
        out = f"(cos(radians({b})) - {north} * sin(radians({b})))"
        up = f"(sin(radians({b})) + {north} * cos(radians({b})))"
        corner = (
            f"({a} + degrees(atan2({east}, {out})))",
            f"degrees(atan2({up}, sqrt({east} * {east} + {out} * {out})))",
        )
        numbers += [compose(c, "double", at, lon, lat, width, height) for c in corner]
    return geometry(sql, "polygon", at, numbers)


def polygon(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate POLYGON, of numbers or of points."""
    if arguments and arguments[0].type == "point":
        for corner in arguments:
            if corner.type != "point":
                raise Fault("POLYGON takes either points or numbers, not both", corner.at)
        arguments = [n for corner in arguments for n in numbers_of(corner)]
    for number in arguments:
        if number.type == "point":
            raise Fault("POLYGON takes either points or numbers, not both", number.at)
        must_be_number(number, "POLYGON")
    if len(arguments) < 6 or len(arguments) % 2:
        hint = "A polygon has at least three corners, each of longitude and latitude."
        raise Fault(f"POLYGON has {len(arguments)} coordinates", at, hint)
    value = geometry(sql, "polygon", at, arguments)
    assert value.shape is not None
    if (constant := value.shape.constant) is not None:
        located(sphere.polygon, at, constant)
    return value


CONSTRUCTORS: dict[str, Callable[[Sql, int, list[Translated]], Translated]] = {
    "POINT": point,
    "CIRCLE": circle,
    "BOX": box,
    "POLYGON": polygon,
}


def region(sql: Sql, at: int, arguments: list[Translated]) -> Translated:
    """Translate REGION by its text's constructor."""
    text = arguments[0]
    if text.type not in STRINGS or not text.literal:
        raise Fault("the text of REGION is not a string constant", text.at, f"Write {FUNCTIONS['REGION'].form}.")
    name, numbers = located(regions.parse_region, text.at, text.sql[1:-1].replace("''", "'"))
    return CONSTRUCTORS[name](sql, text.at, [constant_number(sql, number, text.at) for number in numbers])


def must_be_geometries(name: str, arguments: list[Translated]) -> list[Translated]:
    """Return the arguments; refuse all but geometries."""
    for value in arguments:
        if value.type not in GEOMETRIES:
            hint = "POINT(lon, lat), CIRCLE(lon, lat, radius) and POLYGON(…) are geometries."
            raise Fault(f"{name} takes geometries, not {in_words(value.type)}", value.at, hint)
    return arguments


def check_count(name: str, at: int, arguments: list[Translated], expected: int) -> None:
    """Refuse a wrong number of arguments."""
    if len(arguments) != expected:
        raise Fault(
            f"{name} has {len(arguments)} argument{'s' * (len(arguments) != 1)}", at, f"Write {FUNCTIONS[name].form}."
        )


def check_latitude(number: Translated) -> None:
    """Refuse a constant beyond the poles."""
    if number.number is not None and not -90 <= number.number <= 90:
        raise Fault(f"the latitude {number.number:g} is not within -90 and 90 degrees", number.at)


def located(function: Callable[..., T], at: int, *arguments: object) -> T:
    """Call a function.

    Turn its `ValueError` into a fault.
    """
    try:
        return function(*arguments)
    except ValueError as error:
        raise Fault(str(error), at) from None

"""SODA's parameters (SODA 1.0 §3, S-002). Pure.

Texts become regions and intervals, and these all their combinations.
Longitudes and latitudes are ICRS degrees, BAND is in metres, TIME in MJD (UTC). Errors are `Usage`, and name the
parameter, the value and what is allowed.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from uws_service.soda.errors import MultiValued, Usage

NAMES = ("ID", "CIRCLE", "POLYGON", "POS", "BAND", "TIME", "POL")
MAX_VALUE_CHARACTERS = 100_000
MAX_VERTICES = 1_000
STATES = ("I", "Q", "U", "V", "RR", "LL", "RL", "LR", "XX", "YY", "XY", "YX", "POLI", "POLA")
"""What POL may be (ObsCore 1.1, table of polarization states)."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_INFINITE = {"inf": math.inf, "+inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True, slots=True)
class Circle:
    """All points within ``radius`` degrees of a centre."""

    lon: float
    lat: float
    radius: float

    def __str__(self) -> str:
        return f"CIRCLE {self.lon:.10g} {self.lat:.10g} {self.radius:.10g}"


@dataclass(frozen=True, slots=True)
class Range:
    """All points between two meridians and two parallels.

    The meridians go eastwards from ``west`` to ``east``.
    ``west`` = 0 and ``east`` = 360 is all around; ``west`` > ``east`` crosses the meridian 0.
    """

    west: float
    east: float
    south: float
    north: float

    def __str__(self) -> str:
        return f"RANGE {self.west:.10g} {self.east:.10g} {self.south:.10g} {self.north:.10g}"

    @property
    def width(self) -> float:
        """Return the degrees of longitude, 0 to 360."""
        if self.east - self.west >= 360:
            return 360.0
        return (self.east - self.west) % 360


@dataclass(frozen=True, slots=True)
class Polygon:
    """Vertices in order, joined by great circles."""

    vertices: tuple[tuple[float, float], ...]

    def __str__(self) -> str:
        return "POLYGON " + " ".join(f"{lon:.10g} {lat:.10g}" for lon, lat in self.vertices)


Shape = Circle | Range | Polygon


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval with both ends, which may be infinite."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.10g} {self.high:.10g}"


@dataclass(frozen=True, slots=True)
class Cut:
    """A cutout.

    None means that the image is not cut in that direction.
    """

    id: str
    shape: Shape | None = None
    band: Interval | None = None
    time: Interval | None = None
    pol: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [
            f"ID={self.id}",
            str(self.shape) if self.shape else "",
            f"BAND {self.band}" if self.band else "",
            f"TIME {self.time}" if self.time else "",
            f"POL {' '.join(self.pol)}" if self.pol else "",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Request:
    """All values of a request, in their order."""

    ids: tuple[str, ...]
    shapes: tuple[Shape, ...] = ()
    bands: tuple[Interval, ...] = ()
    times: tuple[Interval, ...] = ()
    pol: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Return the number of cutouts."""
        return len(self.ids) * max(1, len(self.shapes)) * max(1, len(self.bands)) * max(1, len(self.times))

    def cuts(self) -> Iterator[Cut]:
        """Yield every combination of the values (S-004).

        The values of POL are one filter together.
        """
        for id_, shape, band, time in itertools.product(
            self.ids, self.shapes or (None,), self.bands or (None,), self.times or (None,)
        ):
            yield Cut(id_, shape, band, time, self.pol)

    def require_single(self) -> None:
        """Raise `MultiValued` if it asks for several cutouts.

        A synchronous request may not (S-003).
        """
        for name, values in (("ID", self.ids), ("BAND", self.bands), ("TIME", self.times)):
            if len(values) > 1:
                raise MultiValued(f"{name} was given {len(values)} times; a synchronous request takes one.{_ASYNC}")
        if len(self.shapes) > 1:
            count = len(self.shapes)
            raise MultiValued(
                f"{count} regions (CIRCLE, POLYGON, POS) were given; a synchronous request takes one.{_ASYNC}"
            )


_ASYNC = " Send it to /async for several."


def parse(values: Mapping[str, Sequence[str]], max_cutouts: int = 1000) -> Request:
    """Parse the values of a request.

    They come by parameter name, in upper case.
    """
    ids = tuple(dict.fromkeys(id_ for id_ in values.get("ID", ()) if id_))
    if not ids:
        raise Usage("ID is required: the identifier of an image.")
    for id_ in ids:
        if len(id_) > 2000 or not id_.isprintable():
            raise Usage(f"ID={id_[:80]!r} is not allowed; it must be the identifier of an image.")
    _check_counts(ids, values, max_cutouts)
    shapes: list[Shape] = [circle("CIRCLE", text) for text in values.get("CIRCLE", ())]
    shapes += [polygon("POLYGON", text) for text in values.get("POLYGON", ())]
    shapes += [position(text) for text in values.get("POS", ())]
    request = Request(
        ids,
        tuple(dict.fromkeys(shapes)),
        tuple(dict.fromkeys(interval("BAND", text, "metres") for text in values.get("BAND", ()))),
        tuple(dict.fromkeys(interval("TIME", text, "MJD") for text in values.get("TIME", ()))),
        tuple(dict.fromkeys(state(text) for text in values.get("POL", ()))),
    )
    _check_count(request.count, max_cutouts)
    return request


def _check_counts(ids: Sequence[str], values: Mapping[str, Sequence[str]], max_cutouts: int) -> None:
    """Count the values before any is read.

    Those that are written in the same way count once.
    """
    shapes = sum(len(set(values.get(name, ()))) for name in ("CIRCLE", "POLYGON", "POS"))
    counts = [len(ids), shapes, *(len(set(values.get(name, ()))) for name in ("BAND", "TIME"))]
    if max(counts) > max_cutouts:
        _check_count(math.prod(max(1, count) for count in counts), max_cutouts)


def _check_count(count: int, max_cutouts: int) -> None:
    if count > max_cutouts:
        raise Usage(f"The combinations of the values are {count} cutouts; a request may have at most {max_cutouts}.")


def circle(name: str, text: str) -> Circle:
    """Parse ``lon lat radius`` in degrees (DALI 1.1 §3.3.6)."""
    numbers = _numbers(name, text)
    if len(numbers) != 3:
        raise _not_allowed(name, text, "three numbers: longitude, latitude and radius in degrees")
    lon, lat, radius = numbers
    _require_on_sky(name, text, [(lon, lat)])
    if not 0 < radius <= 180:
        raise _not_allowed(name, text, "a circle with a radius above 0 and up to 180 degrees")
    return Circle(lon % 360, lat, radius)


def polygon(name: str, text: str) -> Polygon:
    """Parse a polygon (DALI 1.1 §3.3.7).

    It has three vertices at least, in degrees, all within one half of the sky.
    """
    numbers = _numbers(name, text)
    if len(numbers) < 6 or len(numbers) % 2:
        raise _not_allowed(name, text, "at least three pairs of longitude and latitude in degrees")
    if len(numbers) > 2 * MAX_VERTICES:
        raise Usage(f"{name} has {len(numbers) // 2} vertices; at most {MAX_VERTICES} are taken.")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    _require_on_sky(name, text, pairs)
    vertices = [(lon % 360, lat) for lon, lat in pairs]
    if vertices[0] == vertices[-1]:  # closed by its sender, which DALI 1.2 discourages
        vertices.pop()
    vertices = [vertex for number, vertex in enumerate(vertices) if vertex != vertices[number - 1]]
    if len(set(vertices)) < 3:
        raise _not_allowed(name, text, "a polygon with three different vertices at least")
    if (requirement := _polygon_requirement(vertices)) is not None:
        raise _not_allowed(name, text, requirement)
    return Polygon(tuple(vertices))


def range_(name: str, text: str) -> Range:
    """Parse ``lon1 lon2 lat1 lat2`` in degrees.

    The ends may be infinite (SODA 1.0 §3.3.3, SIA 2.0 §2.1.1).
    """
    numbers = _numbers(name, text, infinite=True)
    if len(numbers) != 4:
        raise _not_allowed(name, text, "four numbers: two longitudes and two latitudes in degrees")
    west, east, south, north = numbers
    west, east = (0.0 if west == -math.inf else west), (360.0 if east == math.inf else east)
    south, north = (-90.0 if south == -math.inf else south), (90.0 if north == math.inf else north)
    _require_on_sky(name, text, [(west, south), (east, north)])
    if south > north:
        raise _not_allowed(name, text, "a range with the smaller latitude first")
    if south == north or west == east:
        raise _not_allowed(name, text, "a range with an extent; its ends are equal")
    return Range(west, east, south, north)


_SHAPES = {"CIRCLE": circle, "RANGE": range_, "POLYGON": polygon}


def position(text: str) -> Shape:
    """Parse POS: a word for the shape, and its numbers."""
    word, _, coordinates = text.strip().partition(" ")
    reader = _SHAPES.get(word.upper())
    if reader is None:
        raise _not_allowed("POS", text, "CIRCLE, RANGE or POLYGON, and then its numbers")
    return reader(f"POS {word.upper()}", coordinates)  # type: ignore[return-value]


def interval(name: str, text: str, unit: str) -> Interval:
    """Parse an interval (DALI 1.1 §3.3.4).

    The smaller number comes first; either may be infinite. One number stands for both.
    """
    numbers = _numbers(name, text, infinite=True)
    if len(numbers) == 1 and math.isfinite(numbers[0]):
        numbers *= 2
    if len(numbers) != 2 or not numbers[0] <= numbers[1] or numbers[0] == math.inf or numbers[1] == -math.inf:
        raise _not_allowed(name, text, f"an interval: two numbers ({unit}), the smaller one first")
    return Interval(*numbers)


def state(text: str) -> str:
    """Parse a polarization state."""
    word = text.strip().upper()
    if word not in STATES:
        raise _not_allowed("POL", text, f"one of {', '.join(STATES)}")
    return word


def _numbers(name: str, text: str, *, infinite: bool = False) -> list[float]:
    if len(text) > MAX_VALUE_CHARACTERS:
        raise Usage(f"{name} has {len(text)} characters; at most {MAX_VALUE_CHARACTERS} are taken.")
    numbers = []
    for word in text.split():
        special = _INFINITE.get(word.lower()) if infinite else None
        if special is None and not _NUMBER.fullmatch(word):
            kind = "numbers" if infinite else "finite numbers"
            raise _not_allowed(name, text, f"{kind} with spaces between; {word[:40]!r} is none")
        number = float(word) if special is None else special
        if special is None and not math.isfinite(number):
            raise _not_allowed(name, text, f"numbers that a computer can hold; {word[:40]!r} is too large")
        numbers.append(number)
    return numbers


def _require_on_sky(name: str, text: str, points: Sequence[tuple[float, float]]) -> None:
    for lon, lat in points:
        if not 0 <= lon <= 360:
            raise _not_allowed(name, text, f"longitudes from 0 to 360 degrees, not {lon:.10g}")
        if not -90 <= lat <= 90:
            raise _not_allowed(name, text, f"latitudes from -90 to 90 degrees, not {lat:.10g}")


def _polygon_requirement(vertices: Sequence[tuple[float, float]]) -> str | None:
    """Return what must hold for a polygon, if it does not."""
    vectors = [_unit(*vertex) for vertex in vertices]
    centre = _normal([math.fsum(vector[axis] for vector in vectors) for axis in range(3)])
    if centre is None or any(_dot(vector, centre) <= 1e-6 for vector in vectors):
        return "a polygon that fits into one half of the sky"
    doubled = math.fsum(_dot(centre, _cross(vector, vectors[number - 1])) for number, vector in enumerate(vectors))
    return None if abs(doubled) > 1e-15 else "a polygon with an area"


def _unit(lon: float, lat: float) -> tuple[float, float, float]:
    horizontal = math.cos(math.radians(lat))
    return (
        horizontal * math.cos(math.radians(lon)),
        horizontal * math.sin(math.radians(lon)),
        math.sin(math.radians(lat)),
    )


def _normal(vector: Sequence[float]) -> tuple[float, float, float] | None:
    length = math.sqrt(_dot(vector, vector))
    return None if length < 1e-9 else (vector[0] / length, vector[1] / length, vector[2] / length)


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _cross(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    return (
        first[1] * second[2] - first[2] * second[1],
        first[2] * second[0] - first[0] * second[2],
        first[0] * second[1] - first[1] * second[0],
    )


def _not_allowed(name: str, text: str, allowed: str) -> Usage:
    """Return the error of a value.

    ``name`` is a parameter's name, with POS's shape behind it.
    """
    parameter, _, shape = name.partition(" ")
    value = f"{shape} {text}" if shape else text
    return Usage(f"{parameter}={value[:80]!r} is not allowed; it must be {allowed}.")

"""SODA's parameters (SODA 1.0 §3, S-002): texts to regions and intervals, and all combinations of them. Pure.

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
LONGEST = 100_000
"""Characters of one value."""
MOST_VERTICES = 1_000
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
    """Between two meridians, eastwards from ``west`` to ``east``, and between two parallels.

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
        """Degrees of longitude, 0 to 360."""
        if self.east - self.west >= 360:
            return 360.0
        return (self.east - self.west) % 360


@dataclass(frozen=True, slots=True)
class Polygon:
    """Vertices in order, joined by great circles; the last one is joined to the first."""

    vertices: tuple[tuple[float, float], ...]

    def __str__(self) -> str:
        return "POLYGON " + " ".join(f"{lon:.10g} {lat:.10g}" for lon, lat in self.vertices)


Shape = Circle | Range | Polygon


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``low`` to ``high``, both included; may be infinite."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.10g} {self.high:.10g}"


@dataclass(frozen=True, slots=True)
class Cut:
    """One cutout: None means that the image is not cut in that direction."""

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
    """All values of a request, in the order in which they came."""

    ids: tuple[str, ...]
    shapes: tuple[Shape, ...] = ()
    bands: tuple[Interval, ...] = ()
    times: tuple[Interval, ...] = ()
    pol: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many cutouts it asks for."""
        return len(self.ids) * max(1, len(self.shapes)) * max(1, len(self.bands)) * max(1, len(self.times))

    def cuts(self) -> Iterator[Cut]:
        """Every combination of the values (S-004); the values of POL are one filter together."""
        for id_, shape, band, time in itertools.product(
            self.ids, self.shapes or (None,), self.bands or (None,), self.times or (None,)
        ):
            yield Cut(id_, shape, band, time, self.pol)

    def require_single(self) -> None:
        """Raise `MultiValued` unless it asks for one cutout, as a synchronous request has to (S-003)."""
        for name, values in (("ID", self.ids), ("BAND", self.bands), ("TIME", self.times)):
            if len(values) > 1:
                raise MultiValued(f"{name} was given {len(values)} times; a synchronous request takes one.{_ASYNC}")
        if len(self.shapes) > 1:
            count = len(self.shapes)
            raise MultiValued(
                f"{count} regions (CIRCLE, POLYGON, POS) were given; a synchronous request takes one.{_ASYNC}"
            )


_ASYNC = " Send it to /async for several."


def parse(values: Mapping[str, Sequence[str]], most: int = 1000) -> Request:
    """A request from its values by parameter name, in upper case; ``most`` cutouts at most."""
    ids = tuple(dict.fromkeys(one for one in values.get("ID", ()) if one))
    if not ids:
        raise Usage("ID is required: the identifier of an image.")
    for one in ids:
        if len(one) > 2000 or not one.isprintable():
            raise Usage(f"ID={one[:80]!r} is not allowed; it must be the identifier of an image.")
    _require_few(ids, values, most)
    shapes: list[Shape] = [circle("CIRCLE", one) for one in values.get("CIRCLE", ())]
    shapes += [polygon("POLYGON", one) for one in values.get("POLYGON", ())]
    shapes += [position(one) for one in values.get("POS", ())]
    request = Request(
        ids,
        tuple(dict.fromkeys(shapes)),
        tuple(dict.fromkeys(interval("BAND", one, "metres") for one in values.get("BAND", ()))),
        tuple(dict.fromkeys(interval("TIME", one, "MJD") for one in values.get("TIME", ()))),
        tuple(dict.fromkeys(state(one) for one in values.get("POL", ()))),
    )
    _require_at_most(request.count, most)
    return request


def _require_few(ids: Sequence[str], values: Mapping[str, Sequence[str]], most: int) -> None:
    """Count the values before any is read; those that are written in the same way count once."""
    shapes = sum(len(set(values.get(name, ()))) for name in ("CIRCLE", "POLYGON", "POS"))
    counts = [len(ids), shapes, *(len(set(values.get(name, ()))) for name in ("BAND", "TIME"))]
    if max(counts) > most:
        _require_at_most(math.prod(max(1, one) for one in counts), most)


def _require_at_most(count: int, most: int) -> None:
    if count > most:
        raise Usage(f"The combinations of the values are {count} cutouts; a request may have at most {most}.")


def circle(name: str, text: str) -> Circle:
    """``lon lat radius`` in degrees (DALI 1.1 §3.3.6)."""
    numbers = _numbers(name, text)
    if len(numbers) != 3:
        raise _wrong(name, text, "three numbers: longitude, latitude and radius in degrees")
    lon, lat, radius = numbers
    _require_on_sky(name, text, [(lon, lat)])
    if not 0 < radius <= 180:
        raise _wrong(name, text, "a circle with a radius above 0 and up to 180 degrees")
    return Circle(lon % 360, lat, radius)


def polygon(name: str, text: str) -> Polygon:
    """At least three pairs of longitude and latitude in degrees, all within one half of the sky (DALI 1.1 §3.3.7)."""
    numbers = _numbers(name, text)
    if len(numbers) < 6 or len(numbers) % 2:
        raise _wrong(name, text, "at least three pairs of longitude and latitude in degrees")
    if len(numbers) > 2 * MOST_VERTICES:
        raise Usage(f"{name} has {len(numbers) // 2} vertices; at most {MOST_VERTICES} are taken.")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    _require_on_sky(name, text, pairs)
    vertices = [(lon % 360, lat) for lon, lat in pairs]
    if vertices[0] == vertices[-1]:  # closed by its sender, which DALI 1.2 discourages
        vertices.pop()
    vertices = [one for number, one in enumerate(vertices) if one != vertices[number - 1]]
    if len(set(vertices)) < 3:
        raise _wrong(name, text, "a polygon with three different vertices at least")
    if (why := _flaw(vertices)) is not None:
        raise _wrong(name, text, why)
    return Polygon(tuple(vertices))


def range_(name: str, text: str) -> Range:
    """``lon1 lon2 lat1 lat2`` in degrees; the ends may be infinite (SODA 1.0 §3.3.3, SIA 2.0 §2.1.1)."""
    numbers = _numbers(name, text, infinite=True)
    if len(numbers) != 4:
        raise _wrong(name, text, "four numbers: two longitudes and two latitudes in degrees")
    west, east, south, north = numbers
    west, east = (0.0 if west == -math.inf else west), (360.0 if east == math.inf else east)
    south, north = (-90.0 if south == -math.inf else south), (90.0 if north == math.inf else north)
    _require_on_sky(name, text, [(west, south), (east, north)])
    if south > north:
        raise _wrong(name, text, "a range with the smaller latitude first")
    if south == north or west == east:
        raise _wrong(name, text, "a range with an extent; its ends are equal")
    return Range(west, east, south, north)


_SHAPES = {"CIRCLE": circle, "RANGE": range_, "POLYGON": polygon}


def position(text: str) -> Shape:
    """POS: a word for the shape, and its numbers."""
    word, _, rest = text.strip().partition(" ")
    reader = _SHAPES.get(word.upper())
    if reader is None:
        raise _wrong("POS", text, "CIRCLE, RANGE or POLYGON, and then its numbers")
    return reader(f"POS {word.upper()}", rest)  # type: ignore[return-value]


def interval(name: str, text: str, unit: str) -> Interval:
    """Two numbers, the smaller one first; either may be infinite. One number stands for both (DALI 1.1 §3.3.4)."""
    numbers = _numbers(name, text, infinite=True)
    if len(numbers) == 1 and math.isfinite(numbers[0]):
        numbers *= 2
    if len(numbers) != 2 or not numbers[0] <= numbers[1] or numbers[0] == math.inf or numbers[1] == -math.inf:
        raise _wrong(name, text, f"an interval: two numbers ({unit}), the smaller one first")
    return Interval(*numbers)


def state(text: str) -> str:
    """A polarization state."""
    word = text.strip().upper()
    if word not in STATES:
        raise _wrong("POL", text, f"one of {', '.join(STATES)}")
    return word


def _numbers(name: str, text: str, *, infinite: bool = False) -> list[float]:
    if len(text) > LONGEST:
        raise Usage(f"{name} has {len(text)} characters; at most {LONGEST} are taken.")
    found = []
    for word in text.split():
        special = _INFINITE.get(word.lower()) if infinite else None
        if special is None and not _NUMBER.fullmatch(word):
            kind = "numbers" if infinite else "finite numbers"
            raise _wrong(name, text, f"{kind} with spaces between; {word[:40]!r} is none")
        number = float(word) if special is None else special
        if special is None and not math.isfinite(number):
            raise _wrong(name, text, f"numbers that a computer can hold; {word[:40]!r} is too large")
        found.append(number)
    return found


def _require_on_sky(name: str, text: str, points: Sequence[tuple[float, float]]) -> None:
    for lon, lat in points:
        if not 0 <= lon <= 360:
            raise _wrong(name, text, f"longitudes from 0 to 360 degrees, not {lon:.10g}")
        if not -90 <= lat <= 90:
            raise _wrong(name, text, f"latitudes from -90 to 90 degrees, not {lat:.10g}")


def _flaw(vertices: Sequence[tuple[float, float]]) -> str | None:
    """What must hold for a polygon, if it does not."""
    vectors = [_unit(*one) for one in vertices]
    centre = _normal([math.fsum(one[axis] for one in vectors) for axis in range(3)])
    if centre is None or any(_dot(one, centre) <= 1e-6 for one in vectors):
        return "a polygon that fits into one half of the sky"
    doubled = math.fsum(_dot(centre, _cross(one, vectors[number - 1])) for number, one in enumerate(vectors))
    return None if abs(doubled) > 1e-15 else "a polygon with an area"


def _unit(lon: float, lat: float) -> tuple[float, float, float]:
    across = math.cos(math.radians(lat))
    return across * math.cos(math.radians(lon)), across * math.sin(math.radians(lon)), math.sin(math.radians(lat))


def _normal(vector: Sequence[float]) -> tuple[float, float, float] | None:
    length = math.sqrt(_dot(vector, vector))
    return None if length < 1e-9 else (vector[0] / length, vector[1] / length, vector[2] / length)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _cross(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    return (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )


def _wrong(name: str, text: str, allowed: str) -> Usage:
    """``name`` is a parameter's name, with POS's shape behind it."""
    parameter, _, shape = name.partition(" ")
    given = f"{shape} {text}" if shape else text
    return Usage(f"{parameter}={given[:80]!r} is not allowed; it must be {allowed}.")

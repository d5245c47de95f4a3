"""SODA's parameters with arbitrary values.

Each leads to an answer or a `Usage` of one line, and soon.
"""

from __future__ import annotations

import math
import os
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.soda.test_boxes import image
from uws_service.soda.errors import CutoutError, NoOverlap, Usage
from uws_service.soda.pixels import box
from uws_service.soda.request import NAMES, STATES, Circle, Polygon, Range, parse

EXAMPLES = int(os.environ.get("UWS_FUZZ_EXAMPLES", "400"))
SECONDS = 1.0
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)

SPECIAL = (
    "nan NaN inf -inf +Inf infinity 1e999 -1e999 1e-999 0x10 1_000 ١٢ ½ 1,2 1d5 .5 5. . + - e5 1e 1e+ --1 +-1 "
    "360.0000001 -0 90.0000000001 9007199254740993 \x00 \ud800 '' \" ; ' OR 1=1"
).split(" ")
SHAPES = ["CIRCLE", "circle", "RANGE", "POLYGON", "BOX", "ELLIPSE", "UNION", "MOC", ""]
GAPS = [" ", "\t", "\n", "  ", ",", "/", "\u00a0"]


def _round(number: float) -> str:
    return f"{number:.3f}"


WORD = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.sampled_from(SPECIAL),
    st.text(max_size=8),
    st.floats(-400, 400).map(_round),
)
WORDS = st.lists(WORD, max_size=14)
VALUE = st.one_of(
    WORDS.map(" ".join),
    st.builds(str.join, st.sampled_from(GAPS), WORDS),
    st.builds("{} {}".format, st.sampled_from(SHAPES), WORDS.map(" ".join)),
    st.sampled_from(STATES),
    st.text(max_size=30),
    st.builds(str.__mul__, st.text(min_size=1, max_size=3), st.integers(1, 60_000)),
)
VALUES = st.dictionaries(st.sampled_from(NAMES), st.lists(VALUE, max_size=5), max_size=7)


@FUZZ
@given(VALUES)
@example({"ID": ["a"], "POLYGON": ["1 " * 49_000]})
@example({"ID": ["a"], "CIRCLE": ["1" * 99_000 + " 2 3"]})
@example({"ID": ["a"], "BAND": ["1 2"] * 20_000, "TIME": [f"{n} {n}" for n in range(20_000)]})
def test_values_of_any_kind(values: dict[str, list[str]]) -> None:
    """The request keeps its limits, or gets a short error."""
    values = {"ID": ["a"], **values}
    begin = time.perf_counter()
    try:
        request = parse(values)
    except Usage as error:
        assert str(error).isprintable() and len(str(error)) < 2000, repr(str(error))
    else:
        assert 1 <= request.count <= 1000
        for cut in request.cuts():
            assert "\n" not in str(cut)
    assert time.perf_counter() - begin < SECONDS


ANGLE = st.one_of(st.floats(0, 360), st.sampled_from([0.0, 1e-300, 5e-324, 359.9999999999, 360.0, 180.0]))
LATITUDE = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, -0.0, 89.9999999999, 1e-300]))
SIZES = st.sampled_from([1e-12, 1e-6, 0.1, 5.0, 40.0])
TURNS = st.lists(st.floats(0, 6.3), min_size=3, max_size=8)


def _circle(lon: float, lat: float, radius: float) -> tuple[str, list[float]]:
    return "CIRCLE", [lon, lat, radius]


def _range(*numbers: float) -> tuple[str, list[float]]:
    return "RANGE", list(numbers)


def _polygon(pairs: list[tuple[float, float]]) -> tuple[str, list[float]]:
    return "POLYGON", [number for pair in pairs for number in pair]


def _around(lon: float, lat: float, size: float, turns: list[float]) -> tuple[str, list[float]]:
    corners = [(lon + size * math.cos(turn), lat + size * math.sin(turn)) for turn in turns]
    return _polygon([(x % 360, min(90.0, max(-90.0, y))) for x, y in corners])


POSITIONS = st.one_of(
    st.builds(_circle, ANGLE, LATITUDE, st.one_of(st.floats(1e-320, 180), st.just(180.0))),
    st.builds(_range, ANGLE, ANGLE, LATITUDE, LATITUDE),
    st.lists(st.tuples(ANGLE, LATITUDE), min_size=3, max_size=12).map(_polygon),
    st.builds(_around, ANGLE, LATITUDE, SIZES, TURNS),
)


@pytest.mark.parametrize("name", ["tangential", "north pole", "galactic", "half the sky", "all the sky", "FK5"])
@settings(FUZZ, max_examples=max(20, EXAMPLES // 10))
@given(POSITIONS)
def test_regions_of_any_kind_in_images(name: str, position: tuple[str, list[float]]) -> None:
    """Every region gives pixels or no overlap."""
    word, numbers = position
    celestial, _ = image(name)
    begin = time.perf_counter()
    try:
        (shape,) = parse({"ID": ["a"], "POS": [f"{word} {' '.join(repr(float(number)) for number in numbers)}"]}).shapes
        assert isinstance(shape, Circle | Range | Polygon)
        pixels = box(celestial, shape)
    except (Usage, NoOverlap):
        pass
    except CutoutError as error:
        raise AssertionError(str(error)) from error
    else:
        assert 0 <= pixels.x0 < pixels.x1 <= celestial.nx
        assert 0 <= pixels.y0 < pixels.y1 <= celestial.ny
    assert time.perf_counter() - begin < 5 * SECONDS

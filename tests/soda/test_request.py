"""SODA's parameters as texts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uws_service.soda.errors import CutoutError, MultiValued, Usage
from uws_service.soda.request import Circle, Interval, Polygon, Range, interval, parse, position

ID = ["ivo://x/y?z"]


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("CIRCLE 12.0 34.0 0.5", Circle(12, 34, 0.5)),
        ("circle  360 -90\t180", Circle(0, -90, 180)),
        ("RANGE 12.0 12.5 34.0 36.0", Range(12, 12.5, 34, 36)),
        ("RANGE 0 360 89 +Inf", Range(0, 360, 89, 90)),
        ("RANGE -Inf +Inf -2 2", Range(0, 360, -2, 2)),
        ("RANGE 359 1 -1 1", Range(359, 1, -1, 1)),
        ("POLYGON 12 34 14 35 14 36 12 35", Polygon(((12, 34), (14, 35), (14, 36), (12, 35)))),
        ("POLYGON 12 34 14 35 14 36 12 34", Polygon(((12, 34), (14, 35), (14, 36)))),  # closed by its sender
        ("POLYGON 0 80 120 80 240 80", Polygon(((0, 80), (120, 80), (240, 80)))),  # around the pole
    ],
)
def test_regions(text: str, shape: object) -> None:
    """S-002: POS in any case and white space."""
    assert position(text) == shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "CIRCLE, RANGE or POLYGON"),
        ("12 34 0.5", "CIRCLE, RANGE or POLYGON"),
        ("CIRCLE 12 34", "three numbers"),
        ("CIRCLE 12 34 -1", "a radius above 0"),
        ("CIRCLE 12 34 181", "up to 180"),
        ("CIRCLE 361 34 1", "longitudes from 0 to 360"),
        ("CIRCLE 12,34,1", "'12,34,1' is none"),
        ("CIRCLE 0x1 34 1", "'0x1' is none"),
        ("CIRCLE Inf 34 1", "'Inf' is none"),
        ("CIRCLE ١٢ 34 1", "is none"),
        ("RANGE 1 2 4 3", "the smaller latitude first"),
        ("RANGE 1 2 3 3", "with an extent"),
        ("RANGE 5 5 3 4", "with an extent"),
        ("RANGE Inf 2 3 4", "longitudes from 0 to 360"),
        ("POLYGON 1 1 2 2", "at least three pairs"),
        ("POLYGON 1 1 2 2 3 3 4", "at least three pairs"),
        ("POLYGON 1 1 1 1 1 1", "three different vertices"),
        ("POLYGON 10 0 20 0 30 0", "with an area"),
        ("POLYGON 0 0 120 0 240 0", "one half of the sky"),
        ("POLYGON " + "1 1 2 2 3 1 " * 400, "1200 vertices; at most 1000"),
    ],
)
def test_regions_that_are_none(text: str, message: str) -> None:
    """The message names POS, and what is allowed."""
    with pytest.raises(Usage) as error_info:
        position(text)
    assert message in error_info.value.message
    assert str(error_info.value).startswith("UsageError: POS")


def test_intervals() -> None:
    """DALI 1.1 §3.3.4: ends may be infinite."""
    assert interval("BAND", "0.5 1.0", "m") == Interval(0.5, 1)
    assert interval("BAND", "-Inf 300", "m") == Interval(-math.inf, 300)
    assert interval("BAND", "0 +Inf", "m") == Interval(0, math.inf)
    assert interval("TIME", "55708.0", "MJD") == Interval(55708, 55708)
    for wrong in ("", "2 1", "1 2 3", "Inf", "Inf Inf", "-Inf -Inf", "NaN 1", "a b", "1e400 1e401"):
        with pytest.raises(Usage, match="BAND="):
            interval("BAND", wrong, "m")


def test_every_combination() -> None:
    """S-004: combinations in the order of values."""
    values = {
        "ID": ["a", "b", "a"],
        "CIRCLE": ["1 2 3", "1.0 2.0 3.0"],
        "POS": ["CIRCLE 4 5 6"],
        "BAND": ["1 2", "3 4"],
        "POL": ["I", "q"],
    }
    request = parse(values)
    cuts = list(request.cuts())
    assert len(cuts) == request.count == 8
    assert {cut.pol for cut in cuts} == {("I", "Q")}
    assert [(cut.id, cut.band.low if cut.band else None) for cut in cuts[:3]] == [("a", 1), ("a", 3), ("a", 1)]
    with pytest.raises(Usage, match="8 cutouts; a request may have at most 7"):
        parse(values, 7)


def test_single() -> None:
    """S-003: several of anything but POL."""
    parse({"ID": ID, "POL": ["I", "V"], "CIRCLE": ["1 2 3"]}).require_single()
    for numbers in (
        {"CIRCLE": ["1 2 3", "1 2 4"]},
        {"TIME": ["1 2", "1 3"]},
        {"CIRCLE": ["1 2 3"], "POS": ["CIRCLE 1 2 4"]},
    ):
        with pytest.raises(MultiValued):
            parse({"ID": ID, **numbers}).require_single()


@pytest.mark.parametrize("wrong", ["", "a\nb", "\x00", "x" * 3000])
def test_ids_that_are_none(wrong: str) -> None:
    """An id is printable and short."""
    with pytest.raises(Usage, match="ID"):
        parse({"ID": [wrong]})


@settings(max_examples=200)
@given(st.sampled_from(["CIRCLE", "POLYGON", "POS", "BAND", "TIME", "POL"]), st.text(max_size=80))
def test_any_text_is_understood_or_refused(name: str, text: str) -> None:
    """The only error is `Usage`, of one line."""
    try:
        parse({"ID": ID, name: [text]})
    except CutoutError as error:
        assert "\n" not in str(error) and name in str(error)


numbers = st.floats() | st.sampled_from([0.0, 90.0, -90.0, 360.0, 180.0, 1e-300, 1e300])


@settings(max_examples=200)
@given(st.sampled_from(["CIRCLE", "RANGE", "POLYGON"]), st.lists(numbers, min_size=3, max_size=8))
def test_any_numbers_are_understood_or_refused(word: str, values: list[float]) -> None:
    """What is accepted is a region of the sky."""
    try:
        shape = position(f"{word} {' '.join(map(repr, values))}")
    except Usage:
        return
    match shape:
        case Circle():
            assert 0 < shape.radius <= 180 and 0 <= shape.lon < 360
        case Range():
            assert 0 < shape.width <= 360 and shape.south < shape.north
        case Polygon():
            assert len(shape.vertices) >= 3

"""Overviews of tables.

Samples, cells and plots stand for all rows, whatever the numbers are.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from uws_service.adql.model import Column
from uws_service.tap.overview import MAX_CELL_CHARACTERS, NumberSample, Overview
from uws_service.tap.plot import MAX_DRAWN, plot_svg, ticks
from uws_service.tap.sky_bins import MAX_DRAWN_CELLS, SkyBins

NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = (Column("raj2000", "double", unit="deg"), Column("dej2000", "double"), Column("text", "char", "*"))


def parsed(svg: str) -> etree._Element:
    """Parse a picture."""
    return etree.fromstring(svg.encode(), etree.XMLParser(resolve_entities=False, no_network=True))


def test_a_sample_is_of_all_rows() -> None:
    """However the rows come, early and late ones have the same chance."""
    sample = NumberSample(1)
    for begin in range(0, 200_000, 777):
        sample.add(np.arange(begin, min(begin + 777, 200_000), dtype=float)[:, None], begin)
    (values,) = sample.columns()
    assert len(values) == 2000 == len(set(values)) and values == sorted(values, key=lambda value: value or 0)
    quarters = np.histogram([value for value in values if value is not None], 4, (0, 200_000))[0]
    assert all(400 < count < 600 for count in quarters)


def test_numbers_that_are_none() -> None:
    """NaN, infinities and nulls are no points; other values keep their rows."""
    column = Column("x", "double")
    overview = Overview((column,), 10)
    overview.add(pa.record_batch([[1.0, float("nan"), float("inf"), None, 2.0]], ["x"]))
    content = overview.as_dict()
    assert content["sample"] == [[1.0, None, None, None, 2.0]] and content["count"] == 5
    assert content["rows"][3] == [None] and content["sky"] == ""


def test_positions_by_names_and_long_texts() -> None:
    """Columns without UCDs are found by usual names; a text does not make a page large."""
    overview = Overview(COLUMNS, 10)
    overview.add(pa.record_batch([[10.0, 20.0], [41.0, None], ["x" * 10_000, "y"]], ["raj2000", "dej2000", "text"]))
    content = overview.as_dict()
    assert (content["located"], content["count"]) == (1, 2)
    assert len(content["rows"][0][2]) == MAX_CELL_CHARACTERS


def test_cells_count_every_position() -> None:
    """The picture's title has their number, and its size does not grow with it."""
    random = np.random.default_rng(2)
    bins = SkyBins()
    for _ in range(6):
        bins.add(random.random(50_000) * 360, np.degrees(np.arcsin(random.random(50_000) * 2 - 1)))
    bins.add(np.array([np.nan, 1.0, 1e9]), np.array([0.0, 91.0, 0.0]))
    picture, cells = bins.svg()
    assert 1000 < cells <= MAX_DRAWN_CELLS and len(picture) < 500_000
    title = parsed(picture).findtext("{http://www.w3.org/2000/svg}title") or ""
    assert title.startswith("300000 positions")


def test_cells_of_a_small_field() -> None:
    bins = SkyBins()
    random = np.random.default_rng(3)
    bins.add(359.9 + random.random(20_000) * 0.2, 89.8 + random.random(20_000) * 0.1)
    picture, cells = bins.svg()
    assert cells > 10 and "whole sky" not in picture


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20), st.booleans())
def test_any_numbers_make_a_plot(points: list[tuple[float | None, float | None]], upside_down: bool) -> None:
    """No number is too large or too small; each point is within the frame."""
    picture, count = plot_svg([x for x, _ in points], [y for _, y in points], "<x>", 'a & "b"', upside_down=upside_down)
    assert count == sum(x is not None and y is not None and max(abs(x), abs(y)) <= MAX_DRAWN for x, y in points)
    if count:
        circles = parsed(picture).findall("{http://www.w3.org/2000/svg}circle")
        assert len(circles) == count
        for circle in circles:
            assert 0 <= float(circle.get("cx") or -1) <= 720 and 0 <= float(circle.get("cy") or -1) <= 420


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-5, 12345), (1e-300, 2e-300), (1e15, 1e15 + 1), (-1e300, 1e300)])
def test_ticks_are_few_and_within(low: float, high: float) -> None:
    values = [value for value, _ in ticks(low, high)]
    assert len(values) <= 20 and all(low <= value <= high for value in values)
    assert all(math.isfinite(value) for value in values)


def test_magnitudes_grow_downwards() -> None:
    """The brightest is above."""
    picture, _ = plot_svg([1, 2], [5, 15], "x", "mag", upside_down=True)
    first, second = (float(value) for value in re.findall(r'cy="([\d.]+)"', picture))
    assert first < second

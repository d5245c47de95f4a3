"""What Site Capabilities publishes of sites, and where the settings contradict it."""

from __future__ import annotations

from typing import Any

import pytest

from uws_service.placement.model import Window
from uws_service.placement.published import Compute, Published, parse_published

HOUR_MS = 3_600_000
COMPUTE = {
    "id": "c1",
    "name": None,
    "parent_site_id": "s1",
    "is_force_disabled": False,
    "downtime": [
        {
            "id": "d",
            "type": "Planned",
            "reason": "new\ncooling",
            "date_range": "1970-01-01T01:00Z to 1970-01-01T02:00Z",
        },
        {"id": "e", "type": "Unplanned", "reason": None, "date_range": "1970-01-01 03:00:00 to 1970-01-01 04:00:00"},
    ],
}
STORAGES = [
    {"id": "st1", "parent_site_id": "s1", "areas": [{"id": "a1"}, {"id": "a2", "name": None}]},
    {"id": "st2", "parent_site_id": "s2", "areas": [{"id": "b1"}, {"name": "without an id"}]},
]


def test_what_is_published() -> None:
    published = parse_published([COMPUTE], STORAGES)
    windows = (Window(HOUR_MS, 2 * HOUR_MS, "new cooling"), Window(3 * HOUR_MS, 4 * HOUR_MS, "unplanned"))
    assert published.computes == {"c1": Compute("s1", windows)}
    assert published.areas_of("s1") == ("a1", "a2")
    assert published.contradictions("c1", ["a1", "other"]) == ()


def test_contradictions_are_told() -> None:
    published = parse_published([COMPUTE], STORAGES)
    assert published.contradictions("c1", ["b1"]) == (
        "the storage area b1 is that of another site in Site Capabilities",
    )
    assert published.contradictions("c9", []) == ("Site Capabilities knows no compute element c9",)
    assert Published().contradictions("c9", []) == (), "nothing has been read yet"


@pytest.mark.parametrize("dates", ["soon", "2027-01-10 to ", "2027-01-11 to 2027-01-10", None, "2027-01-10", 7])
def test_down_times_that_make_no_sense_are_told(dates: Any) -> None:
    published = parse_published([{**COMPUTE, "downtime": [{"date_range": dates}]}], STORAGES)
    assert not published.computes["c1"].windows
    (problem,) = published.contradictions("c1", [])
    assert "down time" in problem


@pytest.mark.parametrize("answer", [None, {}, "x", [1, None, {"id": None}], [{"downtime": "x"}]])
def test_answers_that_are_none(answer: Any) -> None:
    assert parse_published(answer, answer) == Published()

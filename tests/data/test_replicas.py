"""Decisions about data sets: bounds, and which bytes are where."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from uws_service.data.replicas import (
    Locality,
    Storage,
    Unusable,
    bind,
    bytes_by_area,
    check_parameter,
    fetch_url,
    locality,
    spread,
)
from uws_service.domain.attempt import Input, Launch
from uws_service.domain.dataset import DataFile, DataParameter, DataSet, Replica, Spread
from uws_service.domain.errors import UsageError
from uws_service.domain.jobinfo import JobInfo


def parameter(*files: DataFile, **changes: Any) -> DataParameter:
    return DataParameter("D", ("ska:d",), 1000, sets=(DataSet("ska:d", files),), **changes)


def at(name: str, size: int | None, *areas: str, url: str = "https://example.org/x") -> DataFile:
    return DataFile(name, size, {}, tuple(Replica(area, url, f"p/{name}") for area in areas))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "has no files"),
        ((at("a", 500, "N"), at("b", 501, "N")), "more than the 1000 bytes"),
        ((at("a", 1),), "a of ska:d has no replica"),
        ((at("a", 1, "N"), DataFile("b", 1, {}, (Replica("", "root://x/b"),))), "b of ska:d has no replica"),
        ((at("x/a", 1, "N"), at("y/a", 1, "N")), "two files have the name 'a'"),
        (tuple(at(f"f{number}", 1, "N") for number in range(11)), "more than 10 files"),
    ],
)
def test_bounds(files: tuple[DataFile, ...], words: str) -> None:
    with pytest.raises(Unusable) as raised:
        check_parameter(parameter(*files), 10)
    assert words in str(raised.value)


def test_sizes_up_to_the_bounds_are_taken() -> None:
    check_parameter(parameter(at("a", 500, "N"), at("b", 500, "N"), at("c", None, "N")), 3)


def test_bytes_by_area() -> None:
    data = parameter(at("a", 5, "N", "S"), at("b", 7, "S", "S"), at("c", None, "N"))
    assert bytes_by_area([data, data]) == {"N": 10, "S": 24}


def test_locality() -> None:
    data = parameter(at("a", 5, "N", "S"), at("b", 7, "S"), at("c", 9, "T", url=""))
    places = spread([data])
    assert locality(places, [Storage("N"), Storage("T", "volume")]) == Locality(3, 2, 21, 14, reachable=True)
    assert locality(places, [Storage("S")]) == Locality(3, 2, 21, 12, reachable=False), "c is nowhere but in T"
    assert locality(places, [Storage("T")]).reachable is False, "T is near, but can't be mounted"
    assert locality(places, [Storage("S")]).bytes_to_move == 9
    assert locality([], []) == Locality()


def test_files_at_the_same_places_are_one_entry() -> None:
    many = parameter(*(at(f"f{number}", 2, "N", "S") for number in range(400)), at("o", 5, "N"))
    assert spread([many]) == (
        Spread(frozenset({"N", "S"}), frozenset({"N", "S"}), True, 400, 800),
        Spread(frozenset({"N"}), frozenset({"N"}), True, 1, 5),
    )


def test_very_many_places_share_an_entry() -> None:
    data = parameter(*(at(f"f{number}", 1 + number, "N", f"A{number}") for number in range(400)))
    places = spread([data])
    assert len(places) == 64
    assert sum(entry.bytes for entry in places) == data.sets[0].size if data.sets else 0
    assert places[-1].areas == frozenset({"N"})
    assert locality(places, [Storage("N")]).files_here == 400
    assert JobInfo.from_json(json.loads(json.dumps(JobInfo(data=places).to_json()))).data == places


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("davs://a.example:443/x", "https://a.example:443/x"),
        ("dav://a/x", "http://a/x"),
        ("HTTPS://a/x", "https://a/x"),
        ("root://a/x", ""),
        ("file:///etc/passwd", ""),
        ("a/x", ""),
        ("https://a/x y", ""),
        ("https://a/x\r\nHost: b", ""),
        ("", ""),
    ],
)
def test_only_https_and_webdav_are_fetched(url: str, result: str) -> None:
    assert fetch_url(url) == result


@pytest.mark.parametrize("path", ["data", "data/D", "data/D/a", "data/D/a/b", "data/D/./a"])
def test_no_other_input_lies_where_the_data_do(path: str) -> None:
    """A site would try to put both there again and again."""
    launch = Launch(
        "j", 1, "app", "", ("true",), "", {}, "{}", (Input("I", path, url="https://example.org/i"),), (), 0, 1, 1, 1,
        data=(parameter(at("a", 1, "N")),),
    )  # fmt: skip
    with pytest.raises(UsageError, match="are the job's data"):
        bind(launch, ())
    apart = replace(launch, inputs=(Input("I", "data/E", url="https://example.org/i"),))
    assert [item.path for item in bind(apart, ()).inputs] == ["data/E", "data/D/a"]

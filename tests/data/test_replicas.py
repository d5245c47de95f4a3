"""Decisions about data sets: bounds, and which bytes are where."""

from __future__ import annotations

from typing import Any

import pytest

from uws_service.data.replicas import Locality, Storage, Unusable, bytes_by_area, check_parameter, fetch_url, locality
from uws_service.domain.dataset import DataFile, DataParameter, DataSet, Replica


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
    assert locality([data], [Storage("N"), Storage("T", "volume")]) == Locality(3, 2, 21, 14, reachable=True)
    assert locality([data], [Storage("S")]) == Locality(3, 2, 21, 12, reachable=False), "c is nowhere but in T"
    assert locality([data], [Storage("S")]).bytes_to_move == 9
    assert locality([], []) == Locality()


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

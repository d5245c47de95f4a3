"""Decisions about data sets.

Bounds, and which bytes are where.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from uws_service.data.replicas import (
    Storage,
    Unusable,
    bind,
    brought_bytes,
    check_parameter,
    fetch_url,
)
from uws_service.domain.attempt import Input, Launch
from uws_service.domain.dataset import DataFile, DataParameter, DataSet, Replica
from uws_service.domain.errors import UsageError


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


def test_what_is_moved_to_a_site() -> None:
    """Files of none of its storage areas are fetched from elsewhere; those that came there since were brought."""
    areas = (Storage("S"), Storage("T"))
    before = (parameter(at("a", 1, "N"), at("b", 20, "N", "T"), at("c", 300, "N"), at("d", None, "N")),)
    launch = Launch("j", 1, "app", "", ("true",), "", {}, "{}", (), (), 0, 1, 1, 1, data=before)
    assert bind(launch, areas).away == ("data/D/a", "data/D/c", "data/D/d")
    assert bind(launch, (*areas, Storage("N"))).away == ()
    now = (parameter(at("a", 1, "N", "S"), at("b", 20, "T"), at("c", 300, "N"), at("d", None, "S")),)
    assert brought_bytes(before, now, areas) == 1
    assert brought_bytes(before * 2, now * 2, areas) == 1, "a file that two parameters name is brought once"
    assert brought_bytes(before, before, areas) == 0

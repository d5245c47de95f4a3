"""What a reload takes over at once, and what needs a new start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from uws_service.applications import Application, ParameterSpec, Standard
from uws_service.applications.changes import changes_of
from uws_service.applications.model import DataTokenSpec


def application(name: str, **fields: Any) -> Application:
    return Application(name, name, "Does things.", ("true",), **fields)


def test_plain_applications_change_at_once() -> None:
    """Changed, added, removed; what is as it was is not spoken of."""
    old = {name: application(name) for name in ("same", "changed", "gone")}
    new = {name: application(name) for name in ("same", "fresh")} | {"changed": application("changed", archive=True)}
    changes = changes_of(old, new)
    assert (changes.added, changes.changed, changes.removed, changes.postponed) == (
        ("fresh",), ("changed",), ("gone",), (),
    )  # fmt: skip
    assert dict(changes.current) == new


def test_what_has_parts_of_its_own_waits() -> None:
    """Other standards, the first data set, the first data token."""
    tap = Standard("tap")
    old = {"a": application("a", standard=tap), "b": application("b", standard=tap), "c": application("c")}
    new = {
        "a": replace(old["a"], archive=True),
        "c": replace(old["c"], standard=tap),
        "d": application("d", parameters=(ParameterSpec("D", dataset=True),)),
        "e": application("e", data_token=DataTokenSpec("T", "x")),
    }
    changes = changes_of(old, new)
    assert changes.postponed == ("a", "b", "c", "d", "e") and dict(changes.current) == old
    with_data = {"d": application("d", parameters=(ParameterSpec("D", dataset=True),))}
    assert changes_of(with_data, with_data | {"f": replace(with_data["d"], name="f")}).added == ("f",)

"""Values of parameters: D-030, D-031, U-139."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.applications import Application, ParameterSpec, ResultSpec, UploadSpec, check, launch
from uws_service.applications.literals import check_literal
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Job, Parameter, Phase


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        ({"datatype": "double"}, ["1", "-2.5e3", ".5", "NaN", "+Inf", "-inf"], ["", "x", "1,5", "0x1", "1e99999"]),
        ({"datatype": "int"}, ["0", "-7", "2147483647"], ["2147483648", "1.0", "", "٣"]),
        ({"datatype": "short", "minimum": 1, "maximum": 9}, ["1", "9"], ["0", "10"]),
        ({"datatype": "boolean"}, ["T", "false", "1"], ["yes", ""]),
        ({"datatype": "char", "arraysize": "3"}, ["abc", "a"], ["abcd"]),
        ({"datatype": "char", "options": ("I", "Q")}, ["I"], ["i", "V"]),
        ({"datatype": "char", "xtype": "timestamp"}, ["2026-01-02", "2026-01-02T03:04:05.6"], ["2026", "yesterday"]),
        ({"datatype": "double", "arraysize": "2", "xtype": "interval"}, ["0.5 1.0", "-Inf 0"], ["1 0.5", "1", "1 2 3"]),
        ({"datatype": "double", "arraysize": "2", "xtype": "point"}, ["12.3 45.6"], ["12.3 95", "361 0", "NaN 0", "1"]),
        ({"datatype": "double", "arraysize": "3", "xtype": "circle"}, ["10 10 0.5"], ["10 10 0", "10 10 181", "10 10"]),
        ({"datatype": "double", "arraysize": "*", "xtype": "polygon"}, ["1 1 2 1 2 2"], ["1 1 2 1", "1 1 2 1 2"]),
    ],
)
def test_literals(spec: dict[str, object], good: list[str], bad: list[str]) -> None:
    """D-030: each literal form, at its edges."""
    declared = ParameterSpec(name="P", **spec)  # type: ignore[arg-type]
    for text in good:
        check_literal(declared, text)
    for text in bad:
        with pytest.raises(UsageError, match=r"P='.*must be"):
            check_literal(declared, text)


def test_private_xtypes_are_left_to_the_application() -> None:
    """D-031: an unknown xtype is no reason to refuse."""
    check_literal(ParameterSpec(name="P", datatype="char", arraysize="*", xtype="x:mine"), "anything")


@given(st.text(max_size=40))
def test_any_text_is_taken_or_refused_with_words(text: str) -> None:
    """No input leads to anything but UsageError."""
    for datatype, xtype in (("double", None), ("int", None), ("double", "polygon"), ("char", "timestamp")):
        with contextlib.suppress(UsageError):
            check_literal(ParameterSpec(name="P", datatype=datatype, arraysize="*", xtype=xtype), text)


FORMATS = {"csv": "text/csv", "votable": "application/x-votable+xml"}
APPLICATION = Application(
    name="a",
    title="t",
    description="d",
    command=("run", "--n={N}", "{TAG}", "--file={INPUT:IMAGE}", "--all=${UWS_INPUT_DIR}/uploads"),
    parameters=(
        ParameterSpec("N", "int"),
        ParameterSpec("TAG", arraysize="*", repeated=True),
        ParameterSpec("IMAGE", file=True),
    ),
    uploads=UploadSpec(maximum=2),
    results=(ResultSpec("result", "r", "text/csv", formats=FORMATS),),
)
JOB = Job(id="j", application="a", owner=None, phase=Phase.QUEUED, created=1, duration=5, destruction=None)


def plan(*pairs: tuple[str, str]) -> tuple[str, ...]:
    return launch(APPLICATION, JOB, check(APPLICATION, [Parameter(*pair) for pair in pairs]), 1).command


def test_command() -> None:
    """Placeholders: absent, repeated; values stay in one word."""
    tail = ("--all=${UWS_INPUT_DIR}/uploads",)
    assert plan() == ("run", *tail)
    assert plan(("n", "3"), ("TAG", "a b; rm -rf /"), ("tag", "{N}")) == ("run", "--n=3", "a b; rm -rf /", "{N}", *tail)
    assert plan(("IMAGE", "https://e.org/i.fits")) == ("run", "--file=${UWS_INPUT_DIR}/files/IMAGE", *tail)


@pytest.mark.parametrize(
    ("requested", "name", "media_type"),
    [
        (None, "csv", "text/csv"),
        ("votable", "votable", "application/x-votable+xml"),
        ("VOTable", "votable", "application/x-votable+xml"),
        ("text/xml", "votable", "text/xml"),
        ("text/csv;header=present", "csv", "text/csv;header=present"),
    ],
)
def test_responseformat(requested: str | None, name: str, media_type: str) -> None:
    """D-024: what was asked for is what the result is called."""
    parameters = [Parameter("ResponseFormat", requested)] if requested else []
    checked = check(APPLICATION, parameters)
    assert (checked.format, checked.media_type) == (name, media_type)


def test_request_is_tolerated() -> None:
    """D-022, D-023: REQUEST, VERSION and LANG change nothing."""
    pairs = {"REQUEST": "doQuery", "VERSION": "1.0", "LANG": "ADQL", "ZZZ": "1"}
    assert check(APPLICATION, [Parameter(*pair) for pair in pairs.items()]) == check(APPLICATION, [])

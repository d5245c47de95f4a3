"""Values of every type, and the commands they make."""

from __future__ import annotations

import json
import math
import struct
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.applications import Application, ParameterSpec, ResultSpec, UploadSpec, check, launch
from uws_service.applications.literals import BOOLEANS, INTEGERS, check_literal
from uws_service.applications.parameters import LONGEST_WORD
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Job, Parameter, Phase

JOB = Job(id="j", application="a", owner=None, phase=Phase.QUEUED, created=1, duration=5, destruction=None)


def taken(text: str, **spec: Any) -> bool:
    try:
        check_literal(ParameterSpec("P", **spec), text)
    except UsageError as error:
        assert "P=" in str(error) and "must be" in str(error)
        return False
    return True


@given(st.sampled_from(sorted(INTEGERS)), st.integers(-(2**65), 2**65) | st.integers(-300, 300))
def test_integers(datatype: str, number: int) -> None:
    """D-030: exactly those that the type can hold."""
    low, high = INTEGERS[datatype]
    fits = low <= number <= high
    assert taken(str(number), datatype=datatype) is fits
    assert taken(f" {number} ", datatype=datatype) is fits
    assert not taken(f"{number}.0", datatype=datatype)
    if number >= 0:
        assert taken(f"+0{number}", datatype=datatype) is (fits and len(str(number)) < 20)


@given(st.floats())
def test_doubles(number: float) -> None:
    """Doubles as Python, C and Java write them."""
    assert taken(repr(number), datatype="double")
    assert taken(f"{number:.17e}" if math.isfinite(number) else str(number).upper(), datatype="double")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats(number: float) -> None:
    """A float takes what it can hold."""
    try:
        holds = math.isfinite(struct.unpack("f", struct.pack("f", number))[0])
    except OverflowError:
        holds = False
    assert taken(repr(number), datatype="float") is holds


@given(st.lists(st.floats(-1e6, 1e6), max_size=6), st.integers(1, 5))
def test_arrays(numbers: list[float], size: int) -> None:
    """D-031: a fixed number, a maximum, or any."""
    text = " ".join(map(repr, numbers))
    assert taken(text, datatype="double", arraysize=str(size)) is (len(numbers) == size)
    assert taken(text, datatype="double", arraysize=f"{size}*") is (len(numbers) <= size)
    assert taken(text, datatype="double", arraysize="*")


LON, LAT = st.floats(0, 360), st.floats(-90, 90)
OFF = st.floats(allow_nan=True).filter(lambda value: not -90 <= value <= 360)


@given(LON, LAT, st.floats(1e-9, 180), OFF)
def test_shapes(lon: float, lat: float, radius: float, off: float) -> None:
    """D-031: points, circles and polygons lie on the sky."""
    point = {"datatype": "double", "arraysize": "2", "xtype": "point"}
    circle = {"datatype": "double", "arraysize": "3", "xtype": "circle"}
    polygon = {"datatype": "double", "arraysize": "*", "xtype": "polygon"}
    position = f"{lon!r} {lat!r}"
    assert (
        taken(position, **point)
        and taken(f"{position} {radius!r}", **circle)
        and taken(" ".join([position] * 3), **polygon)
    )
    for wrong in (f"{off!r} {lat!r}", f"{lon!r} {off!r}"):
        assert not taken(wrong, **point)
        assert not taken(f"{wrong} {radius!r}", **circle)
        assert not taken(f"{position} {position} {wrong}", **polygon)
    assert not taken(f"{position} {-radius!r}", **circle)
    assert not taken(f"{position} {position}", **polygon)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_intervals(low: float, high: float) -> None:
    """D-031: the smaller number first; infinities leave a side open."""
    spec = {"datatype": "double", "arraysize": "2", "xtype": "interval"}
    assert taken(f"{low!r} {high!r}", **spec) is (low <= high)
    assert not taken(f"NaN {high!r}", **spec)


@given(st.datetimes(min_value=datetime(1, 1, 1)))
def test_timestamps(instant: datetime) -> None:
    """Dates and instants as DALI writes them, that exist."""
    spec = {"datatype": "char", "arraysize": "*", "xtype": "timestamp"}
    for text in (instant.isoformat(), instant.isoformat() + "Z", instant.date().isoformat(), instant.isoformat(" ")):
        assert taken(text, **spec), text
    date = instant.date().isoformat()
    for text in (f"{date}T24:00:01", f"{date}T1:2:3", f"{date}+01:00", date.replace("-", "/"), "2026-02-30", "now"):
        assert not taken(text, **spec), text


@given(st.text(max_size=12), st.integers(1, 12))
def test_texts(text: str, size: int) -> None:
    """Any text of at most so many characters."""
    assert taken(text, arraysize=f"{size}*") is (len(text) <= size)
    assert taken(text, arraysize="*") and taken(text)
    assert taken(text, datatype="boolean") is (text.lower() in BOOLEANS)


# --- commands -----------------------------------------------------------------------------------------------------

APPLICATION = Application(
    name="a",
    title="t",
    description="d",
    command=("run", "{N}", "--tag={TAG}", "{TAG}/{N}", "$${N}", "${N}", "{INPUT:TABLE}", "{{N}}", "{ N }", "--end"),
    parameters=(ParameterSpec("N"), ParameterSpec("TAG", arraysize="*", repeated=True)),
    uploads=UploadSpec(maximum=3),
    results=(ResultSpec("result", "r", "text/csv"),),
)


def planned(*pairs: tuple[str, str]) -> Any:
    return launch(APPLICATION, JOB, check(APPLICATION, [Parameter(*pair) for pair in pairs]), 1)


@given(st.lists(st.text(min_size=1, max_size=20), max_size=4), st.text(max_size=20))
def test_a_value_never_leaves_its_word(tags: list[str], number: str) -> None:
    """Each value stays inside one word of the command."""
    plan = planned(*(("TAG", tag) for tag in tags), ("N", number))
    clean = [tag.replace("\0", "") for tag in tags]
    n = [number.replace("\0", "")] if number else []
    expected = ["run", *n, *(f"--tag={tag}" for tag in clean), *(f"{tag}/{n[0]}" for tag in clean if n)]
    expected += ["$${N}", "${N}", *(f"{{{name}}}" for name in n), "{ N }", "--end"]
    assert list(plan.command) == expected
    described = json.loads(plan.parameters)
    assert described.get("N") == (number or None)
    assert described.get("TAG") == (None if not tags else tags[0] if len(tags) == 1 else tags)


def test_environment() -> None:
    """Values by name; long ones are in parameters.json alone."""
    plan = planned(("n", "1"), ("tag", "a"), ("TAG", "b\0c"))
    assert plan.environment == {"UWS_JOB_ID": "j", "UWS_PARAM_N": "1", "UWS_PARAM_TAG": "a\nbc"}
    checked_values = planned(*[("TAG", "x" * (LONGEST_WORD // 2))] * 3)
    assert "UWS_PARAM_TAG" not in checked_values.environment and len(json.loads(checked_values.parameters)["TAG"]) == 3
    with pytest.raises(UsageError, match=f"N has {LONGEST_WORD + 1} bytes; at most {LONGEST_WORD} fit"):
        planned(("N", "x" * (LONGEST_WORD + 1)))


def test_uploads() -> None:
    """D-026, C-17: paths come from checked names only."""
    plan = planned(("UPLOAD", "table,http://h/t;b,https://h/b"), ("upload", "c,http://h/c"))
    assert [(item.name, item.path, item.url) for item in plan.inputs] == [
        ("table", "uploads/table", "http://h/t"),
        ("b", "uploads/b", "https://h/b"),
        ("c", "uploads/c", "http://h/c"),
    ]
    assert "${UWS_INPUT_DIR}/uploads/table" in plan.command
    for bad, message in {
        "a": "must be a table name, a comma and a URI",
        "a,": "must be a table name, a comma and a URI",
        "../x,http://h/": "must be a letter and then",
        "1a,http://h/": "must be a letter and then",
        "a,file:///etc/passwd": "are not taken; use http, https or param:",
        "a,http://[::1": "UPLOAD=a: the URL can't be read",
        "a,param:x": "which was not sent",
        "a,http://h/;A,http://h/": "names the table 'A' twice",
        "a,http://h/;b,http://h/;c,http://h/;d,http://h/": "names 4 tables; at most 3",
    }.items():
        with pytest.raises(UsageError, match=message):
            planned(("UPLOAD", bad))


@pytest.mark.parametrize(
    ("description", "message"),
    [("", "P is required."), ("A name", "P is required: A name."), ("A name.", "P is required: A name.")],
)
def test_message_of_a_missing_value_ends_once(description: str, message: str) -> None:
    spec = ParameterSpec("P", required=True, description=description)
    with pytest.raises(UsageError) as raised:
        check(Application("a", "A", "An application.", ("true",), parameters=(spec,)), ())
    assert raised.value.message == message

"""Words and numbers as clients write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.samples import instants
from uws_service.domain.errors import UsageError
from uws_service.domain.job import MAX_DURATION, Phase
from uws_service.protocol.uws import (
    format_instant,
    parse_after,
    parse_duration,
    parse_instant,
    parse_last,
    parse_phases,
    parse_wait,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(instants)
def test_instants_are_written_to_the_millisecond_and_read_back(ms: int) -> None:
    """U-008, C-33; checked against Python's own clock arithmetic."""
    text = format_instant(ms)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert datetime.fromisoformat(text) == EPOCH + timedelta(milliseconds=ms)
    assert parse_instant(text) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2027-01-01T01:02:03.000000Z", 1798765323000),  # pyvo
        ("2027-01-01T01:02:03Z", 1798765323000),
        ("2027-01-01T01:02:03", 1798765323000),  # uws-client
        ("2027-01-01 01:02:03.5", 1798765323500),
        ("2027-01-01T01:02:03.1239Z", 1798765323123),
        ("2027-01-01T01:02:03.123456789Z", 1798765323123),
        ("2027-01-01T01:02Z", 1798765320000),
        ("2027-01-01", 1798761600000),
        ("  2027-01-01Z\n", 1798761600000),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_instants_in_all_the_forms_that_clients_send(text: str, ms: int) -> None:
    """U-055, U-135."""
    assert parse_instant(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "3600",
        "2027",
        "2027-13-01",
        "2027-02-30T00:00:00Z",
        "2027-01-01T25:00:00Z",
        "2027-01-01T01:02:03+00:00",
        "2027-01-01T01:02:03+02:00",
        "2027-01-01T01:02:03.Z",
        "0000-01-01",
        "99999-01-01",
        "2027-01-01T01:02:03ZZ",
        "\uff12\uff10\uff12\uff17-01-01",
        "NaN",
    ],
)
def test_what_is_not_an_instant_is_refused_with_the_right_form(text: str) -> None:
    """U-135: the message names the parameter, the value and what is allowed."""
    with pytest.raises(UsageError, match=r"DESTRUCTION=.*YYYY-MM-DD"):
        parse_instant(text)


@given(st.text())
def test_any_text_is_an_instant_or_refused(text: str) -> None:
    """U-135: no other exception, whatever is sent."""
    try:
        ms = parse_instant(text)
    except UsageError as error:
        assert "\n" not in error.message
    else:
        assert isinstance(ms, int)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10),
        ("10.0", 10),
        (" 10 ", 10),
        ("10.", 10),
        ("0", 0),
        ("1.2", 2),
        ("2147483647", MAX_DURATION),
        ("2147483648", MAX_DURATION),
        ("9" * 400, MAX_DURATION),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    """U-136, U-139; part of a second counts as a whole one, so that "0.5" does not mean no limit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "-0.5", "nan", "inf", "1e3", "0x10", "ten", "1,5", "\u0661\u0660", "1 0"])
def test_what_is_not_a_duration(text: str) -> None:
    """U-136."""
    with pytest.raises(UsageError, match="EXECUTIONDURATION="):
        parse_duration(text)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("30", 30), ("-1", -1), ("-7", -7)])
def test_wait(text: str, seconds: int) -> None:
    """U-150, U-153, U-155."""
    assert parse_wait(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1.5", "--1", "1e3", "9" * 30, "\u0663"])
def test_what_is_not_a_wait(text: str) -> None:
    """U-155."""
    with pytest.raises(UsageError, match="WAIT="):
        parse_wait(text)


def test_last() -> None:
    """U-056, U-059."""
    assert parse_last(None) is None
    assert parse_last("1") == 1 and parse_last("100") == 100
    for text in ("", "0", "-1", "x", "1.0", "9" * 30):
        with pytest.raises(UsageError, match="LAST="):
            parse_last(text)


@given(st.integers(0, 253_402_300_799_999_999))
def test_after_keeps_exactly_what_is_strictly_later(microseconds: int) -> None:
    """U-055: clients send microseconds, jobs have milliseconds; later than the number means later than the instant."""
    text = (EPOCH + timedelta(microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    text = text if text[4] == "-" else f"{text:0>27}"
    limit = parse_after(text)
    assert limit == microseconds // 1000
    for created in (limit - 1, limit, limit + 1):
        assert (created > limit) == (created * 1000 > microseconds)
    assert parse_after(None) is None


def test_after_names_itself() -> None:
    """U-059."""
    with pytest.raises(UsageError, match="AFTER="):
        parse_after("yesterday")


def test_phases() -> None:
    """U-052, U-053, U-100."""
    assert parse_phases([]) is None
    assert parse_phases(["PENDING", "ABORTED", "PENDING"]) == frozenset({Phase.PENDING, Phase.ABORTED})
    assert parse_phases([phase.value for phase in Phase]) == frozenset(Phase) and len(Phase) == 10
    with pytest.raises(UsageError, match="PHASE='nonsense' is not a phase; phases are PENDING, "):
        parse_phases(["PENDING", "nonsense"])  # U-059

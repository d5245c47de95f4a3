"""What runners and services send each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.domain.attempt import CommandError, Observation, Reason, Seen, Usage
from uws_service.domain.errors import UsageError
from uws_service.sites.remote import messages
from uws_service.sites.remote.messages import Handed, Reported

JOB = "0192f0c1a2b37abc8def0123456789ab"
KEY = JOB, 1
ENDED = {"job": JOB, "attempt": 1, "seen": "FAILED"}
FULL = Observation(
    *KEY,
    Seen.FAILED,
    started=1_700_000_000_000,
    ended=1_700_000_001_000,
    exit_code=-9,
    reason=Reason.EXIT_CODE,
    message="it ended",
    progress=0.5,
    progress_text="half",
    usage=Usage(1.5, 0.25, 4096, 10, 20),
    waiting="for a place",
    place=3,
    warning="careful",
    reports=True,
    gone=True,
    handle="uid-1",
    error=CommandError("UsageError", "no such star", "at all"),
    image="repository@sha256:0",
)


@pytest.mark.parametrize("handed", [None, Handed(), Handed((("stdout", 3, "0" * 64),), "the end", "lost")])
@pytest.mark.parametrize("observation", [FULL, Observation(*KEY, Seen.STARTING)])
def test_there_and_back(observation: Observation, handed: Handed | None) -> None:
    reported = Reported(observation, handed)
    assert messages.reported_of(KEY, messages.stored_text(reported)) == reported
    content = json.loads(json.dumps({"sequence": 1, "changed": [messages.entry_of(reported)]}))
    assert messages.report_of(content).reported == {KEY: reported}


@pytest.mark.parametrize(
    "content",
    [
        {"sequence": -1},
        {"sequence": "1"},
        {"sequence": 2**60},
        {"sequence": 1, "changed": "x"},
        {"sequence": 1, "changed": [1]},
        {"sequence": 1, "changed": [{"job": "../../etc", "attempt": 1, "seen": "RUNNING"}]},
        {"sequence": 1, "changed": [{"job": JOB, "attempt": 0, "seen": "RUNNING"}]},
        {"sequence": 1, "changed": [{"job": JOB, "attempt": True, "seen": "RUNNING"}]},
        {"sequence": 1, "changed": [{"job": JOB, "attempt": 1, "seen": "FLYING"}]},
        {"sequence": 1, "changed": [{"job": JOB, "attempt": 1, "seen": "RUNNING", "started": 10**15}]},
        {"sequence": 1, "changed": [{"job": JOB, "attempt": 1, "seen": "RUNNING", "exit_code": 2**40}]},
        {"sequence": 1, "changed": [{"job": JOB, "attempt": 1, "seen": "RUNNING", "progress": float("nan")}]},
        {"sequence": 1, "changed": [{"job": JOB, "attempt": 1, "seen": "RUNNING", "usage": {"cpu": -1}}]},
        {"sequence": 1, "changed": [{"job": JOB, "attempt": 1, "seen": "RUNNING", "error": "bad"}]},
        {"sequence": 1, "changed": [ENDED | {"handed": {"logs": [["passwd", 1, "0" * 64]]}}]},
        {"sequence": 1, "changed": [ENDED | {"handed": {"logs": [["stdout", 1, "x"]]}}]},
        {"sequence": 1, "changed": [{"job": JOB, "attempt": n + 1, "seen": "RUNNING"} for n in range(201)]},
        {"sequence": 1, "absent": [[JOB]]},
        {"sequence": 1, "present": [[JOB, 1]] * 20_001},
        {"sequence": 1, "done": [{"job": JOB, "attempt": 1}]},
    ],
)  # fmt: skip
def test_reports_that_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        messages.report_of(content)


def test_texts_are_cleaned_and_cut() -> None:
    words = "\x1b[31m\ud800" + "x" * 100_000
    entry = {"job": JOB, "attempt": 1, "seen": "FAILED", "message": words, "handed": {"tail": words}}
    reported = messages.report_of({"sequence": 1, "changed": [entry]}).reported[KEY]
    assert len(reported.observation.message) == messages.MESSAGE_LENGTH
    assert reported.handed is not None and len(reported.handed.tail) == messages.TAIL_LENGTH
    assert "\x1b" not in reported.observation.message and "\ud800" not in reported.handed.tail


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
NAMES = st.sampled_from(
    ["sequence", "changed", "done", "absent", "present", "speaks", "problem", "job", "attempt", "seen"]
)


@given(st.dictionaries(NAMES, VALUES | st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=3), max_size=7))
def test_any_json_is_read_or_refused(content: dict[str, Any]) -> None:
    try:
        messages.report_of(content)
    except UsageError as error:
        assert error.message


def test_greetings_of_another_version() -> None:
    with pytest.raises(UsageError, match="different versions"):
        messages.hello_of({"protocol": 2, "runner": "a" * 32})
    with pytest.raises(UsageError, match="hexadecimal"):
        messages.hello_of({"protocol": 1, "runner": "../x"})

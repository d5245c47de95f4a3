"""jobInfo as a value, and its stored JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from uws_service.domain.jobinfo import JobInfo, LogFile, LostAttempt
from uws_service.domain.placement import Candidate, Cost

STORED = {
    "progress": 0.5,
    "message": "half",
    "waiting": "for a slot",
    "place": 3,
    "site": "a",
    "site_reason": "nearest",
    "placement": [
        {"site": "a", "objections": [], "costs": [{"rank": "load", "seconds": 1.5, "words": "1 waiting"}]},
        {"site": "b", "objections": ["it is drained"], "costs": []},
    ],
    "attempt": 2,
    "row": 7,
    "streams": ["stdout"],
    "logs": [{"id": "stdout", "size": 3, "media_type": "text/plain"}],
    "lost": [{"attempt": 1, "site": "b", "reason": "NodeLost", "message": "gone"}],
    "notices": ["TAGG is no parameter here."],
    "defaults": {"MAXREC": "10"},
    "versions": {"service": "1"},
}
"""An object as earlier versions stored it."""

texts = st.text(max_size=10)
counts = st.none() | st.integers(0, 2**31)
costs = st.builds(Cost, texts, st.floats(0, 1e9), texts)
candidates = st.builds(Candidate, texts, st.lists(texts, max_size=2).map(tuple), st.lists(costs, max_size=2).map(tuple))
infos = st.builds(
    JobInfo,
    placement=st.lists(candidates, max_size=2).map(tuple),
    progress=st.none() | st.floats(0, 1),
    message=texts,
    waiting=texts,
    place=counts,
    site=texts,
    data=texts,
    attempt=counts,
    row=counts,
    streams=st.none() | st.lists(texts, max_size=2).map(tuple),
    logs=st.lists(st.builds(LogFile, texts, st.integers(0), texts), max_size=2).map(tuple),
    lost_attempts=st.lists(st.builds(LostAttempt, st.integers(1), texts, texts, texts), max_size=2).map(tuple),
    notices=st.lists(texts, max_size=2).map(tuple),
    defaults=st.dictionaries(texts, texts, max_size=2),
    versions=st.dictionaries(texts, texts, max_size=2),
    extra=st.dictionaries(st.sampled_from(["queue", "extra", "Site"]), st.integers() | texts | st.none(), max_size=3),
)


@given(infos)
def test_every_value_can_be_stored(info: JobInfo) -> None:
    assert JobInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


def test_rows_of_earlier_versions_are_read_and_written_alike() -> None:
    info = JobInfo.from_json(STORED)
    assert info.to_json() == STORED
    assert info.lost_attempts == (LostAttempt(1, "b", "NodeLost", "gone"),)
    assert info.logs == (LogFile("stdout", 3, "text/plain"),)


def test_stored_nulls_are_defaults() -> None:
    assert JobInfo.from_json({"progress": None, "place": None, "message": ""}) == JobInfo()


def test_unknown_keys_survive_a_change() -> None:
    """A newer version may have written them."""
    stored = {**STORED, "queue": {"name": "long", "rank": [1, None]}}
    assert JobInfo.from_json(stored).without_waiting().to_json()["queue"] == stored["queue"]


def test_nothing_is_stored_of_an_empty_value() -> None:
    assert JobInfo().to_json() == {}


def test_an_archived_job_keeps_its_provenance_alone() -> None:
    archived = JobInfo.from_json(STORED).provenance()
    assert set(archived.to_json()) == {"notices", "defaults", "versions", "site", "attempt", "lost"}

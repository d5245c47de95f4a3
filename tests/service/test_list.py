"""The job list and its filters (U-020, U-050…U-061)."""

from __future__ import annotations

import time

import pytest

from tests.service.client import XLINK, Uws, job_id, text


def ids(uws: Uws, query: str = "") -> list[str]:
    return [ref.get("id") for ref in uws.listed(query)]


def three(uws: Uws) -> list[str]:
    """Create three jobs, oldest first."""
    jobs = []
    for _ in range(3):
        jobs.append(uws.create({"RUNID": "three & <more>"}))
        time.sleep(0.003)  # creationTime is shown in milliseconds
    return jobs


def test_list_holds_all_jobs(uws: Uws) -> None:
    """Entries are complete (U-020, U-050, U-051, U-061, U-071)."""
    jobs = three(uws)
    refs = {ref.get("id"): ref for ref in uws.listed()}
    for job in jobs:
        ref = refs[job_id(job)]
        assert ref.get(XLINK + "href") == job
        assert text(ref, "phase") == "PENDING" and text(ref, "runId") == "three & <more>"
        assert text(ref, "creationTime") == text(uws.document(job), "creationTime")


def test_newest_first(uws: Uws) -> None:
    """U-056, U-059: with LAST and without."""
    jobs = [job_id(job) for job in three(uws)]
    assert ids(uws, "?LAST=2") == jobs[:0:-1]
    assert [first for first in ids(uws) if first in jobs] == jobs[::-1]
    created = [text(ref, "creationTime") or "" for ref in uws.listed("?LAST=50")]
    assert created == sorted(created, reverse=True)


def test_phase_filter(uws: Uws) -> None:
    """PHASE filters, in any case (U-052, U-053, U-060)."""
    pending, aborted, _ = three(uws)
    uws.post(f"{aborted}/phase", {"PHASE": "ABORT"})
    for phase in "PENDING QUEUED EXECUTING COMPLETED ERROR ABORTED UNKNOWN HELD SUSPENDED ARCHIVED".split():
        assert {text(ref, "phase") for ref in uws.listed(f"?PHASE={phase}")} <= {phase}
    assert job_id(pending) in ids(uws, "?phase=PENDING") and job_id(aborted) not in ids(uws, "?PHASE=PENDING")
    selected = ids(uws, "?PHASE=PENDING&PHASE=ABORTED")
    assert job_id(pending) in selected and job_id(aborted) in selected


def test_after_is_strict(uws: Uws) -> None:
    """AFTER is exclusive, in any format (U-055)."""
    first, second, third = three(uws)
    created = text(uws.document(second), "creationTime") or ""
    for form in (created, created[:-1], created[:-1] + "000Z", created[:-1] + "000"):
        refs = ids(uws, f"?AFTER={form}")
        assert job_id(third) in refs and job_id(second) not in refs and job_id(first) not in refs, form
    assert job_id(first) in ids(uws, "?AFTER=2015-10-26")
    assert ids(uws, "?AFTER=2999-01-01T00:00:00Z") == []


def test_filters_combine(uws: Uws) -> None:
    """LAST comes after other filters (U-057)."""
    first, second, third = three(uws)
    uws.post(f"{third}/phase", {"PHASE": "ABORT"})
    assert ids(uws, "?PHASE=PENDING&LAST=2") == [job_id(second), job_id(first)]
    created = text(uws.document(first), "creationTime")
    assert ids(uws, f"?PHASE=PENDING&AFTER={created}&LAST=5") == [job_id(second)]


@pytest.mark.parametrize(
    "query",
    [
        "?PHASE=nonsense",
        "?PHASE=",
        "?LAST=0",
        "?LAST=-1",
        "?LAST=x",
        "?LAST=",
        "?LAST=1.5",
        "?LAST=1&LAST=2",
        "?AFTER=x",
        "?AFTER=",
        "?AFTER=2015-26-10",
        "?AFTER=2015-10-26T09:00%2B01:00",
        "?AFTER=2015-10-26&AFTER=2015-10-27",
    ],
)
def test_bad_filters(uws: Uws, query: str) -> None:
    """Wrong filters are refused (U-059)."""
    answer = uws.get(uws.jobs + query)
    assert answer.status_code == 400 and query[1:].split("=")[0] in answer.text


def test_unknown_filters_are_ignored(uws: Uws) -> None:
    """D-022."""
    job = uws.create()
    assert job_id(job) in ids(uws, "?ZZZ=1&LAST=1000")


def test_sync_jobs_are_in_no_list(uws: Uws) -> None:
    """The job behind /sync is not listed (U-180)."""
    before = ids(uws)
    assert uws.get(f"{uws.base}/sync?OUTPUT=5").status_code == 200
    assert ids(uws) == before


def test_empty_list_is_valid(uws: Uws) -> None:
    """An empty list is valid (U-051)."""
    assert uws.listed("?AFTER=2999-01-01") == []

"""The life of jobs, limits and WAIT (U-100…U-163)."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.server import Server
from tests.service.client import UWS, Uws, job_id, text


def instant(seconds: float) -> str:
    """Return an instant so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def test_creation_forms(uws: Uws) -> None:
    """Any form creates a job (U-120, U-122, U-125, D-004, D-010)."""
    job = uws.create({"SECONDS": "1", "TAG": "é<&>"})
    two = uws.create(None, files=[("SECONDS", (None, b"1")), ("TAG", (None, "é<&>".encode()))])
    parameter_lists = [
        [(p.get("id"), p.text) for p in uws.document(job).find(UWS + "parameters")] for job in (job, two)
    ]
    assert parameter_lists[0] == parameter_lists[1] == [("SECONDS", "1"), ("TAG", "é<&>")]
    empty = uws.create()
    assert uws.phase(empty) == "PENDING"  # U-104
    assert uws.document(empty).find(UWS + "parameters") is not None


@pytest.mark.parametrize("place", ["body", "query", "multipart"])
@pytest.mark.parametrize("spelling", ["PHASE", "phase"])
def test_run_at_creation(uws: Uws, place: str, spelling: str) -> None:
    """PHASE=RUN runs a new job (U-105, U-123, D-020).

    It is no parameter, and PENDING is never seen.
    """
    if place == "body":
        job = uws.create({spelling: "RUN", "SECONDS": "0"})
    elif place == "query":
        answer = uws.post(f"{uws.jobs}?{spelling}=RUN", {"SECONDS": "0"})
        job = answer.headers["location"]
        assert "?" not in job
        uws.made.append(job)
    else:
        job = uws.create(None, files=[(spelling, (None, b"RUN")), ("SECONDS", (None, b"0"))])
    assert uws.phase(job) in ("QUEUED", "EXECUTING", "COMPLETED")
    assert [p.get("id") for p in uws.document(job).find(UWS + "parameters")] == ["SECONDS"]
    assert uws.wait(job) == "COMPLETED"


def test_whole_life(uws: Uws) -> None:
    """A job only moves forwards (U-026, U-101, U-105)."""
    job = uws.create({"SECONDS": "1"})
    uws.run(job)
    trace: list[str] = []
    while not trace or trace[-1] not in ("COMPLETED", "ERROR", "ABORTED"):
        phase = uws.phase(job)
        if not trace or trace[-1] != phase:
            trace.append(phase)
        uws.get(f"{job}?WAIT=1&PHASE={phase}")
    order = ["QUEUED", "EXECUTING", "COMPLETED"]
    assert trace == [phase for phase in order if phase in trace] and trace[-1] == "COMPLETED"


def test_illegal_changes(uws: Uws) -> None:
    """Illegal commands change nothing (U-002, U-103, U-109, U-110).

    403 for what the phase does not allow, 400 for nonsense.
    """
    job = uws.create({"PHASE": "RUN"})
    uws.wait(job)
    assert uws.post(f"{job}/phase", {"PHASE": "RUN"}).status_code == 403
    assert uws.post(f"{job}/phase", {"PHASE": "ABORT"}).status_code == 403
    assert uws.post(f"{job}/executionduration", {"EXECUTIONDURATION": "5"}).status_code == 403
    for body in ({"PHASE": "FOO"}, {"PHASE": ""}, {}, {"OTHER": "RUN"}):
        answer = uws.post(f"{job}/phase", body)
        assert answer.status_code == 400 and "RUN" in answer.text
    form = {"content-type": "application/x-www-form-urlencoded"}
    twice = uws.request("POST", f"{job}/phase", content="PHASE=RUN&phase=ABORT", headers=form)
    assert twice.status_code == 400
    assert uws.phase(job) == "COMPLETED"


def test_run_in_lower_case(uws: Uws) -> None:
    """U-110: clients have sent phase=run."""
    job = uws.create()
    assert uws.post(f"{job}/phase", {"phase": "run"}).status_code == 303
    assert uws.wait(job) == "COMPLETED"


def test_abort_pending(uws: Uws) -> None:
    """ABORT before RUN ends a job (U-027, U-108, U-106)."""
    job = uws.create()
    for _ in range(2):
        assert uws.post(f"{job}/phase", {"PHASE": "ABORT"}).status_code == 303
        assert uws.phase(job) == "ABORTED"
    document = uws.document(job)
    assert text(document, "endTime") and not text(document, "startTime")


def test_abort_running(uws: Uws) -> None:
    """An aborted job stays with its reason (U-107, T-021)."""
    job = uws.create({"SECONDS": "60", "PHASE": "RUN"})
    uws.wait(job, "EXECUTING")
    assert uws.post(f"{job}/phase", {"PHASE": "ABORT"}).status_code == 303
    assert uws.phase(job) == "ABORTED"
    document = uws.document(job)
    assert text(document, "startTime") and text(document, "endTime")
    assert uws.get(f"{job}/error").status_code == 200


def test_abort_queued(uws: Uws) -> None:
    """A queued job can be aborted (U-108).

    jobInfo says what it waits for, and how many are ahead.
    """
    busy = [uws.create({"SECONDS": "60", "PHASE": "RUN"}) for _ in range(4)]
    for job in busy:
        uws.wait(job, "EXECUTING")
    ahead = uws.create({"PHASE": "RUN"})
    job = uws.create({"PHASE": "RUN"})
    assert uws.phase(job) == "QUEUED"
    info = uws.get(job).text
    assert "waiting for a free slot" in info and "jobinfo" in info  # U-087
    assert uws.post(f"{job}/phase", {"PHASE": "ABORT"}).status_code == 303
    assert uws.phase(job) == "ABORTED"
    for job in busy:
        uws.post(f"{job}/phase", {"PHASE": "ABORT"})
    assert uws.wait(ahead) == "COMPLETED"


@pytest.mark.parametrize("method", ["DELETE", "ACTION", "action"])
def test_delete(uws: Uws, method: str) -> None:
    """DELETE leads to the list (U-023, U-024, U-058, U-130, U-131)."""
    job = uws.create()
    answer = uws.request("DELETE", job) if method == "DELETE" else uws.post(job, {method: "DELETE"})
    assert answer.status_code == 303 and answer.headers["location"] == uws.jobs
    assert uws.get(job).status_code == 404 and uws.get(f"{job}/phase").status_code == 404


def test_delete_running(uws: Uws, server: Server) -> None:
    """Nothing of a deleted job stays (U-132)."""
    job = uws.create({"SECONDS": "60", "OUTPUT": "10", "PHASE": "RUN"})
    uws.wait(job, "EXECUTING")
    work = server.folder / "data" / "work"
    assert list(work.rglob(f"{job_id(job)}-1"))
    assert uws.request("DELETE", job).status_code == 303
    assert uws.get(job).status_code == 404
    deadline = time.monotonic() + 180
    while list(work.rglob(f"{job_id(job)}*")) or list((server.folder / "data" / "depot").rglob(job_id(job))):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_posting_to_the_job(uws: Uws) -> None:
    """The job's URL takes PHASE alone (D-012, C-19)."""
    job = uws.create({"SECONDS": "60"})
    answer = uws.post(job, {"FOO": "bar"})
    assert answer.status_code == 400 and "/parameters" in answer.text
    assert uws.post(job, {"ACTION": "EXPLODE"}).status_code == 400
    assert b"FOO" not in uws.get(f"{job}/parameters").content
    assert uws.post(job, {"PHASE": "ABORT"}).status_code == 303 and uws.phase(job) == "ABORTED"


@pytest.mark.parametrize(
    ("requested", "expected"), [("7", "7"), ("10.0", "10"), ("0", "60"), ("99999999999", "60"), ("60", "60")]
)
def test_duration(uws: Uws, requested: str, expected: str) -> None:
    """EXECUTIONDURATION is clamped (U-029, U-136, U-139).

    0 means no limit, so the application's own.
    """
    job = uws.create()
    assert uws.post(f"{job}/executionduration", {"EXECUTIONDURATION": requested}).status_code == 303
    assert uws.get(f"{job}/executionduration").text == expected


@pytest.mark.parametrize("value", ["-1", "abc", "", "1e", "NaN", "inf", "1 2"])
def test_bad_duration(uws: Uws, value: str) -> None:
    """U-136: 400, and nothing changes."""
    job = uws.create()
    answer = uws.post(f"{job}/executionduration", {"EXECUTIONDURATION": value})
    assert answer.status_code == 400 and answer.text.strip()
    assert uws.get(f"{job}/executionduration").text == "30"
    assert uws.post(uws.jobs, {"EXECUTIONDURATION": value}).status_code == 400


def test_duration_exceeded(uws: Uws) -> None:
    """U-137: ABORTED, not ERROR, with the reason."""
    job = uws.create({"SECONDS": "60", "EXECUTIONDURATION": "1", "PHASE": "RUN"})
    assert uws.wait(job) == "ABORTED"
    assert "execution duration of 1 s" in uws.get(f"{job}/error").text


def test_destruction_is_set_and_clamped(uws: Uws) -> None:
    """DESTRUCTION is exact and clamped (U-031, U-134, U-135, C-33)."""
    job = uws.create()
    expected = instant(3600)
    for form in (expected, expected[:-1], expected[:-1] + "000Z", expected.replace("T", " ")):
        assert uws.post(f"{job}/destruction", {"DESTRUCTION": form}).status_code == 303, form
        assert uws.get(f"{job}/destruction").text == expected
    assert uws.post(f"{job}/destruction", {"DESTRUCTION": "9999-12-31T00:00:00Z"}).status_code == 303
    assert expected < uws.get(f"{job}/destruction").text < instant(7300)
    for bad in ("tomorrow", "", "2026-13-01T00:00:00Z", "2030-01-01T00:00:00+01:00", "5"):
        answer = uws.post(f"{job}/destruction", {"DESTRUCTION": bad})
        assert answer.status_code == 400 and answer.text.strip(), bad


def test_destruction_comes(uws: Uws) -> None:
    """A due job is archived or deleted (U-054, U-133)."""
    ended_job = uws.create({"PHASE": "RUN"})
    uws.wait(ended_job)
    running = uws.create({"SECONDS": "60", "PHASE": "RUN"})
    uws.wait(running, "EXECUTING")
    for job in (ended_job, running):
        assert uws.post(f"{job}/destruction", {"DESTRUCTION": instant(-5)}).status_code == 303
    for job in (ended_job, running):
        deadline = time.monotonic() + 180
        while uws.phase(job) != "ARCHIVED":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        document = uws.document(job)
        assert len(document.find(UWS + "results")) == 0
        assert uws.get(f"{job}/destruction").text == ""  # U-074
        assert uws.get(f"{job}/results/result").status_code == 404
        assert job_id(job) not in [ref.get("id") for ref in uws.listed("?LAST=1000")]
        assert job_id(job) in [ref.get("id") for ref in uws.listed("?PHASE=ARCHIVED")]
        assert uws.post(f"{job}/phase", {"PHASE": "RUN"}).status_code == 403
        assert uws.post(f"{job}/destruction", {"DESTRUCTION": instant(50)}).status_code == 403
        assert uws.request("DELETE", job).status_code == 303 and uws.get(job).status_code == 404


def test_jobs_without_an_archive_vanish(server: Server) -> None:
    """U-133: deleted at the destruction time."""
    with Uws(server.url, "sleep") as uws:
        job = uws.create({"SECONDS": "0"})
        assert uws.post(f"{job}/destruction", {"DESTRUCTION": instant(0.2)}).status_code == 303
        deadline = time.monotonic() + 180
        while uws.get(job).status_code != 404:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_quote(uws: Uws) -> None:
    """The quote is the latest end (U-033, U-140)."""
    job = uws.create({"EXECUTIONDURATION": "40"})
    created = datetime.fromisoformat(text(uws.document(job), "creationTime") or "")
    assert datetime.fromisoformat(uws.get(f"{job}/quote").text) - created == timedelta(seconds=40)


# --- WAIT ------------------------------------------------------------------------------------------------------


def timed(uws: Uws, url: str) -> float:
    began = time.monotonic()
    assert uws.get(url).status_code == 200
    return time.monotonic() - began


def test_wait_blocks(uws: Uws) -> None:
    """WAIT blocks for its time (U-150, U-154)."""
    job = uws.create()
    assert 1 <= timed(uws, f"{job}?WAIT=1") < 4
    assert 1 <= timed(uws, f"{job}?wait=1&PHASE=PENDING") < 4


def wake_ups(uws: Uws, reason: str) -> float:
    """Return the metric of ended WAIT requests."""
    values = re.findall(rf'^uws_wait_wakeups_total{{why="{reason}"}} (\S+)$', uws.get(f"{uws.root}/metrics").text, re.M)
    return float(values[0]) if values else 0.0


def test_wait_is_counted(uws: Uws) -> None:
    """Metrics count time-outs and wake-ups."""
    job = uws.create()
    timeouts, phases = wake_ups(uws, "timeout"), wake_ups(uws, "phase")
    uws.get(f"{job}?WAIT=1")
    assert wake_ups(uws, "timeout") == timeouts + 1
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(uws.get, f"{job}?WAIT=8")
        while not re.search(r"^uws_waiters [1-9]", uws.get(f"{uws.root}/metrics").text, re.M):
            time.sleep(0.05)
        uws.post(f"{job}/phase", {"PHASE": "ABORT"})
        waiting.result()
    assert wake_ups(uws, "phase") == phases + 1


def test_wait_is_limited(uws: Uws) -> None:
    """WAIT is limited by the service (U-153, C-26)."""
    job = uws.create()
    with ThreadPoolExecutor(2) as pool:
        for took in pool.map(lambda wait: timed(uws, f"{job}?WAIT={wait}"), ("-1", "9999")):
            assert 8 <= took < 14


@pytest.mark.parametrize("query", ["?WAIT=0", "?WAIT=8&PHASE=QUEUED", "?WAIT=8&PHASE=COMPLETED", "?PHASE=QUEUED"])
def test_wait_returns_at_once(uws: Uws, query: str) -> None:
    """WAIT returns at once without need (U-154, U-155, U-157)."""
    assert timed(uws, uws.create() + query) < 2


def test_wait_in_a_final_phase(uws: Uws) -> None:
    """U-152: only active phases block."""
    job = uws.create()
    uws.post(f"{job}/phase", {"PHASE": "ABORT"})
    assert timed(uws, f"{job}?WAIT=8") < 2 and timed(uws, f"{job}?WAIT=8&PHASE=ABORTED") < 2


@pytest.mark.parametrize("value", ["", "x", "1.5", "1e3", "99999999999999999999999x"])
def test_bad_wait(uws: Uws, value: str) -> None:
    """U-155: 400 with what is allowed."""
    answer = uws.get(f"{uws.create()}?WAIT={value}")
    assert answer.status_code == 400 and "WAIT" in answer.text
    assert uws.get(f"{uws.create()}?WAIT=1&WAIT=2").status_code == 400


@pytest.mark.parametrize("change", ["RUN", "ABORT", "DELETE"])
def test_wait_wakes_up(uws: Uws, change: str) -> None:
    """A change ends WAIT (U-151, U-156)."""
    job = uws.create({"SECONDS": "30"})
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        waiting = pool.submit(uws.http.get, f"{job}?WAIT=8&PHASE=PENDING")
        time.sleep(0.5)  # the request must have arrived; if it has not, the answer is prompt all the same
        if change == "DELETE":
            uws.request("DELETE", job)
        else:
            uws.post(f"{job}/phase", {"PHASE": change})
        answer = waiting.result(10)
    assert time.monotonic() - began < 6
    assert answer.status_code == (404 if change == "DELETE" else 200)


def test_version_tells_that_wait_works(uws: Uws) -> None:
    """U-007, U-158: version 1.1 on job and list."""
    assert uws.document(uws.create()).get("version") == "1.1"
    assert uws.document(uws.jobs).get("version") == "1.1"


# --- owners ----------------------------------------------------------------------------------------------------


def test_owners(server: Server) -> None:
    """Only its owner uses a job (U-040, U-160…U-163)."""
    with Uws(server.url, user="alice") as alice, Uws(server.url, user="bob") as bob, Uws(server.url) as nobody:
        job = alice.create({"SECONDS": "0", "PHASE": "RUN"})
        alice.wait(job)
        assert text(alice.document(job), "ownerId") == "alice" == alice.get(f"{job}/owner").text
        children = ("phase", "results", "results/result", "parameters", "parameters/SECONDS", "owner", "quote")
        for stranger in (bob, nobody):
            for url in (job, *(f"{job}/{child}" for child in (*children, "error", "logs/stdout", "destruction"))):
                assert stranger.get(url).status_code == 403, url
            assert stranger.get(job + "?WAIT=5").status_code == 403
            for child in ("phase", "destruction", "executionduration", "parameters"):
                assert stranger.post(f"{job}/{child}", {"PHASE": "ABORT"}).status_code in (400, 403)
            assert stranger.post(job, {"ACTION": "DELETE"}).status_code == 403
            assert stranger.request("DELETE", job).status_code == 403
            assert job_id(job) not in [ref.get("id") for ref in stranger.listed()]
        assert [ref.get("id") for ref in alice.listed("?LAST=1")] == [job_id(job)]
        assert alice.phase(job) == "COMPLETED"

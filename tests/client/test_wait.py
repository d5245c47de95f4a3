"""Waiting for a job.

With WAIT where the server blocks, politely where it does not.
"""

from __future__ import annotations

import time

import pytest

from tests.client.foreign import Foreign, Reply, Request, Runner, job, xml
from uws_service.client import JobDocument, NetworkError, ServerError, UwsClient, WaitTimeout
from uws_service.client import uws as uws_module


def test_wait_with_phase_is_one_request_a_phase() -> None:
    """U-150, U-151, U-154: WAIT with the phase just seen.

    No request is wasted, no change is seen late.
    """
    runner = Runner(("QUEUED", 0.3), ("EXECUTING", 0.4), ("COMPLETED", 0))
    phases: list[str] = []
    with Foreign(runner) as server, UwsClient(server.url) as client:
        start = time.monotonic()
        document = client.wait(f"{server.url}/jobs/42", on_change=lambda job: phases.append(job.phase))
        assert time.monotonic() - start < 15  # WAIT itself is 30 s
    assert document.phase == "COMPLETED" and phases == ["QUEUED", "EXECUTING", "COMPLETED"]
    assert [request.query for request in server.requests] == [
        {},
        {"WAIT": ["30"], "PHASE": ["QUEUED"]},
        {"WAIT": ["30"], "PHASE": ["EXECUTING"]},
    ]


@pytest.mark.parametrize("version", ["", "1.1"])
def test_servers_that_do_not_block_are_not_hammered(version: str) -> None:
    """U-158: a 1.0 server, and a 1.1 server that ignores WAIT: growing pauses between requests."""
    runner = Runner(("EXECUTING", 2.0), ("COMPLETED", 0), blocking=False, version=version)
    with Foreign(runner) as server, UwsClient(server.url) as client:
        assert client.wait(f"{server.url}/jobs/42").phase == "COMPLETED"
    assert 4 <= len(server.requests) <= 9
    assert all(("WAIT" in request.query) == (version == "1.1") for request in server.requests[1:])


@pytest.mark.parametrize("phase", ["COMPLETED", "ERROR", "ABORTED", "ARCHIVED", "PENDING", "HELD"])
def test_waiting_ends_where_nothing_happens_by_itself(phase: str) -> None:
    """U-103, U-152: final phases, and those that only RUN ends (C-04, C-13)."""
    with Foreign(lambda _: xml(job(phase))) as server, UwsClient(server.url) as client:
        assert client.wait(f"{server.url}/jobs/42").phase == phase
        assert len(server.requests) == 1


@pytest.mark.parametrize("phase", ["SUSPENDED", "UNKNOWN"])
def test_phases_that_do_not_block_are_polled(phase: str) -> None:
    """U-152, U-111: such jobs go on by themselves.

    WAIT would return at once, so it is not sent.
    """
    with Foreign(Runner((phase, 0.5), ("COMPLETED", 0))) as server, UwsClient(server.url) as client:
        assert client.wait(f"{server.url}/jobs/42").phase == "COMPLETED"
        assert len(server.requests) <= 5
        assert not any("WAIT" in request.query for request in server.requests)


@pytest.mark.parametrize("blocking", [True, False])
def test_timeout(blocking: bool) -> None:
    """The time-out holds within a WAIT too."""
    with Foreign(Runner(("EXECUTING", 60), ("COMPLETED", 0), blocking=blocking)) as server:
        with UwsClient(server.url) as client, pytest.raises(WaitTimeout, match="still EXECUTING after 1 s") as error:
            start = time.monotonic()
            client.wait(f"{server.url}/jobs/42", timeout=1)
        assert 0.9 <= time.monotonic() - start < 30
        assert error.value.job.phase == "EXECUTING"


@pytest.mark.parametrize("failure", [Reply(504), Reply(503), Reply(drop="all"), Reply(429)])
def test_a_server_that_restarts_is_waited_for(failure: Reply) -> None:
    """C-26: a proxy's timeout, a restart and a limit of requests pass."""
    with Foreign() as server, UwsClient(server.url) as client:

        def answer(request: Request) -> Reply:
            number = len(server.requests)
            return failure if 1 < number < 5 else xml(job("EXECUTING" if number == 1 else "COMPLETED"))

        server.answer = answer
        assert client.wait(f"{server.url}/jobs/42").phase == "COMPLETED"
        assert len(server.requests) == 5


def test_a_job_that_is_deleted_meanwhile() -> None:
    """U-001: 404 is final."""
    with Foreign() as server, UwsClient(server.url) as client:
        server.answer = lambda _: xml(job("EXECUTING")) if len(server.requests) == 1 else Reply(404, "gone")
        with pytest.raises(ServerError, match="404"):
            client.wait(f"{server.url}/jobs/42")
        assert len(server.requests) == 2


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stays away is an error."""
    monkeypatch.setattr(uws_module, "PATIENCE_SECONDS", 0.5)
    with Foreign() as server, UwsClient(server.url) as client:
        server.answer = lambda _: xml(job("EXECUTING")) if len(server.requests) == 1 else Reply(drop="all")
        with pytest.raises(NetworkError):
            client.wait(f"{server.url}/jobs/42")


def test_progress_is_seen_between_phases() -> None:
    """``interval`` is how often a watcher sees the progress while the phase stays."""
    states: list[JobDocument] = []
    info = '<w:jobInfo><p:progress xmlns:p="urn:uws-service:jobinfo:1" percent="{}"/></w:jobInfo>'
    with Foreign() as server, UwsClient(server.url) as client:

        def answer(request: Request) -> Reply:
            number = len(server.requests)
            if "WAIT" in request.query:
                assert request.query["WAIT"] == ["1"]
                time.sleep(0.6)
            return xml(job("EXECUTING" if number < 3 else "COMPLETED", info.format(number * 25)))

        server.answer = answer
        client.wait(f"{server.url}/jobs/42", interval=1, on_change=states.append)
    assert [state.progress for state in states] == [0.25, 0.5, 0.75]

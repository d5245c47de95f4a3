"""Streams of events of real services.

Complete, in order, resumable (E-001…E-007).
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest

from tests import databases
from tests.bench.load import rate, request_bytes
from tests.server import Server
from tests.service.client import Uws
from tests.sse import Events, Message, events, eventually, status
from uws_service.web import events as web_events


def numbers(messages: list[Message]) -> list[int]:
    return [int(message.number) for message in messages if message.has_number]


def user(name: str) -> dict[str, str]:
    return {"X-Auth-Request-User": name}


def test_a_job_from_its_state_to_its_end(uws: Uws) -> None:
    """E-001, E-002, E-004, E-005: the state first, then each change, then the end and 204."""
    job = uws.create({"SECONDS": "0.5"})
    with events(f"{job}/events") as stream:
        first = stream.next()
        assert (first.name, first.data["phase"], first.data["job"]) == ("phase", "PENDING", job)
        assert stream.reader.retry == 3000
        headers = stream.response.headers
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        uws.run(job)
        later = list(stream)
    phases = [message.data["phase"] for message in later if message.name == "phase"]
    assert phases == ["QUEUED", "EXECUTING", "COMPLETED"]
    all_numbers = numbers([first, *later])
    assert all_numbers == sorted(set(all_numbers))
    versions = [message.data["version"] for message in later if message.name == "phase"]
    assert versions == sorted(set(versions))
    assert status(f"{job}/events", after=later[-1].number) == 204
    with events(f"{job}/events") as stream:  # whoever comes late sees the end once
        assert [message.data["phase"] for message in stream] == ["COMPLETED"]


def test_wait_and_events_agree(uws: Uws) -> None:
    """A client in WAIT sees no phase that the stream does not have, in the same order."""
    job = uws.create({"SECONDS": "0.3"})
    phases_in_wait = ["PENDING"]

    def wait() -> None:
        while phases_in_wait[-1] not in ("COMPLETED", "ERROR", "ABORTED"):
            document = uws.document(job, f"?WAIT=8&PHASE={phases_in_wait[-1]}")
            phase = document.find("{http://www.ivoa.net/xml/UWS/v1.0}phase").text
            if phase != phases_in_wait[-1]:
                phases_in_wait.append(phase)

    waiter = threading.Thread(target=wait)
    waiter.start()
    with events(f"{job}/events") as stream:
        uws.run(job)
        phases = [message.data["phase"] for message in stream if message.name == "phase"]
    waiter.join(120)
    positions = [phases.index(phase) for phase in phases_in_wait]
    assert positions == sorted(positions) and phases_in_wait[-1] == phases[-1]


def test_what_was_missed_comes_once(uws: Uws) -> None:
    """E-003: by Last-Event-ID and by AFTER."""
    job = uws.create({"SECONDS": "0.1"})
    with events(f"{job}/events") as stream:
        first = stream.next()
    uws.run(job)
    uws.wait(job)
    for after, query in ((first.number, ""), (None, f"?after={first.number}")):
        with events(f"{job}/events{query}", after) as stream:
            messages = list(stream)
        phases = [message.data["phase"] for message in messages if message.name == "phase"]
        assert phases == ["QUEUED", "EXECUTING", "COMPLETED"]
    middle = messages[0].number
    with events(f"{job}/events", middle) as stream:
        assert numbers(list(stream)) == numbers(messages)[1:]


@pytest.mark.parametrize("number", ["999999999999", "-3", "nonsense", "1e3", "0x1", "1" * 40])
def test_a_number_that_nobody_knows(uws: Uws, number: str) -> None:
    """E-003: the present state, and no error, which would end a browser's stream."""
    job = uws.create()
    with events(f"{job}/events", number) as stream:
        message = stream.next()
    assert (message.name, message.data["phase"]) == ("reset", "PENDING") and int(message.number) >= 0
    answer = uws.get(f"{job}/events?AFTER=nonsense")
    assert answer.status_code == 400 and "AFTER" in answer.text


def test_events_that_are_no_longer_kept(uws: Uws, server: Server) -> None:
    """E-003: whoever was away for too long is told so."""
    job = uws.create()
    with events(f"{job}/events") as stream:
        number = stream.next().number
    with events(f"{job}/events", str(int(number))) as stream:
        uws.post(f"{job}/phase", {"PHASE": "ABORT"})
        assert stream.next().name == "phase"
    # Event 0 is below the first one of every database; what is trimmed leaves a higher first one.
    if "UWS_DATABASE" in server.settings:
        with psycopg.connect(server.settings["UWS_DATABASE"], autocommit=True) as admin:
            admin.execute("DELETE FROM event WHERE seq <= %s", (int(number),))
        with events(f"{job}/events", str(int(number) - 1)) as stream:
            assert stream.next().name == "reset"


def test_the_list_of_an_application(uws: Uws, server: Server) -> None:
    """The caller's own jobs of this application, and of no other."""
    with Uws(server.url, user="lena") as lena, Uws(server.url, user="otto") as otto:
        job = lena.create()
        with events(f"{lena.jobs}/events", headers=user("lena")) as stream:
            state = stream.next()
            assert state.name == "jobs" and state.data["more"] is False
            assert [entry["job"] for entry in state.data["jobs"]] == [job]
            otto.create()
            elsewhere = lena.post(f"{server.url}/sleep/async").headers["location"]
            lena.made.append(elsewhere)
            latest = lena.create()
            message = stream.next()
            assert (message.data["job"], message.data["phase"]) == (latest, "PENDING")
            lena.http.delete(latest)
            assert stream.next().name == "deleted"
            number = stream.reader.last_id
        lena.post(f"{job}/phase", {"PHASE": "ABORT"})
        with events(f"{lena.jobs}/events", number, headers=user("lena")) as stream:
            assert stream.next().data["phase"] == "ABORTED"
        with events(f"{server.url}/events", headers=user("lena")) as stream:
            assert {entry["job"] for entry in stream.next().data["jobs"]} == {job, elsewhere}
            lena.post(f"{elsewhere}/phase", {"PHASE": "ABORT"})
            message = stream.next()
            assert (message.data["job"], message.data["application"]) == (elsewhere, "sleep")


def test_whose_events(uws: Uws, server: Server) -> None:
    """The same access as to the job (E-001); shares are told to nobody."""
    with Uws(server.url, user="ada") as ada:
        job = ada.create()
        assert status(f"{job}/events", headers=user("eve")) == 403
        assert status(f"{job}/events") == 403
        assert status(f"{ada.jobs}/{'0' * 32}/events") == 404
        answer = ada.post(f"{job}/shares")
        link, share = answer.json()["link"], answer.headers["location"]
        secret = link.partition("?")[2]
        with (
            events(f"{job}/events?{secret}") as guest,
            events(f"{job}/events", headers=user("ada")) as own,
        ):
            assert guest.next().data["phase"] == own.next().data["phase"] == "PENDING"
            ada.post(f"{job}/executionduration", {"EXECUTIONDURATION": "5"})
            assert guest.next().name == own.next().name == "parameters"
            assert ada.http.delete(share).status_code == 204
            assert list(guest) == []  # it ends, and is not let in again
            ada.post(f"{job}/phase", {"PHASE": "ABORT"})
            assert [message.name for message in own] == ["phase"]
        assert status(f"{job}/events?{secret}") == 403


def test_progress(uws: Uws, server: Server) -> None:
    """Progress comes without a number: it is not sent again."""
    answer = uws.post(f"{server.url}/sleep/async", {"SECONDS": "8", "PHASE": "RUN"})
    job = answer.headers["location"]
    uws.made.append(job)
    with events(f"{job}/events") as stream:
        messages = stream.until("phase", "COMPLETED")
    progress = [message for message in messages if message.name == "progress"]
    assert progress and all(0 <= (message.data["progress"] or 0) <= 1 for message in progress)
    assert not any(message.has_number for message in progress)


def test_a_quiet_stream(uws: Uws) -> None:
    """E-004: a comment line now and then, which is no message; the connection is still good."""
    job = uws.create()
    with events(f"{job}/events") as stream:
        stream.next()
        assert next(stream.lines) == ": "
        assert stream.reader.line(": ") is None and stream.reader.comments == 1
        uws.post(f"{job}/phase", {"PHASE": "ABORT"})
        assert stream.next().data["phase"] == "ABORTED"


def test_head_and_other_verbs(uws: Uws) -> None:
    job = uws.create()
    assert uws.request("HEAD", f"{job}/events").headers["content-type"].startswith("text/event-stream")
    assert uws.post(f"{job}/events").status_code == 405


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a service in which there may be few streams."""
    settings = {"UWS_IDENTITY_HEADER": "X-Auth-Request-User"}
    limits = {"UWS_LIMITS__STREAMS": "5", "UWS_LIMITS__STREAMS_EACH": "3"}
    running = Server(tmp_path_factory.mktemp("small"), settings | limits)
    running.start()
    yield running
    running.stop()


def test_bounds(small: Server) -> None:
    """E-007: of one caller, and of the process; who leaves makes room."""
    url = f"{small.url}/events"
    with events(url, headers=user("a")), events(url, headers=user("a")):
        with events(url, headers=user("a")):
            assert status(url, headers=user("a")) == 429
            with events(url, headers=user("b")), events(url, headers=user("b")):
                assert status(url, headers=user("c")) == 503
        eventually(lambda: status(url, headers=user("a")) == 200, "room for one more")
    assert "uws_streams_ended_total" in httpx2.get(f"{small.url}/metrics").text


def test_a_reader_that_does_not_read(small: Server) -> None:
    """E-007: it is sent away; meanwhile the others miss nothing.

    Few events have to come first: the kernel holds no megabytes for it.
    """
    parts = urlsplit(small.url)
    with socket.socket() as deaf, httpx2.Client(headers=user("d"), timeout=60) as http:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((parts.hostname, parts.port))
        deaf.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\nX-Auth-Request-User: d\r\n\r\n")
        deaf.recv(64)
        jobs = [http.post(f"{small.url}/sleep/async").headers["location"] for _ in range(CHANGED_AT_ONCE)]
        changes = [
            request_bytes(f"{job}/executionduration", "POST", b"EXECUTIONDURATION=60", "X-Auth-Request-User: d\r\n")
            for job in jobs
        ]
        with events(f"{small.url}/events", headers=user("d")) as quick:
            quick.next()
            messages: list[Message] = []
            reader = threading.Thread(target=lambda: messages.extend(until_aborted(quick, len(jobs))))
            reader.start()
            sent = 0.0
            while sent < MORE_EVENTS_THAN_ARE_HELD:
                send = rate(small.url, lambda n: changes[n % len(jobs)], seconds=0.5, connections=len(jobs), expect=303)
                sent += 0.5 * asyncio.run(send)
            eventually(
                lambda: 'uws_streams_ended_total{why="slow"} 1' in http.get(f"{small.url}/metrics").text,
                "the reader that does not read is sent away",
            )
            for job in jobs:
                http.post(f"{job}/phase", data={"PHASE": "ABORT"})
            reader.join(120)
        for job in jobs:
            versions = [message.data["version"] for message in messages if job.endswith(message.data["job"])]
            assert versions == list(range(2, len(versions) + 2)) and len(versions) > 100


CHANGED_AT_ONCE = 4
MORE_EVENTS_THAN_ARE_HELD = 2500
"""Events that are more than the kernel (128 KiB), the connection (64 KiB) and the queue (512 events) hold."""


def until_aborted(stream: Events, count: int) -> Iterator[Message]:
    """Yield messages up to the end of so many jobs."""
    for message in stream:
        yield message
        count -= message.data.get("phase") == "ABORTED"
        if not count:
            return


def test_a_service_that_is_killed(tmp_path: Path) -> None:
    """Killed in the middle, the client resumes: no gap, nothing twice."""
    server = Server(tmp_path)
    server.start()
    collected: list[Message] = []
    try:
        with httpx2.Client(timeout=60) as http:
            jobs = [http.post(f"{server.url}/sleep/async").headers["location"] for _ in range(20)]
            with events(f"{server.url}/events") as stream:
                state = stream.next()
                assert len(state.data["jobs"]) == 20
                for job in jobs[:7]:
                    http.post(f"{job}/phase", data={"PHASE": "ABORT"})
                collected += [stream.next() for _ in range(5)]
                server.kill()
                with pytest.raises((httpx2.HTTPError, StopIteration, RuntimeError)):
                    for _ in range(9):
                        collected.append(stream.next())
            server.start()
            for job in jobs[7:12]:
                http.post(f"{job}/phase", data={"PHASE": "ABORT"})
            with events(f"{server.url}/events", collected[-1].number) as stream:
                for job in jobs[12:]:
                    http.post(f"{job}/phase", data={"PHASE": "ABORT"})
                while len(collected) < 20:
                    collected.append(stream.next())
    finally:
        server.stop()
    assert [message.data["job"] for message in collected] == jobs
    assert numbers(collected) == sorted(set(numbers(collected)))


def test_two_processes_tell_the_same(tmp_path: Path) -> None:
    """Whichever process a client comes to, the sequence is one; an event of one is told by the other."""
    settings = {"UWS_DATABASE": databases.new_postgresql(), "UWS_AUTO_MIGRATE": "true", "UWS_CONTROLLER": "false"}
    settings["UWS_DEPOT"] = str(tmp_path / "depot")
    first, second = Server(tmp_path / "a", settings), Server(tmp_path / "b", settings)
    try:
        first.start()
        second.start()
        with httpx2.Client(timeout=60) as http, events(f"{first.url}/events") as stream:
            stream.next()
            paths: list[str] = []

            def create(server: Server) -> None:
                for _ in range(30):
                    answer = http.post(f"{server.url}/sleep/async")
                    paths.append(urlsplit(answer.headers["location"]).path)

            writers = [threading.Thread(target=create, args=(server,)) for server in (first, second)]
            for writer in writers:
                writer.start()
            at_first = [stream.next() for _ in range(20)]
            with events(f"{second.url}/events", at_first[-1].number) as other:
                at_second = [other.next() for _ in range(40)]
            for writer in writers:
                writer.join()
            at_first += [stream.next() for _ in range(40)]
        paths_in_events = [urlsplit(message.data["job"]).path for message in [*at_first[:20], *at_second]]
        assert sorted(paths_in_events) == sorted(paths)
        assert numbers(at_first)[20:] == numbers(at_second)
        assert numbers(at_first) == sorted(set(numbers(at_first)))
    finally:
        first.stop()
        second.stop()


def test_the_end_of_the_service_ends_streams(tmp_path: Path) -> None:
    """C-26: a stop does not wait for those that follow; they come back with their numbers."""
    server = Server(tmp_path)
    server.start()
    with events(f"{server.url}/events") as stream:
        stream.next()
        server.stop()
        assert list(stream) == []


def test_constants_are_what_the_rules_say() -> None:
    """E-004, E-005: 15 s between comment lines, ten minutes of life."""
    assert (web_events.HEARTBEAT_SECONDS, web_events.LIFE_SECONDS) == (15.0, 600.0)

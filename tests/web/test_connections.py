"""Connections too large, too slow or too many.

Others go on.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import httpx2
import psutil
import pytest

from tests.server import Server

LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1024))
sys.argv = ["uws-service", "serve", *sys.argv[1:]]
runpy.run_module("uws_service", run_name="__main__")
"""
"""The service on a machine that gives it few descriptors."""
HEAD = b"POST /sleep/async HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
BODY = HEAD + b"Content-Length: 100000\r\n\r\na="
PROMPT_SECONDS = 10.0
"""What a bystander waits at most; the machine does other things too."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield one service for all tests."""
    running = Server(tmp_path_factory.mktemp("limited"), program=("-c", LIMITED))
    running.start()
    yield running
    running.stop()


def connect(server: Server, data: bytes = b"") -> socket.socket:
    """Return a connection over which bytes were sent."""
    connection = socket.create_connection(("127.0.0.1", server.port), 10)
    with contextlib.suppress(OSError):  # closed before all was taken
        connection.sendall(data)
    return connection


def answer_of(connection: socket.socket, seconds: float = 5) -> bytes:
    """Return all bytes until the connection is closed."""
    connection.settimeout(seconds)
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            received += data
    connection.close()
    return received


def require_service(server: Server) -> None:
    """Check that a bystander is answered, and their job runs."""
    began = time.monotonic()
    with httpx2.Client(base_url=server.url, timeout=PROMPT_SECONDS) as client:
        assert client.get("/sleep/async").status_code == 200
        job = client.post("/sleep/async", data={"SECONDS": "0", "PHASE": "RUN"}).headers["location"]
        assert time.monotonic() - began < PROMPT_SECONDS
        deadline = time.monotonic() + 60
        while (phase := client.get(f"{job}/phase").text) != "COMPLETED":
            assert phase in ("QUEUED", "EXECUTING") and time.monotonic() < deadline, phase
            time.sleep(0.1)


HEADS = {
    "tiny fields": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 5_000_000,
    "fields": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 101 + b"\r\n",
    "one field": b"GET / HTTP/1.1\r\nHost: localhost\r\na: " + b"x" * 30_000_000,
    "a path": b"GET /" + b"x" * 3_000_000,
    "empty lines": b"\r\n" * 2_000_000,
    "trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n" + b"a: b\r\n" * 500_000,
    "one trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\na: " + b"x" * 3_000_000,
    "chunk extension": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"x" * 3_000_000,
}


@pytest.mark.parametrize("data", HEADS.values(), ids=HEADS)
def test_heads_that_are_too_large(server: Server, data: bytes) -> None:
    """431, and they are not kept."""
    assert server.process is not None
    memory = psutil.Process(server.process.pid).memory_info()
    answer = answer_of(connect(server, data))
    assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")), answer[:200]
    after = psutil.Process(server.process.pid).memory_info()
    assert after.rss - memory.rss < 40 * 1024**2


def test_heads_that_are_large_enough(server: Server) -> None:
    for fields in (b"a: b\r\n" * 98, b"a: " + b"x" * 60_000 + b"\r\n"):
        data = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n%sConnection: close\r\n\r\n" % fields
        assert answer_of(connect(server, data)).startswith(b"HTTP/1.1 200 ")
    pipelined = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20
    last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert answer_of(connect(server, pipelined + last)).count(b" 200 OK") == 21


def _requests(kind: str) -> bytes:
    return {
        "nothing": b"",
        "half a head": HEAD,
        "a slow body": BODY,
        "idle": b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    }[kind]


@pytest.mark.parametrize("kind", ["nothing", "half a head", "a slow body", "idle"])
def test_too_many_connections(server: Server, kind: str) -> None:
    """More than there are descriptors.

    Each new one gets in at the cost of those that keep the service waiting.
    """
    assert server.process is not None
    connections = []
    try:
        for _ in range(1200):
            connections.append(connect(server, _requests(kind)))
        time.sleep(2)  # until slow bodies count as slow
        for _ in range(3):
            require_service(server)
        assert psutil.Process(server.process.pid).num_fds() < 1024 - 200
    finally:
        for connection in connections:
            connection.close()


def test_slow_heads_and_bodies(server: Server) -> None:
    """Single bytes keep a connection open only so long.

    Others that are slow are served.
    """
    drips = {kind: connect(server, data) for kind, data in {"head": HEAD + b"a: ", "body": BODY}.items()}
    patient = connect(server, HEAD + b"Content-Length: 40004\r\nConnection: close\r\n\r\na=1&")
    silent = connect(server)
    began = time.monotonic()
    ended: dict[str, float] = {}
    while len(ended) < 2 and time.monotonic() - began < 90:
        time.sleep(1)
        for kind, connection in drips.items():
            connection.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                if kind not in ended and b" 408 " in connection.recv(1000):
                    ended[kind] = time.monotonic() - began
            with contextlib.suppress(OSError):
                connection.sendall(b"x")
        if time.monotonic() - began < 39:
            patient.sendall(b"b" * 1000)
    assert 19 < ended["head"] < 60 and 29 < ended["body"] < 80
    assert answer_of(silent) == b""
    for connection in drips.values():
        connection.close()
    patient.close()
    require_service(server)


def test_an_answer_that_nobody_takes(server: Server) -> None:
    """Its connection is ended; a slow reader's is not."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        form = {f"P{number}": "x" * 1_000_000 for number in range(12)}
        job = client.post("/sleep/async", data=form).headers["location"]
    path = job.removeprefix(server.url).encode()
    request = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path
    takers = [connect(server, request) for _ in range(5)]
    slow = connect(server, request)
    slow.settimeout(10)
    received = 0
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.5)
        received += len(slow.recv(40_000))
        ports = {entry.raddr.port for entry in process.net_connections("tcp") if entry.raddr}
        if not ports & {taker.getsockname()[1] for taker in takers}:
            break
    else:
        pytest.fail("the answers wait for ever")
    assert slow.getsockname()[1] in ports
    remaining = len(answer_of(slow, 30))
    assert received + remaining > 12_000_000
    for taker in takers:
        taker.close()


def test_answers_that_many_do_not_take(server: Server) -> None:
    """Large ones have a bound of memory together; who takes theirs gets it."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        form = {f"P{number}": "x" * 1_040_000 for number in range(15)}
        job = client.post("/sleep/async", data=form).headers["location"]
        client.get(job)
        before = process.memory_info().rss
        request = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % job.removeprefix(server.url).encode()
        takers = []
        highest = 0
        for _ in range(70):
            taker = socket.socket()
            taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            taker.settimeout(60)
            taker.connect(("127.0.0.1", server.port))
            taker.sendall(request)
            assert taker.recv(1)
            takers.append(taker)
            highest = max(highest, process.memory_info().rss - before)
        assert len(client.get(job).content) > 15_000_000
    assert highest < 600 * 1024**2  # the bound, what comes between two looks, and documents that are made
    deadline = time.monotonic() + 30
    while process.memory_info().rss - before > 400 * 1024**2:
        assert time.monotonic() < deadline, process.memory_info()
        time.sleep(0.5)
    for taker in takers:
        taker.close()


def test_waiters_may_be_more_than_half_of_the_connections(server: Server) -> None:
    """Who waits for a job needs no file beside the connection: three fifths of the descriptors may wait."""
    with httpx2.Client(base_url=server.url, timeout=PROMPT_SECONDS) as client:
        job = client.post("/sleep/async").headers["location"]
        request = b"GET %s?WAIT=50&PHASE=PENDING HTTP/1.1\r\nHost: localhost\r\n\r\n" % httpx2.URL(job).raw_path
        connections = [connect(server, request) for _ in range(460)]
        try:
            deadline = time.monotonic() + 30
            while "\nuws_waiters 460.0\n" not in (metrics := client.get("/metrics").text):
                assert time.monotonic() < deadline, metrics
                time.sleep(0.1)
            surplus = [connect(server, request) for _ in range(5)]
            assert all(connection.recv(12) == b"HTTP/1.1 200" for connection in surplus)  # early (U-156)
            connections += surplus
            require_service(server)
            assert client.post(f"{job}/phase", data={"PHASE": "ABORT"}).status_code == 303
            for connection in connections[:460]:
                connection.settimeout(30)
                assert connection.recv(12) == b"HTTP/1.1 200"
        finally:
            for connection in connections:
                connection.close()

"""Permissions, quotas and abandoned queries."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest
import requests

from tests.server import Server

SLOW = "SELECT COUNT(*) AS n FROM openngc.objects a, openngc.objects b, openngc.objects c WHERE a.ra + b.ra < c.ra"
QUICK = "SELECT COUNT(*) AS n FROM openngc.identifiers"


def ask(server: Server, query: str) -> requests.Response:
    return requests.post(f"{server.url}/tap/sync", data={"LANG": "ADQL", "QUERY": query}, timeout=120)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service with one job at a time for anonymous callers."""
    server = Server(tmp_path_factory.mktemp("limited"), {"UWS_AUTH__QUOTAS__ANONYMOUS__RUNNING": "1"})
    server.start()
    yield server
    server.stop()


def workers(server: Server) -> list[psutil.Process]:
    """Return the warm query processes."""
    assert server.process is not None
    children = psutil.Process(server.process.pid).children(recursive=True)
    processes = []
    for child in children:
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "uws_service.tap.worker" in " ".join(child.cmdline()):
                processes.append(child)
    return processes


def until(condition: object, seconds: float = 180) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)


def busy(server: Server) -> bool:
    """Return whether a query process computes."""
    return any(process.cpu_percent(0.1) > 20 for process in workers(server))


def test_who_may_ask(tmp_path: Path) -> None:
    """Anonymous callers see capabilities only (V-002)."""
    issuers = '[{"url": "https://iam.example.org", "audience": "uws"}]'
    server = Server(tmp_path, {"UWS_AUTH__ISSUERS": issuers})
    server.start()
    try:
        for path in ("sync?LANG=ADQL&QUERY=SELECT+1+AS+a", "tables", "tables/openngc.objects", "async"):
            answer = requests.get(f"{server.url}/tap/{path}", timeout=180)
            assert answer.status_code == 401 and "Bearer" in answer.headers["www-authenticate"], path
        assert ask(server, QUICK).status_code == 401 and not workers(server)
        for path in ("capabilities", "availability", "examples"):
            assert requests.get(f"{server.url}/tap/{path}", timeout=180).status_code == 200
    finally:
        server.stop()


def test_queries_count_as_running_jobs(limited: Server) -> None:
    """A caller's second query at once is refused."""
    assert ask(limited, QUICK).status_code == 200  # a process is warm now
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, limited, SLOW.replace("openngc.objects c", "openngc.objects c, openngc.objects d"))
        until(lambda: busy(limited))
        refused = ask(limited, QUICK)
        assert refused.status_code == 429 and refused.headers["retry-after"] and b"QUERY_STATUS" in refused.content
        for process in workers(limited):
            process.kill()  # as if it had run out of memory
        assert first.result().status_code == 422 and b"ended its process" in first.result().content
    until(lambda: ask(limited, QUICK).status_code == 200)


def test_a_client_that_goes_away_stops_its_query(limited: Server) -> None:
    """The process is killed at once, and the next query answered."""
    until(lambda: ask(limited, QUICK).status_code == 200)
    query = urlencode({"LANG": "ADQL", "QUERY": SLOW})
    with socket.create_connection(("127.0.0.1", limited.port)) as connection:
        connection.sendall(f"GET /tap/sync?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        until(lambda: busy(limited))
        before = {process.pid for process in workers(limited)}
    until(lambda: not before & {process.pid for process in workers(limited)})
    until(lambda: ask(limited, QUICK).status_code == 200)


def test_bodies_that_never_end(server: Server) -> None:
    """Unfinished forms hold no process and leave no file."""
    depot = server.folder / "data" / "depot"

    def uploads() -> set[Path]:
        return {Path(folder, name) for folder, _, names in os.walk(depot) for name in names}  # folders may vanish

    before = uploads()
    form = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + b"x" * 50_000
    with contextlib.ExitStack() as stack:
        for path in ("/tap/sync", "/tap/async", "/sleep/bulk", "/cutout/sync") * 5:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            kind = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000"
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}\r\n\r\n".encode() + form)
        until(lambda: len(uploads() - before) >= 20)
        assert ask(server, QUICK).status_code == 200
    until(lambda: uploads() <= before)


def test_many_at_once(server: Server) -> None:
    """Many clients are answered by few processes."""
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask(server, QUICK).status_code, range(48)))
    assert answers == [200] * 48
    assert len(workers(server)) <= 2


def test_processes_that_were_killed(server: Server) -> None:
    """A query after the loss of idle processes gets a new one."""
    assert ask(server, QUICK).status_code == 200
    ended = workers(server)
    for process in ended:
        process.kill()
    assert ended and not psutil.wait_procs(ended, 20)[1]
    assert ask(server, QUICK).status_code == 200


def test_memory_is_flat(server: Server) -> None:
    """Ten times the rows take no more memory."""
    assert server.process is not None
    service = psutil.Process(server.process.pid)
    wide = "SELECT TOP {rows} a.name, a.ra, a.dec, b.identifier FROM openngc.objects a, openngc.identifiers b"
    peaks = []
    for rows in (100_000, 100_000, 1_000_000):
        peak = size = 0
        parameters = {"LANG": "ADQL", "QUERY": wide.format(rows=rows), "MAXREC": "2000000"}
        with requests.get(f"{server.url}/tap/sync", params=parameters, stream=True, timeout=120) as answer:
            for number, part in enumerate(answer.iter_content(1 << 16)):
                size += len(part)
                if number % 64 == 0:
                    peak = max(peak, sum(process.memory_info().rss for process in [service, *workers(server)]))
        assert answer.status_code == 200 and size > rows * 60
        peaks.append(peak)
    assert peaks[2] < 1.3 * peaks[1]

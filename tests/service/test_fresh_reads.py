"""Two services on one PostgreSQL, read by many.

Nobody sees a phase that was over before they asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests import databases
from tests.server import Server

JOBS = 25
READERS = 4
ORDER = ("PENDING", "ABORTED", "404")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Yield two services with one database."""
    settings = {
        "UWS_DATABASE": databases.new_postgresql(),
        "UWS_AUTO_MIGRATE": "true",
        "UWS_DEPOT": str(tmp_path / "depot"),
        "UWS_CONTROLLER": "false",
    }
    servers = Server(tmp_path / "first", settings), Server(tmp_path / "second", settings)
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


def shown(http: httpx2.Client, url: str) -> str:
    """Return the phase that is shown, or the status of an error."""
    answer = http.get(f"{url}/phase")
    return answer.text if answer.status_code == 200 else str(answer.status_code)


def test_nobody_sees_an_old_phase(pair: tuple[Server, Server]) -> None:
    """Each change is made at one service and asked for at once at both; others read the same job all the time."""
    current = [""]
    stop = threading.Event()

    def read_on(server: Server) -> int:
        count = 0
        with httpx2.Client(timeout=60) as http:
            path, newest = "", 0
            while not stop.is_set():
                if not current[0]:
                    continue
                if path != current[0]:
                    path, newest = current[0], 0
                stage = ORDER.index(shown(http, server.url + path))
                assert stage >= newest, f"{ORDER[newest]} was followed by {ORDER[stage]}"
                newest = stage
                count += 1
        return count

    with ThreadPoolExecutor(2 * READERS) as pool, httpx2.Client(timeout=60) as http:
        readers = [pool.submit(read_on, server) for server in pair for _ in range(READERS)]
        try:
            for number in range(JOBS):
                first, second = pair[number % 2], pair[1 - number % 2]
                answer = http.post(f"{first.url}/sleep/async", data={"SECONDS": "0"})
                path = answer.headers["location"].removeprefix(first.url)
                current[0] = path
                assert [shown(http, server.url + path) for server in (second, first)] == ["PENDING"] * 2
                before = http.get(second.url + path).text
                assert http.post(f"{first.url}{path}/phase", data={"PHASE": "ABORT"}).status_code == 303
                assert [shown(http, server.url + path) for server in (second, first)] == ["ABORTED"] * 2
                documents = [http.get(server.url + path).text for server in (second, first)]
                assert ">PENDING<" in before and all(">ABORTED<" in text for text in documents)
                assert http.delete(second.url + path).status_code == 303
                assert [shown(http, server.url + path) for server in (first, second)] == ["404"] * 2
        finally:
            stop.set()
        assert all(reader.result() > JOBS for reader in readers)

"""Slow clients and servers, and greedy callers.

Other callers' queries are answered meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests

from tests.server import Server
from tests.tap.test_access_to_tap import QUICK, SLOW, until, workers
from uws_service.domain.errors import ServiceUnavailable, StorageFull
from uws_service.tap import spool as spool_module
from uws_service.tap.shares import FairPlaces
from uws_service.tap.spool import Spool
from uws_service.tap.upload_fetch import fetch_upload

WIDE = "SELECT TOP 300000 a.name, a.ra, a.dec, b.identifier FROM openngc.objects a, openngc.identifiers b"
PROMPT_SECONDS = 15.0
"""What a query of a moment takes at most; the machine does other things too."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service with two query processes."""
    server = Server(tmp_path_factory.mktemp("slow"), {"UWS_FETCH__ALLOW_HOSTS": '["localhost"]'})
    server.start()
    yield server
    server.stop()


def ask(server: Server, query: str, origin: str = "192.0.2.1", **parameters: str) -> requests.Response:
    """Send a query from an address, as behind a proxy."""
    data = {"LANG": "ADQL", "QUERY": query, **parameters}
    return requests.post(f"{server.url}/tap/sync", data=data, headers={"X-Forwarded-For": origin}, timeout=120)


def require_prompt(server: Server, origin: str = "192.0.2.1") -> None:
    """Check that a short query is answered soon."""
    began = time.monotonic()
    assert ask(server, QUICK, origin).status_code == 200
    assert time.monotonic() - began < PROMPT_SECONDS


def read_until_answer(connection: socket.socket) -> None:
    """Wait for the first bytes of an answer."""
    connection.settimeout(60)
    assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_slow_readers(service: Server) -> None:
    """Unread results hold no process."""
    require_prompt(service)
    path = "/tap/sync?" + urlencode({"LANG": "ADQL", "QUERY": WIDE, "MAXREC": "300000"})
    with contextlib.ExitStack() as stack:
        readers = []
        for _ in range(6):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", service.port))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            read_until_answer(connection)
            readers.append(connection)
        for number in range(3):
            require_prompt(service, f"192.0.2.{number}")
        content = bytearray()
        while data := readers[0].recv(1 << 20):
            content += data
        assert content.endswith(b"0\r\n\r\n") and b"</VOTABLE>" in content[-200:]
        assert content.count(b"<TR>") == 300_000 or len(content) > 10_000_000
    require_prompt(service)


@pytest.fixture
def slow_url() -> Iterator[str]:
    """Serve a file byte by byte, endlessly."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nra,dec\n")
            while not ended.wait(0.2):
                connection.sendall(b"1")

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    yield f"http://localhost:{listener.getsockname()[1]}/table.csv"
    ended.set()
    listener.close()


def test_slow_uploads(service: Server, slow_url: str) -> None:
    """Slow tables are awaited before a process starts."""
    query = "SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine"
    answers: list[requests.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(service, query, UPLOAD=f"mine,{slow_url}")))
        for _ in range(4)
    ]
    for item in threads:
        item.start()
    time.sleep(2)
    for _ in range(3):
        require_prompt(service)
    for item in threads:
        item.join(120)
    assert [item.status_code for item in answers] == [400] * 4
    assert all("did not come within" in item.text for item in answers)
    assert not list((service.folder / "data").rglob("upload-*"))


def test_slow_uploads_of_one_caller(service: Server, slow_url: str, web: str, table: Path) -> None:
    """They do not hold up another caller's, however many they are."""
    query = "SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine"
    threads = [
        threading.Thread(target=lambda: ask(service, query, "192.0.2.21", UPLOAD=f"mine,{slow_url}")) for _ in range(12)
    ]
    for item in threads:
        item.start()
    time.sleep(2)
    began = time.monotonic()
    answer = ask(service, query, "192.0.2.22", UPLOAD=f"mine,{web}/{table.name}", RESPONSEFORMAT="csv")
    assert answer.status_code == 200 and answer.text.split() == ["n", "3"]
    assert time.monotonic() - began < PROMPT_SECONDS
    for item in threads:
        item.join(120)


def test_a_caller_who_asks_for_much(service: Server) -> None:
    """Nobody gets all processes; callers take turns."""
    require_prompt(service, "192.0.2.7")
    require_prompt(service, "192.0.2.8")
    path = "/tap/sync?" + urlencode({"LANG": "ADQL", "QUERY": SLOW})
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
            connection.sendall(head.encode())
        until(lambda: any(process.cpu_percent(0.1) > 5 for process in workers(service)))
        for _ in range(3):
            require_prompt(service, "192.0.2.8")


@pytest.mark.anyio
async def test_places() -> None:
    """The rules by themselves, with three places."""
    now = [0.0]
    places = FairPlaces(3, clock=lambda: now[0])
    order: list[str] = []
    release: dict[str, asyncio.Event] = {}

    async def hold(name: str) -> None:
        release[name] = asyncio.Event()
        async with places.place(name[0], 60):
            order.append(name)
            await release[name].wait()

    async def begin(*names: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(hold(name)) for name in names]
        await asyncio.sleep(0.01)
        return tasks

    tasks = await begin("a1", "a2", "a3", "a4", "a5")
    assert order == ["a1", "a2", "a3"]  # alone: all
    tasks += await begin("b1", "b2", "c1")
    release["a1"].set()
    await asyncio.sleep(0.01)
    assert order[3:] == ["b1"]  # who has the fewest
    release["a2"].set()
    await asyncio.sleep(0.01)
    assert order[4:] == ["c1"]
    release["b1"].set()
    await asyncio.sleep(0.01)
    assert order[5:] == ["b2"]
    for name in ("a3", "c1", "b2"):
        release[name].set()
    await asyncio.sleep(0.01)
    assert order[6:] == ["a4", "a5"]  # in company: all but one
    with pytest.raises(TimeoutError):
        async with places.place("a", 0.05):
            pass
    async with places.place("d", 0.05):
        pass
    for event in release.values():
        event.set()
    await asyncio.gather(*tasks)
    now[0] += 1000
    await asyncio.gather(*await begin_and_release(begin, release))


async def begin_and_release(begin: object, release: dict[str, asyncio.Event]) -> list[asyncio.Task[None]]:
    """Take and release three places for one caller alone."""
    assert callable(begin)
    tasks: list[asyncio.Task[None]] = await begin("a6", "a7", "a8")
    assert all(f"a{number}" in release for number in (6, 7, 8))
    for event in release.values():
        event.set()
    return tasks


@pytest.mark.anyio
@pytest.mark.parametrize("ahead", [1, 30, 1000])
async def test_a_spool_gives_back_what_was_put_in(tmp_path: Path, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts come complete and in order; nothing is left.

    Whether the reader keeps up or not, also when the file is full.
    """
    monkeypatch.setattr(spool_module, "MEMORY_BYTES", 2000)
    monkeypatch.setattr(spool_module, "MAX_FILE_BYTES", 50_000)
    spool = Spool(tmp_path)
    parts = [bytes([number % 256]) * (number * 7 % 1500) for number in range(500)]
    permits = asyncio.Semaphore(ahead)

    async def write() -> None:
        for part in parts:
            await permits.acquire()
            await spool.write(part)
        spool.end()

    task = asyncio.create_task(write())
    received = b""
    await spool.start()
    async for part in spool.parts():
        received += part
        permits.release()
        permits.release()
    await task
    assert received == b"".join(parts)
    spool.close()
    assert Spool.total_file_bytes == 0 and not os.listdir(tmp_path)


@pytest.mark.anyio
async def test_a_spool_tells_what_went_wrong(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    await spool.write(b"1")
    spool.end(ValueError("broken"))
    await spool.start()
    received = []
    with pytest.raises(ValueError, match="broken"):
        async for part in spool.parts():
            received.append(part)
    assert received == [b"1"]


@pytest.mark.anyio
async def test_answers_have_one_bound_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it they lie in files, from their first part on, and come complete."""
    monkeypatch.setattr(spool_module, "MAX_TOTAL_MEMORY_BYTES", 10_000, raising=False)
    spools = [Spool(tmp_path) for _ in range(8)]
    for spool in spools:
        for number in range(3):
            await spool.write(bytes([number]) * 1000)
        spool.end()
    assert sum(len(part) for spool in spools for part in spool._ready) <= 10_000
    for spool in spools:
        await spool.start()
        assert b"".join([part async for part in spool.parts()]) == b"".join(bytes([n]) * 1000 for n in range(3))
        spool.close()
    assert Spool.total_file_bytes == Spool.total_memory_bytes == 0 and not os.listdir(tmp_path)


@pytest.mark.anyio
async def test_a_caller_who_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others need not wait for readers who take nothing: the one who has the most loses an answer."""
    monkeypatch.setattr(spool_module, "MEMORY_BYTES", 1000)
    monkeypatch.setattr(spool_module, "MAX_TOTAL_BYTES", 40_000)
    monkeypatch.setattr(spool_module, "READ_SECONDS", 0.1, raising=False)
    greedy = [Spool(tmp_path, "greedy") for _ in range(4)]
    for spool in greedy:
        for _ in range(11):
            await spool.write(b"x" * 1000)
        await spool.start()
    modest = Spool(tmp_path, "modest")
    parts = [bytes([number]) * 1000 for number in range(8)]
    async with asyncio.timeout(30):
        for part in parts:
            await modest.write(part)
    modest.end()
    await modest.start()
    assert b"".join([part async for part in modest.parts()]) == b"".join(parts)
    waiting = next(spool for spool in greedy if not spool._given_up)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):  # whoever has the most waits
            while True:
                await waiting.write(b"x" * 1000)
    lost = 0
    for spool in greedy:
        spool.end()
        try:
            assert len(b"".join([part async for part in spool.parts()])) >= 11_000
        except ServiceUnavailable as error:
            lost += 1
            assert "other callers" in error.message
    assert lost == 1
    for spool in [*greedy, modest]:
        spool.close()
    assert Spool.total_file_bytes == Spool.total_memory_bytes == 0 and not os.listdir(tmp_path)


@pytest.mark.anyio
async def test_a_full_disk_is_told(tmp_path: Path, web: str, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is nobody's fault: 507, for answers that wait and for uploads that are fetched."""
    monkeypatch.setattr(spool_module, "_new_file", lambda _: os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb"))
    monkeypatch.setattr(spool_module, "MEMORY_BYTES", 1000)
    spool = Spool(tmp_path)
    with pytest.raises(StorageFull, match="No space left"):
        await spool.write(b"x" * 2000)
    spool.close()
    policy = {"allow_private": False, "allow_hosts": ["localhost"], "timeout": 20}
    with pytest.raises(StorageFull, match="full"):
        url = f"{web}/{table.name}"
        await fetch_upload("mine", url, Path("/dev/full"), max_size=9999, policy=policy, seconds=60, caller="ada")
    assert Spool.total_file_bytes == 0

"""Files fetched from replicas.

Several streams, cuts, wrong bytes, and tokens.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.server import free_port
from uws_service.agent import replicas
from uws_service.agent.fetch import FetchError, Policy
from uws_service.agent.replicas import fetch_input

OPEN = Policy(allow_private=True, timeout=10)
DATA = random.Random(13).randbytes(3_000_007)
CHECKSUMS = {
    "sha256": hashlib.sha256(DATA).hexdigest(),
    "md5": hashlib.md5(DATA).hexdigest(),
    "adler32": f"{zlib.adler32(DATA):08x}",
}


class Door(BaseHTTPRequestHandler):
    """A storage's door; its server says how it behaves."""

    server: Storage
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.requests.append((self.path, dict(self.headers)))
            count = len(server.requests)
        self.close_connection = True
        if server.status != 200:
            self._head(server.status, {"Content-Length": "0"})
        elif server.leads_to:
            self._head(307, {"Location": server.leads_to, "Content-Length": "0"})
        elif server.busy and count <= server.busy:
            self._head(503, {"Content-Length": "0"})
        else:
            self._content()

    def _content(self) -> None:
        server = self.server
        start, end, status, headers = 0, len(server.content), 200, {"ETag": server.tag}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match and server.has_ranges:
            start, end = int(match[1]), min(int(match[2] or end) + 1, end)
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(server.content)}"
        headers["Content-Length"] = str(end - start)
        self._head(status, headers)
        with server.lock:
            server.current += 1
            server.most = max(server.most, server.current)
        try:
            self._send(start, end)
        finally:
            with server.lock:
                server.current -= 1

    def _send(self, start: int, end: int) -> None:
        server = self.server
        if server.stalls:
            self.wfile.write(server.content[start : start + 1000])
            server.ended.wait(60)
            return
        while start < end:
            with server.lock:
                if server.cut_after is not None and server.sent >= server.cut_after:
                    server.cut_after = server.sent + server.cut_every if server.cut_every else None
                    return
                step = min(server.step, end - start)
                server.sent += step
            self.wfile.write(server.content[start : start + step])
            start += step
            time.sleep(server.pause)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Storage(ThreadingHTTPServer):
    """A storage with one file."""

    daemon_threads = True

    def __init__(self, content: bytes = DATA, **behaviour: Any) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.content = content
        self.tag = '"1"'
        self.status = 200
        self.leads_to = ""
        self.busy = 0
        self.has_ranges = True
        self.stalls = False
        self.cut_after: int | None = None
        self.cut_every = 0
        self.step = 50_000
        self.pause = 0.0
        self.sent = self.current = self.most = 0
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self.ended = threading.Event()
        for name, value in behaviour.items():
            assert hasattr(self, name)
            setattr(self, name, value)
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.url = f"http://{self.host}/area/file.fits"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()


@pytest.fixture
def storages() -> Iterator[list[Storage]]:
    """Yield a list of storages that are stopped at the end."""
    opened: list[Storage] = []
    yield opened
    for storage in opened:
        storage.stop()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the file one of several pieces."""
    monkeypatch.setattr(replicas, "PIECE_BYTES", 400_000)
    monkeypatch.setattr(replicas, "PAUSE_SECONDS", 0.01)


def item(*urls: str, size: int | None = len(DATA), **checksums: str) -> dict[str, Any]:
    return {
        "url": urls[0],
        "urls": list(urls[1:]),
        "size": size,
        "max_size": len(DATA),
        "checksums": checksums or CHECKSUMS,
    }


def test_streams_run_side_by_side(tmp_path: Path, storages: list[Storage]) -> None:
    storages.append(Storage(pause=0.01))
    assert fetch_input(item(storages[0].url), str(tmp_path / "f"), OPEN, {}) == []
    assert (tmp_path / "f").read_bytes() == DATA
    assert storages[0].most > 1
    assert len(storages[0].requests) == 8
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("has_ranges", [True, False])
@pytest.mark.parametrize("piece", [400_000, 10**9])
def test_stream_goes_on_where_it_was_cut(
    tmp_path: Path, storages: list[Storage], has_ranges: bool, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that breaks at 90 % costs no byte twice, if the storage knows ranges."""
    monkeypatch.setattr(replicas, "PIECE_BYTES", piece)
    storages.append(Storage(cut_after=2_700_000, has_ranges=has_ranges))
    assert fetch_input(item(storages[0].url), str(tmp_path / "f"), OPEN, {}) == []
    assert (tmp_path / "f").read_bytes() == DATA
    if has_ranges:
        assert storages[0].sent == len(DATA)


def test_many_cuts(tmp_path: Path, storages: list[Storage]) -> None:
    storages.append(Storage(cut_after=100_000, cut_every=150_000))
    fetch_input(item(storages[0].url), str(tmp_path / "f"), OPEN, {})
    assert (tmp_path / "f").read_bytes() == DATA


def test_busy_storage_is_asked_again(tmp_path: Path, storages: list[Storage]) -> None:
    storages.append(Storage(busy=4))
    fetch_input(item(storages[0].url), str(tmp_path / "f"), OPEN, {})
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize("kind", CHECKSUMS)
def test_wrong_checksum_is_never_handed_over(tmp_path: Path, storages: list[Storage], kind: str) -> None:
    wrong = bytearray(DATA)
    wrong[1_234_567] ^= 1
    storages += [Storage(bytes(wrong)), Storage()]
    checksum: dict[str, Any] = {kind: CHECKSUMS[kind]}
    with pytest.raises(FetchError, match=kind):
        fetch_input(item(storages[0].url, **checksum), str(tmp_path / "f"), OPEN, {})
    assert os.listdir(tmp_path) == []
    problems = fetch_input(item(storages[0].url, storages[1].url, **checksum), str(tmp_path / "f"), OPEN, {})
    assert (tmp_path / "f").read_bytes() == DATA
    assert len(problems) == 1
    assert storages[0].host in problems[0]
    assert kind in problems[0]


@pytest.mark.parametrize("has_ranges", [True, False])
@pytest.mark.parametrize("content", [DATA[:-1], DATA + b"!", b""])
def test_size_that_is_not_what_the_catalogue_says(
    tmp_path: Path, storages: list[Storage], content: bytes, has_ranges: bool
) -> None:
    storages += [Storage(content, has_ranges=has_ranges), Storage()]
    problems = fetch_input(item(storages[0].url, storages[1].url), str(tmp_path / "f"), OPEN, {})
    assert (tmp_path / "f").read_bytes() == DATA
    assert len(problems) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500])
def test_no_replica_is_good(tmp_path: Path, storages: list[Storage], status: int) -> None:
    storages += [Storage(status=status), Storage(b"short")]
    gone = f"http://127.0.0.1:{free_port()}/gone"
    with pytest.raises(FetchError, match="none of 3 replicas") as raised:
        fetch_input(item(storages[0].url, gone, storages[1].url), str(tmp_path / "f"), OPEN, {})
    for host in (storages[0].host, storages[1].host, gone.split("/")[2]):
        assert host in str(raised.value)
    assert os.listdir(tmp_path) == []


def test_file_that_changes_between_streams(tmp_path: Path, storages: list[Storage]) -> None:
    class Changing(Storage):
        @property
        def tag(self) -> str:
            return f'"{len(self.requests) // 4}"'

        @tag.setter
        def tag(self, _: str) -> None:
            pass

    storages += [Changing(), Storage()]
    problems = fetch_input(item(storages[0].url, storages[1].url), str(tmp_path / "f"), OPEN, {})
    assert "changed" in problems[0]


def test_token_goes_to_the_first_host_alone(tmp_path: Path, storages: list[Storage]) -> None:
    """A storage's door leads to another machine, with a token of its own in the URL."""
    storages += [Storage(), Storage()]
    storages[1].leads_to = f"{storages[0].url}?authz=x"
    tokens = {storages[1].host: "secret", "elsewhere.example.org": "other"}
    fetch_input(item(storages[1].url), str(tmp_path / "f"), OPEN, tokens)
    assert (tmp_path / "f").read_bytes() == DATA
    assert {headers.get("Authorization") for _, headers in storages[1].requests} == {"Bearer secret"}
    assert {headers.get("Authorization") for _, headers in storages[0].requests} == {None}


def test_inner_addresses_stay_forbidden(tmp_path: Path, storages: list[Storage]) -> None:
    storages.append(Storage())
    with pytest.raises(FetchError, match="inner network"):
        fetch_input(item(storages[0].url), str(tmp_path / "f"), Policy(timeout=5), {})
    assert storages[0].requests == []


def test_empty_file(tmp_path: Path, storages: list[Storage]) -> None:
    storages.append(Storage(b""))
    fetch_input(item(storages[0].url, size=0, md5=hashlib.md5(b"").hexdigest()), str(tmp_path / "f"), OPEN, {})
    assert (tmp_path / "f").read_bytes() == b""


def test_size_is_not_known(tmp_path: Path, storages: list[Storage]) -> None:
    storages += [Storage(DATA + b"!"), Storage(DATA[:-1]), Storage()]
    urls = [storage.url for storage in storages]
    problems = fetch_input(item(*urls, size=None, md5=CHECKSUMS["md5"]), str(tmp_path / "f"), OPEN, {})
    assert (tmp_path / "f").read_bytes() == DATA
    assert len(problems) == 2


def test_signal_ends_all_streams_at_once(tmp_path: Path, storages: list[Storage]) -> None:
    """The agent raises in its handler; no stream goes on behind its back."""

    class Stopped(BaseException):
        pass

    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    storages.append(Storage(stalls=True))
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        began = time.monotonic()
        with pytest.raises(Stopped):
            fetch_input(item(storages[0].url), str(tmp_path / "f"), Policy(allow_private=True, timeout=50), {})
        assert time.monotonic() - began < 20
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    names = [thread.name for thread in threading.enumerate() if "_work" in thread.name]
    assert not names
    assert os.listdir(tmp_path) == []

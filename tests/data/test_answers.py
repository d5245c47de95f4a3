"""Catalogues that are slow, or answer with nonsense.

Every answer is bounded, and every fault has its words.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.server import free_port
from uws_service.data import answers
from uws_service.data.answers import CatalogueFault, TooMuch, open_client, read_json, read_lines
from uws_service.data.catalogue import Absent
from uws_service.data.catalogues import Catalogues, Datasets
from uws_service.data.identifiers import parse_identifier
from uws_service.domain.dataset import DataSet

pytestmark = pytest.mark.anyio
LINE = {
    "scope": "s",
    "name": "a",
    "bytes": 3,
    "pfns": {"https://x.example/a": {"rse": "R"}},
    "states": {"R": "AVAILABLE"},
}


class Liar(ThreadingHTTPServer):
    """A server that answers as it is told, by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.replicas: list[Any] = [LINE]
        self.files: list[Any] = [{"scope": "s", "name": "a", "parent_scope": "s", "parent_name": "a"}]
        self.requests: list[str] = []
        self.status = 200
        self.ended = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Liar

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.requests.append(self.path)
        name = self.path.strip("/")
        if name == "endless":
            self._head(200)
            try:
                while True:
                    self.wfile.write(b'{"a": 1}\n' * 1000)
            except OSError:
                return
        elif name == "long-line":
            self._head(200)
            self.wfile.write(b'{"a": "' + b"x" * 2_000_000)
        elif name == "silent":
            self.server.ended.wait(30)
        elif name == "drips":
            self._head(200)
            try:
                for _ in range(200):
                    self.wfile.write(b" ")
                    time.sleep(0.05)
            except OSError:
                return
        elif name == "gzip":
            self._head(200, {"Content-Encoding": "gzip"})
            self.wfile.write(gzip.compress(bytes(50_000_000)))
        elif name == "redirect":
            self._head(302, {"Location": "http://169.254.169.254/"})
        elif name == "html":
            self._head(200)
            self.wfile.write(b"<html>\n")
        elif name == "array":
            self._head(200)
            self.wfile.write(b"[1]\n")
        elif name == "refuses":
            self._head(401)
            self.wfile.write(json.dumps({"ExceptionMessage": "no\x07 such\n account " + "x" * 5000}).encode())
        else:
            self._rucio(name, body)

    def _rucio(self, name: str, body: bytes) -> None:
        self._head(self.server.status)
        lines = {"dids/bulkfiles": self.server.files, "replicas/list": self.server.replicas}.get(name, ["{}"])
        if lines == ["many"]:
            names = [did["name"] for did in json.loads(body)["dids"]]
            lines = [
                {**LINE, "name": f"{name}-{n}", "parent_scope": "s", "parent_name": name}
                for name in names
                for n in range(60)
            ]
        for line in lines:
            self.wfile.write((line if isinstance(line, str) else json.dumps(line)).encode() + b"\n")

    def _head(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def liar() -> Iterator[Liar]:
    server = Liar()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "words", "transient"),
    [
        ("endless", "more than", False),
        ("long-line", "more than|lines of JSON", None),
        ("silent", "does not answer", True),
        ("drips", "takes too long", True),
        ("gzip", "content coding", True),
        ("redirect", "answers 302", False),
        ("html", "lines of JSON", True),
        ("array", "lines of JSON", True),
        ("refuses", "answers 401: no such account", False),
    ],
)
async def test_answers_are_bounded(
    liar: Liar, monkeypatch: pytest.MonkeyPatch, path: str, words: str, transient: bool | None
) -> None:
    monkeypatch.setattr(answers, "ANSWER_MAX_BYTES", 3_000_000)
    monkeypatch.setattr(answers, "LINE_MAX_BYTES", 1_000_000)
    monkeypatch.setattr(answers, "TIMEOUT_FACTOR", 2 if path == "drips" else 100)
    http = open_client(0.5)
    try:
        with pytest.raises(CatalogueFault, match=f"({words})") as raised:
            await read_lines(http, "GET", f"{liar.url}/{path}")
        assert transient in (None, raised.value.transient)
        assert len(str(raised.value)) < 300
        assert str(raised.value).isprintable()
        if path == "endless":
            with pytest.raises(TooMuch):
                await read_json(http, "GET", f"{liar.url}/{path}")
    finally:
        await http.aclose()


def rucio_at(url: str, **changes: Any) -> Catalogues:
    settings = {"name": "lake", "kind": "rucio", "url": url, "token": "t", "timeout": 5, "cache": 0, **changes}
    return Catalogues(Datasets.model_validate({"catalogues": [settings]}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bytes": -1}, "size -1"),
        ({"bytes": "3"}, "size '3'"),
        ({"bytes": 2**80}, "size"),
        ({"bytes": True}, "size True"),
        ({"md5": "short"}, "md5"),
        ({"adler32": "0123456789"}, "adler32"),
    ],
)
async def test_sizes_and_checksums_that_make_no_sense(liar: Liar, change: dict[str, Any], words: str) -> None:
    liar.replicas = [{**LINE, **change}]
    catalogues = rucio_at(liar.url)
    answer = (await catalogues.find([parse_identifier("s:a")]))["s:a"]
    await catalogues.close()
    assert isinstance(answer, Absent)
    assert not answer.transient
    assert words in answer.reason
    assert "lake is wrong about s:a" in answer.reason


@pytest.mark.parametrize(
    "change",
    [
        {"pfns": None}, {"pfns": [1]}, {"pfns": {"https://x.example/a": None}}, {"pfns": {"https://x/a": {"rse": 3}}},
        {"states": {"R": "BEING_DELETED"}}, {"name": "../../a"}, {"name": 7}, {"scope": None},
    ],
)  # fmt: skip
async def test_replicas_that_make_no_sense_are_left_out(liar: Liar, change: dict[str, Any]) -> None:
    liar.replicas = [{**LINE, **change}]
    catalogues = rucio_at(liar.url)
    answer = (await catalogues.find([parse_identifier("s:a")]))["s:a"]
    await catalogues.close()
    assert isinstance(answer, DataSet)
    assert answer.files[0].replicas == ()


async def test_answer_that_is_too_large_is_asked_for_in_parts(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a data set that is too large by itself can't be had."""
    liar.files = ["many"]
    liar.replicas = ["many"]
    monkeypatch.setattr(answers, "LINES_MAX", 100)
    catalogues = rucio_at(liar.url)
    names = [f"s:d{number}" for number in range(4)]
    found = await catalogues.find([parse_identifier(name) for name in names])
    assert all(isinstance(answer, DataSet) and len(answer.files) == 60 for answer in found.values())
    monkeypatch.setattr(answers, "LINES_MAX", 50)
    found = await catalogues.find([parse_identifier(name) for name in names])
    await catalogues.close()
    assert all(isinstance(answer, Absent) and not answer.transient for answer in found.values())


@pytest.mark.parametrize("status", [302, 400, 404, 418])
async def test_wrong_url_is_the_operators_fault(liar: Liar, status: int) -> None:
    """The jobs wait until it is mended."""
    liar.status = status
    catalogues = rucio_at(liar.url)
    answer = (await catalogues.find([parse_identifier("s:a")]))["s:a"]
    await catalogues.close()
    assert isinstance(answer, Absent)
    assert answer.transient
    assert f"answers {status}" in answer.reason


async def test_slow_catalogue_does_not_hold_up_what_another_knows(liar: Liar) -> None:
    """An identifier that an earlier catalogue has is there, although the next one is down."""
    gone = {"name": "gone", "kind": "rucio", "url": f"http://127.0.0.1:{free_port()}", "token": "t"}
    settings = {"name": "lake", "kind": "rucio", "url": liar.url, "token": "t"}
    catalogues = Catalogues(Datasets.model_validate({"catalogues": [settings, gone]}))
    found = await catalogues.find(
        [parse_identifier("s:a"), parse_identifier("s:b"), parse_identifier("https://x.example/")]
    )
    await catalogues.close()
    assert isinstance(found["s:a"], DataSet)
    assert isinstance(found["s:b"], Absent)
    assert found["s:b"].transient, "it may be in the catalogue that is down"
    assert isinstance(found["https://x.example/"], DataSet)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://rucio.example.org"}, "https://"),
        ({"url": "ftp://rucio.example.org"}, "https://"),
        ({"auth_url": "http://rucio.example.org"}, "https://"),
        ({"token": None}, "give one of"),
        ({"caller_audience": "x"}, "give one of"),
        ({"token": None, "username": "u"}, "password"),
        ({"ivo": ["ska://x"]}, "ivo://"),
        ({"schemes": ["srm"]}, "schemes"),
        ({"name": "A b"}, "name"),
    ],
)
async def test_settings_say_what_is_allowed(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rucio_at(**{"url": "https://rucio.example.org", **changes})

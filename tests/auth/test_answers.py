"""Answers that are too large or too slow."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from uws_service.auth.answers import MAX_ANSWER_BYTES, BadAnswer, fetch_answer

pytestmark = pytest.mark.anyio
BOMB = gzip.compress(b"[" + b"0," * 50_000_000 + b"0]")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.send_response(200)
        if name == "bomb":
            self.send_header("content-encoding", "gzip")
        self.end_headers()
        try:
            if name == "bomb":
                self.wfile.write(BOMB)
            while name == "endless":
                self.wfile.write(b"x" * 65_536)
            while name == "slow":
                self.wfile.write(b" ")
                time.sleep(0.1)
            self.wfile.write(b'{"encoding": "%s"}' % self.headers["accept-encoding"].encode())
        except OSError:  # the reader has had enough
            pass

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bomb", "Content-Encoding 'gzip'"),
        ("endless", f"more than {MAX_ANSWER_BYTES} bytes"),
        ("slow", "takes too long"),
    ],
)
async def test_too_much(url: str, method: str, name: str, words: str) -> None:
    """Compressed, endless and slow bodies end in an error."""
    async with httpx2.AsyncClient(timeout=1, trust_env=False) as http:
        began = time.monotonic()
        with pytest.raises(BadAnswer, match=words):
            await fetch_answer(http, method, f"{url}/{name}")
        assert time.monotonic() - began < 20


async def test_a_good_answer(url: str) -> None:
    """Nothing compressed is asked for."""
    async with httpx2.AsyncClient(timeout=5, trust_env=False) as http:
        answer = await fetch_answer(http, "GET", f"{url}/good")
    assert (answer.status, answer.json()) == (200, {"encoding": "identity"})


async def test_nobody_answers(url: str) -> None:
    async with httpx2.AsyncClient(timeout=5, trust_env=False) as http:
        with pytest.raises(BadAnswer, match="Connect"):
            await fetch_answer(http, "GET", "http://127.0.0.1:1/")

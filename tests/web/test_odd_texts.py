"""Texts of callers in paths, queries and headers.

An answer or a refusal, and no header of theirs.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx2
import pytest

from tests.server import Server
from uws_service.web.routes import declared

TEXTS = ["9" * 5000, "%E2%82%AC", "%ED%A0%80", "%FF%FE", "%00", "a%0D%0AX-Own:%201", "%2e%2e%2Fx", "'%22%3Csvg%3E"]
NAMES = ["SHARE", "WAIT", "LAST", "AFTER", "RUNID", "value", "next", "state", "ID", "RESPONSEFORMAT"]
ACCEPT = ["*/*", "application/json", "text/html,application/xhtml+xml"]
FORM = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield one service for all tests."""
    running = Server(tmp_path_factory.mktemp("odd"))
    running.start()
    yield running
    running.stop()


def head_of(server: Server, request: str) -> str:
    """Return the head of an answer to a request that no library would write."""
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(request.encode() + b"Host: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while b"\r\n\r\n" not in received and (data := connection.recv(65536)):
            received += data
    return received.partition(b"\r\n\r\n")[0].decode("latin-1")


@pytest.mark.parametrize("text", TEXTS, ids=[text[:12] for text in TEXTS])
def test_in_paths_and_queries(server: Server, text: str) -> None:
    """Every resource that can be read answers."""
    answer = httpx2.post(f"{server.url}/sleep/async", data={"SECONDS": "0"})
    job = answer.headers["location"].rpartition("/")[2]
    for path, _, resource in declared():
        if "GET" not in resource.handlers or path.endswith("/sync"):
            continue
        path = path.replace("{application}", "sleep").replace("{job_id}", job)
        name, _, rest = path.partition("{")
        urls = [f"{name}{text}{rest.partition('}')[2]}"] if rest else [f"{path}?{word}={text}" for word in NAMES]
        for url in urls:
            for accept in ACCEPT:
                head = head_of(server, f"GET {url} HTTP/1.1\r\nAccept: {accept}\r\n")
                assert head.startswith(("HTTP/1.1 2", "HTTP/1.1 3", "HTTP/1.1 4")), (url[:80], accept, head[:200])
                assert "\r\nX-Own" not in head, url


@pytest.mark.parametrize("kind", [b"text/html\nX-Own: 1", b"te\x00xt/html", b"\xff/\xff", b"a" * 300, b"a/b/c"])
def test_media_types_of_files(server: Server, kind: bytes) -> None:
    """What could not stand in the header of an answer is refused when it comes."""
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\nContent-Type: %s\r\n\r\nv\r\n--b--\r\n'
    answer = httpx2.post(f"{server.url}/sleep/async", content=part % kind, headers={"content-type": FORM})
    assert answer.status_code == 400 and "is no media type" in answer.text


@pytest.mark.parametrize("kind", [b"text/csv", b"Text/CSV; charset=utf-8", b"application/x-votable+xml", b"csv", b""])
def test_media_types_that_clients_send(server: Server, kind: bytes) -> None:
    """The file comes back with the type that it was sent with."""
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\nContent-Type: %s\r\n\r\nv\r\n--b--\r\n'
    answer = httpx2.post(f"{server.url}/sleep/async", content=part % kind, headers={"content-type": FORM})
    assert answer.status_code == 303, answer.text
    file = httpx2.get(f"{answer.headers['location']}/parameters/f")
    expected = kind.partition(b";")[0].decode().lower() or "application/octet-stream"
    assert (file.status_code, file.headers["content-type"], file.text) == (200, expected, "v")

"""Servers that are no UWS at all.

Each ends in a clear message, with exit status 2 or a broken rule, never in a traceback.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from uws_conformance import documents
from uws_conformance.cli import main
from uws_conformance.http import Client, Identity, Limits
from uws_conformance.outcomes import Broken, Skipped
from uws_conformance.profile import ProfileError, load, parse, shipped

from tests.server import free_port


@contextmanager
def serve_answer(body: bytes, status: int = 200, location: str = "") -> Iterator[str]:
    """Serve the same answer to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/async"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_host_that_is_down(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"http://127.0.0.1:{free_port()}/async"]) == 2
    assert capsys.readouterr().err.startswith("uws-conformance: GET http://127.0.0.1")


@pytest.mark.parametrize(
    "body",
    [b"<html><body>welcome</body></html>", b"", b"<a>", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'],
    ids=["html", "empty", "malformed", "entity"],
)  # fmt: skip
def test_documents_that_are_no_uws(body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_answer(body) as url:
        assert main([url, "--quiet"]) == 1
    output = capsys.readouterr().out
    assert "list-root" in output and "root:" not in output


def test_redirect_loop(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_answer(b"", 302, "/async") as url:
        assert main([url, "--quiet"]) == 1
    assert "302" in capsys.readouterr().out


def test_answer_that_is_too_long() -> None:
    with serve_answer(b"x" * 200_000) as url:
        client = Client(Limits(max_body_bytes=100_000))
        with pytest.raises(Broken, match="longer than 100000 bytes"):
            client.send("GET", url)
        client.close()


def test_read_only_sends_no_change() -> None:
    client = Client(Limits(read_only=True))
    with pytest.raises(Skipped, match="read-only"):
        client.send("POST", "http://127.0.0.1:1/", ())
    client.close()


def test_credentials_are_in_no_report() -> None:
    with serve_answer(b"token abc-secret-xyz") as url:
        client = Client(Limits(), Identity("a", {"Authorization": "Bearer abc-secret-xyz"}))
        client.send("GET", url)
        client.close()
    assert "abc-secret-xyz" not in str(client.exchanges)


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00+00:00", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"]
)
def test_malformed_instants(text: str) -> None:
    with pytest.raises(Broken):
        documents.instant(text)


def test_profiles_are_checked() -> None:
    for name in shipped():
        load(name)
    with pytest.raises(ProfileError, match="unknown key 'shrot'"):
        parse({"shrot": {}}, "mine")
    with pytest.raises(ProfileError, match="no profile"):
        load("no-such-file")


def test_dry_run_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"http://127.0.0.1:{free_port()}/async", "--profile", "tap", "--dry-run"]) == 0
    assert "U-120.create-303" in capsys.readouterr().out


def test_comparison_with_an_older_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "old.json"
    with serve_answer(b"<a/>") as url:
        main([url, "--quiet", "--only", "U-020", "--json", str(old)])
        old.write_text(old.read_text().replace('"pass"', '"fail"'))
        main([url, "--quiet", "--only", "U-020", "--compare", str(old)])
    assert "U-020.list-answers: fail → pass" in capsys.readouterr().out

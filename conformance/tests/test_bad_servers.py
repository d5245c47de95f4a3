"""Broken and malicious servers.

Each ends in a clear message within its time limit, never in a traceback.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mutants import MUTANTS, build
from reference import Reference
from reference_documents import Answer, Request
from reference_http import serve
from uws_conformance.cli import main

from tests.tiers import require

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"
Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def serve_talk(talk: Talk, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a server that lets ``talk`` answer each connection.

    It does so over and over, once the head of the request has come.
    """
    stopped = threading.Event()

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            connection.recv(65536)
            while not stopped.is_set():
                talk(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        scheme = "https" if context else "http"
        try:
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/async"
        finally:
            stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2, max_seconds: float = 60) -> str:
    """Return the error message, which must be one line."""
    started = time.monotonic()
    assert main(arguments) == status
    assert time.monotonic() - started < max_seconds
    error_output = capsys.readouterr().err
    assert (
        error_output.startswith("uws-conformance: ")
        and error_output.count("\n") == 1
        and "Traceback" not in error_output
    )
    return error_output


def send_bytes_slowly(first: bytes) -> Talk:
    """Return a talk that sends bytes forever."""
    greeted: set[int] = set()

    def talk(connection: socket.socket) -> None:
        if id(connection) not in greeted:
            greeted.add(id(connection))
            connection.sendall(first)
        connection.sendall(b"x")
        time.sleep(0.02)

    return talk


def test_answer_that_never_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_talk(send_bytes_slowly(HEAD + b"\r\n<uws:jobs>")) as url:
        assert "did not end within 0.5 s" in error_line(capsys, url, "--timeout", "0.5")


def test_headers_that_never_end(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_talk(send_bytes_slowly(HEAD + b"X-Long: ")) as url:
        assert "within 0.5 s" in error_line(capsys, url, "--timeout", "0.5")


def test_server_that_never_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_talk(lambda connection: time.sleep(0.05)) as url:
        assert "no answer within 0.5 s" in error_line(capsys, url, "--timeout", "0.5")


def test_job_list_of_gigabytes(capsys: pytest.CaptureFixture[str]) -> None:
    chunk = b"<uws:jobref id='x'/>" * 50_000
    first = HEAD + b"Content-Length: 9000000000\r\n\r\n"
    greeted: set[int] = set()

    def talk(connection: socket.socket) -> None:
        connection.sendall(chunk if id(connection) in greeted else first)
        greeted.add(id(connection))

    with serve_talk(talk) as url:
        assert "longer than 8000000 bytes" in error_line(capsys, url)


def test_server_that_speaks_no_http(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_talk(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as url:
        assert "GET http://127.0.0.1" in error_line(capsys, url)


def test_connection_that_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n<uws:jobs")
        connection.shutdown(socket.SHUT_RDWR)

    with serve_talk(talk) as url:
        assert "GET http://127.0.0.1" in error_line(capsys, url)


@pytest.mark.parametrize("url", ["no-url", "ftp://host/async", "http://[bad/async", "http://", "https://host:99999/x"])
def test_malformed_urls(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    error_line(capsys, url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a self-signed certificate with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [require("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    options = [
        "-nodes",
        "-subj",
        "/CN=other.example.org",
        "-days",
        "1",
        "-keyout",
        str(path),
        "-out",
        str(path) + ".crt",
    ]
    subprocess.run([*command, *options], check=True, capture_output=True)
    with path.open("a") as pem:
        pem.write(Path(str(path) + ".crt").read_text())
    return path


def test_certificate_that_nobody_vouches_for(certificate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serve_talk(lambda connection: connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n"), context) as url:
        assert "certificate" in error_line(capsys, url)


def test_server_that_speaks_no_tls(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_talk(lambda connection: connection.sendall(HEAD + b"\r\n")) as url:
        assert "SSL" in error_line(capsys, url.replace("http:", "https:"))


def write_profile(folder: Path, **extra: object) -> str:
    file = folder / "mine.yaml"
    lines = {"short": "{MODE: short}", "failing": "{MODE: failing}", "patience": 0.5, "poll": 0.05, "wait": 1, **extra}
    file.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return str(file)


def test_server_that_never_finishes_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = build(next(mutant for mutant in MUTANTS if mutant.name == "never-ends"))
    with serve(reference) as url:
        options = [
            "--token",
            "alice",
            "--quiet",
            "--profile",
            write_profile(tmp_path),
            "--only",
            "U-101",
            "--only",
            "U-106",
        ]
        assert main([url, *options]) == 1
    output = capsys.readouterr().out
    assert "U-101.completes" in output and "is EXECUTING after 0.5 s, waited for COMPLETED" in output
    assert reference.jobs == {}


def test_run_that_takes_too_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = Reference()
    with serve(reference) as url:
        options = ("--token", "alice", "--quiet", "--profile", write_profile(tmp_path), "--time-limit", "1")
        assert "the time limit of 1 s is reached" in error_line(capsys, url, *options, max_seconds=20)
    assert reference.jobs == {}


class Forgetful(Reference):
    """A server that accepts the token at first only."""

    requests_left = 40

    def answer(self, request: Request) -> Answer:
        self.requests_left -= 1
        if self.requests_left < 0:
            return Answer(401, "expired", headers={"WWW-Authenticate": "Bearer"})
        return super().answer(request)


def test_token_that_expires_half_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(Forgetful()) as url:
        assert main([url, "--token", "alice", "--quiet", "--profile", write_profile(tmp_path)]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("uws-conformance: the credentials are no longer accepted: GET http")
    assert " 0 fail" in output.out, "nobody is blamed for the token"
    assert "could not be deleted" in output.out


def test_no_token_where_one_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with serve(Reference()) as url:
        assert "give credentials that it accepts: --token" in error_line(capsys, url)


BOMB = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
EVIL = {
    "bomb": f'<!DOCTYPE a [<!ENTITY l0 "ha">{BOMB}]><a>&l11;</a>',
    "bomb-in-attribute": f'<!DOCTYPE a [<!ENTITY l0 "ha">{BOMB}]><a b="&l11;"/>',
    "external": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "external-dtd": '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><a/>',
    "after-a-long-comment": f'<!--{" " * 100_000}--><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "deep": "<a>" * 100_000,
    "null": "\0",
}


@pytest.mark.parametrize("kind", EVIL)
def test_evil_xml_everywhere(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Malicious documents neither hang nor crash a check."""
    reference = Reference()
    reference.rewrite = lambda request, answer: (
        Answer(answer.status, EVIL[kind], answer.type, answer.headers) if "xml" in answer.type else answer
    )
    started = time.monotonic()
    with serve(reference) as url:
        assert main([url, "--token", "alice", "--quiet", "--profile", write_profile(tmp_path)]) == 1
    assert time.monotonic() - started < 120
    output = capsys.readouterr()
    assert "root:" not in output.out and "hahaha" not in output.out and output.err == ""
    assert "could not be understood" not in output.out


def test_evil_xml_in_utf16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """UTF-16 does not hide the declaration."""
    body = '<?xml version="1.0" encoding="UTF-16"?>' + EVIL["external"]
    text = body.encode("utf-16")
    with serve_talk(
        lambda connection: connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(text) + text)
    ) as url:
        assert main([url, "--quiet", "--only", "list-root"]) == 1
    output = capsys.readouterr().out
    assert "has a document type declaration" in output and "root:" not in output

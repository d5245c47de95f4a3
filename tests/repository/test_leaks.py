"""What a test leaves open fails that test and no other; the clients of others are closed for it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import ROOT

LEAK = """
import socket

class Ring:
    def __init__(self, resource):
        self.resource, self.ring = resource, self

def test_leak():
    Ring(socket.socket())

def test_next():
    import gc
    gc.collect()
"""
FAILURE = LEAK.replace("    Ring(socket.socket())\n", "    ring = Ring(socket.socket())\n    raise ValueError(ring)\n")
UNREAD = """
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "100000000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)
        self.server.held.wait(60)

    def log_message(self, *words):
        pass

@pytest.fixture(scope="session")
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.held = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.held.set()
        server.shutdown()
        thread.join()

class Job:  # as pyvo's: its session is its own, and it reads of an answer what it needs
    def __init__(self, url):
        self.me, self.session = self, requests.Session()
        self.answer = self.session.get(url, stream=True, timeout=60)
        self.head = self.answer.raw.read(10)

def test_leak(url):
    assert Job(url).head == b"x" * 10

def test_next():
    import gc
    gc.collect()
"""


def outcomes(folder: Path, tests: str, *plugins: str) -> dict[str, set[str]]:
    """Run tests in a pytest of their own.

    Test -> what it came to.
    """
    (folder / "test_some.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    options = [word for plugin in plugins for word in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *options, f"--rootdir={folder}", "-c"]
    completed = subprocess.run([*command, folder / "pytest.ini", folder], cwd=ROOT, capture_output=True, text=True)
    by_outcome: dict[str, set[str]] = {}
    for outcome, test in re.findall(r"^(PASSED|FAILED|ERROR) .*::(\w+)", completed.stdout, re.MULTILINE):
        by_outcome.setdefault(test, set()).add(outcome)
    assert by_outcome, completed.stdout + completed.stderr
    return by_outcome


@pytest.mark.parametrize("tests", [LEAK, UNREAD], ids=["a socket", "an answer"])
def test_without_the_plugin_the_next_test_fails(tmp_path: Path, tests: str) -> None:
    """Pytest alone blames the next test."""
    assert outcomes(tmp_path, tests) == {"test_leak": {"PASSED"}, "test_next": {"FAILED"}}


def test_a_leak_fails_its_own_test(tmp_path: Path) -> None:
    """The next one passes."""
    assert outcomes(tmp_path, LEAK, "tests.leaks") == {"test_leak": {"PASSED", "ERROR"}, "test_next": {"PASSED"}}


def test_a_failure_leaves_nothing_to_the_next_test(tmp_path: Path) -> None:
    """Tracebacks keep frames alive."""
    counts = outcomes(tmp_path, FAILURE, "tests.leaks")
    assert "FAILED" in counts["test_leak"] and counts["test_next"] == {"PASSED"}


def test_answers_that_a_client_does_not_close(tmp_path: Path) -> None:
    """They are closed in the test that they came in, which is not to blame for them."""
    assert outcomes(tmp_path, UNREAD, "tests.leaks") == {"test_leak": {"PASSED"}, "test_next": {"PASSED"}}

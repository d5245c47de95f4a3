"""Saved services, application URLs, following jobs and logs, completion: as a person types them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server import ROOT, Server
from uws_service import cli
from uws_service.cli.log_tail import MARK_BYTES, LogTail

TALK = """
name: talk
title: Talks
description: Prints lines for a while.
command: [sh, -c, 'for n in 1 2 3 4 5 6; do echo "line $n"; echo "problem $n" >&2; sleep 0.7; done']
parameters: []
results: []
limits:
  execution_duration: {default: 600, maximum: 600}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("follow")
    (folder / "talk.yaml").write_text(TALK)
    running = Server(folder, {"UWS_APPLICATIONS": f'["{folder / "talk.yaml"}"]'})
    running.start()
    yield running
    running.stop()


class Commands:
    """Runs commands in this process, with a configuration folder of their own."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """Return what a command prints.

        On standard error, if it is to fail.
        """
        self.capture.readouterr()
        code = cli.run(arguments)
        out, err = self.capture.readouterr()
        assert code == status, (out, err)
        return out if status == 0 else err


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Commands(tmp_path, capsys)


def test_short_names(service: Server, run: Commands) -> None:
    """`use` saves a service; APPLICATION and APPLICATION/ID stand for URLs from then on."""
    assert "use URL" in run("submit", "sleep", status=2)
    assert service.url in run("use", f"{service.url}/", "--name", "here")
    saved = json.loads(run("use", "--json"))
    assert saved["current"] == "here" and "talk" in saved["services"]["here"]["applications"]
    job = run("submit", "sleep", "SECONDS=0", "--wait").split()[0]
    assert job.startswith(f"{service.url}/sleep/async/")
    short = "sleep/" + job.rpartition("/")[2]
    assert json.loads(run("show", short, "--json"))["phase"] == "COMPLETED"
    assert json.loads(run("show", f"here:{short}", "--json"))["url"] == job
    assert job in run("list", "sleep") and job in run("list")
    assert json.loads(run("list", "--last", "1", "--json"))[0]["url"] == job
    assert json.loads(run("delete", short, "--json")) == {"deleted": [job]}
    assert "no service 'there'" in run("show", f"there:{short}", status=2)
    assert "none of" not in run("use", "--forget", "here") and "use URL" in run("list", status=2)
    assert "not the root" in run("use", f"{service.url}/sleep", status=2)
    assert (run.folder / "uws-service" / "services.json").stat().st_mode & 0o077 == 0


def test_urls_of_applications(service: Server, run: Commands) -> None:
    """F: `submit …/sleep` and `list …/sleep` are what people type."""
    job = run("submit", f"{service.url}/sleep", "SECONDS=60").strip()
    assert job.startswith(f"{service.url}/sleep/async/")
    assert job in run("list", f"{service.url}/sleep/")
    assert "name one of its applications" in run("list", service.url, status=2)
    assert json.loads(run("abort", job, "--json"))["url"] == job


def test_many_jobs_on_one_stream(service: Server, run: Commands) -> None:
    """`watch` tells of each, and ends with the last; its exit code says whether all went well."""
    jobs = [run("submit", f"{service.url}/sleep", f"SECONDS={seconds}").strip() for seconds in ("0", "2", "3")]
    lines = [json.loads(line) for line in run("watch", *jobs, "--json").splitlines()]
    assert {line["job"] for line in lines if line["phase" if "phase" in line else "event"] == "COMPLETED"} == set(jobs)
    text = run("watch", jobs[0])
    assert "COMPLETED" in text and jobs[0] in text
    failed = run("submit", f"{service.url}/sleep", "SECONDS=60").strip()
    run("abort", failed)
    assert "1 of 1 jobs did not end well" in run("watch", failed, status=1)
    waiting = run("submit", f"{service.url}/sleep", "SECONDS=1").strip()
    assert "COMPLETED" in run("watch", f"{service.url}/sleep", "--until-done") or waiting
    assert "404" in run("watch", f"{service.url}/sleep/async/{'0' * 32}", status=3)


def test_a_watch_that_is_interrupted(service: Server, run: Commands) -> None:
    """It goes on until Ctrl-C, over a restart of the service."""
    command = [sys.executable, "-m", "uws_service", "watch", f"{service.url}/", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        with httpx2.Client(timeout=60) as http:
            deadline = time.monotonic() + 120
            first = ""
            while not first:  # until the stream is open, new jobs are in its first event alone
                http.post(f"{service.url}/sleep/async")
                readable, _, _ = select.select([watching.stdout], [], [], 0.5)
                first = watching.stdout.readline() if readable else ""
                assert time.monotonic() < deadline
            service.kill()
            service.start()
            job = http.post(f"{service.url}/sleep/async").headers["location"]
            while json.loads(watching.stdout.readline())["job"] != job:
                assert time.monotonic() < deadline
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 130


def test_a_log_as_it_grows(service: Server, run: Commands) -> None:
    """`logs -f` prints each line once, and ends with the job."""
    job = run("submit", f"{service.url}/talk").strip()
    command = [sys.executable, "-m", "uws_service", "logs", "-f", job]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert completed.stdout.splitlines() == [f"line {number}" for number in range(1, 7)], completed.stderr
    assert completed.stderr.splitlines() == [f"problem {number}" for number in range(1, 7)]


def test_urls_are_whole_in_a_narrow_terminal(service: Server, run: Commands) -> None:
    """What is printed on 80 columns can be copied: no line feed inside a URL, and nothing else too wide."""
    job = run("submit", f"{service.url}/sleep", "SECONDS=0", "--run-id", "n" * 60, "--wait").split()[0]
    for arguments in (["show", job], ["list", f"{service.url}/sleep/async", "--last", "3"]):
        text = on_terminal(arguments)
        assert job in text
        others = [line for line in text.splitlines() if "http" not in line]
        assert all(len(line) <= 80 for line in others), others


def on_terminal(arguments: list[str]) -> str:
    """Return what a command prints on a terminal of 80 columns, without colours."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "uws_service", *arguments]
    with subprocess.Popen(
        command, stdout=follower, stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"}
    ) as shown:
        os.close(follower)
        text = b""
        try:
            while chunk := os.read(leader, 65536):
                text += chunk
        except OSError:  # the other end is closed
            pass
        assert shown.wait(60) == 0
    os.close(leader)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode()).replace("\r\n", "\n")


def test_completion(service: Server, run: Commands) -> None:
    """Commands, and applications of the service in use."""
    script = run("completion", "bash")
    assert "complete -o default -F _uws_service_completion uws-service" in script
    run("use", service.url)

    def completions(words: str) -> list[str]:
        question = {"_UWS_SERVICE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        command = [sys.executable, "-m", "uws_service"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=180, env={**os.environ, **question})
        return answer.stdout.split()

    assert completions("uws-service wat") == ["watch"]
    assert completions("uws-service submit ta") == ["tap", "talk"] or set(completions("uws-service submit ta")) == {
        "tap",
        "talk",
    }
    assert "--follow" in completions("uws-service logs --f")
    for shell in ("zsh", "fish"):
        assert "uws-service" in run("completion", shell)


def test_open(service: Server, run: Commands, tmp_path: Path) -> None:
    """The browser gets the URL, and no shell looks at it."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    url = f"{service.url}/sleep/async/{'0' * 32}"
    command = [sys.executable, "-m", "uws_service", "open", url]
    opening = subprocess.run(
        command, capture_output=True, text=True, timeout=180, env={**os.environ, "BROWSER": str(browser)}
    )
    assert opening.stdout.strip() == url
    deadline = time.monotonic() + 60
    while not (tmp_path / "opened").exists() or (tmp_path / "opened").read_text() != url:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@given(st.lists(st.binary(max_size=3 * MARK_BYTES), max_size=6), st.integers(MARK_BYTES, 4 * MARK_BYTES))
def test_tails(parts: list[bytes], window: int) -> None:
    """Of a log that is shown from its beginning, each byte is news once."""
    tail, log = LogTail(), b""
    collected = b""
    for part in parts:
        log += part
        collected += tail.news(log)
    assert collected == log


def test_the_end_of_a_long_log() -> None:
    """Where the service shows the end alone, what is new is found behind the last look."""
    tail, collected, log = LogTail(), b"", b""
    for number in range(300):
        log += b"".join(b"%06d %06d\n" % (number, place) for place in range(100))
        collected += tail.news(log[-20_000:])
    assert collected.endswith(log[-290_000:])

"""SIGHUP: descriptors are read again without a restart, and nobody's running job notices."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.server import Server

WORDS = """\
name: words
title: {title}
description: Says a word after a while.
command: [sh, -c, 'until [ -e {gate} ]; do sleep 0.05; done; echo "$0" > "$UWS_OUTPUT_DIR/out.txt"', {word}]
results:
  - {{id: result, path: out.txt, media_type: text/plain}}
"""
WAIT_SECONDS = 120


class Words:
    """A service with an application that changes."""

    def __init__(self, folder: Path, *program: str) -> None:
        self.file = folder / "applications" / "words.yaml"
        self.file.parent.mkdir()
        self.gate = folder / "gate"
        self.write("first")
        self.server = Server(
            folder,
            {"UWS_APPLICATIONS": f'["{self.file.parent}"]'},
            program=("-m", "uws_service", "serve", *program),
        )
        self.server.start()
        self.http = httpx2.Client(base_url=self.server.url, timeout=60)

    def write(self, word: str, **changes: Any) -> None:
        self.file.write_text(WORDS.format(title=f"Says {word}", word=word, gate=self.gate))

    def reload(self) -> None:
        assert self.server.process is not None
        self.server.process.send_signal(signal.SIGHUP)

    def titles(self) -> dict[str, str]:
        listed = self.http.get("/", headers={"accept": "application/json"}).json()["applications"]
        return {entry["name"]: entry["title"] for entry in listed}

    def start_job(self) -> str:
        answer = self.http.post("/words/async", data={"PHASE": "RUN"}, follow_redirects=False)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def result(self, job: str) -> str:
        self.until(lambda: self.http.get(f"{job}/phase").text in ("COMPLETED", "ERROR"))
        return self.http.get(f"{job}/results/result").text.strip()

    @staticmethod
    def until(condition: Any) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < end, "not in time"
            time.sleep(0.05)


@pytest.fixture(params=[(), ("--workers", "2")], ids=["one process", "workers"])
def words(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Words]:
    """Return a running service."""
    service = Words(tmp_path, *request.param)
    yield service
    service.http.close()
    service.server.stop()


def test_new_jobs_run_by_the_new_descriptor(words: Words) -> None:
    """A running job keeps the old one; a wrong file changes nothing; a new application appears, another one goes."""
    running = words.start_job()
    Words.until(lambda: words.http.get(f"{running}/phase").text == "EXECUTING")
    words.write("second")
    words.reload()
    Words.until(lambda: {words.titles()["words"] for _ in range(8)} == {"Says second"})
    later_job = words.start_job()
    words.gate.touch()
    assert words.result(running) == "first" and words.result(later_job) == "second"
    words.file.write_text("name: words\ntitel: x\n")
    words.reload()
    Words.until(lambda: "the applications stay as they are" in words.server.log.read_text())
    assert words.titles()["words"] == "Says second" and "titel is not known" in words.server.log.read_text()
    words.write("third")
    other_file = words.file.with_name("other.yaml")
    other_file.write_text(words.file.read_text().replace("name: words", "name: other"))
    words.reload()
    Words.until(lambda: all("other" in words.titles() for _ in range(8)))
    other_file.unlink()
    words.reload()
    Words.until(lambda: all("other" not in words.titles() for _ in range(8)))
    assert words.http.get("/other/async").status_code == 404
    assert words.result(words.start_job()) == "third"

"""Outages of database, depot and disk."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.databases import PostgreSQLServer
from tests.s3 import KEY, SECRET, S3Server
from tests.server import Server
from tests.service.client import Uws


def until(condition: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_database_goes_away_and_comes_back(tmp_path: Path) -> None:
    """The service survives its database (U-003, V-020).

    503 with Retry-After meanwhile; a job that ran is recorded after all.
    """
    database = PostgreSQLServer()
    server = Server(tmp_path, {"UWS_DATABASE": database.url, "UWS_AUTO_MIGRATE": "true"})
    server.start()
    try:
        with Uws(server.url, "sleep") as uws:
            running = uws.create({"SECONDS": "3", "PHASE": "RUN"})
            uws.wait(running, "EXECUTING")
            database.stop()
            for url in (running, f"{running}/phase", uws.jobs):
                answer = uws.get(url)
                assert answer.status_code == 503 and answer.headers["retry-after"], url
                assert "database" in answer.text and "Traceback" not in answer.text
            assert uws.post(uws.jobs, {"SECONDS": "0"}).status_code == 503
            # The answer of a health check is used again for a few seconds.
            until(lambda: b"false" in uws.get(f"{uws.base}/availability").content)
            assert b"database" in uws.get(f"{uws.base}/availability").content
            assert uws.get(f"{server.url}/readyz").status_code == 503
            assert uws.get(f"{server.url}/livez").status_code == 200
            time.sleep(3)  # the job ends while nobody can record it: that is what is tested
            database.start()
            until(lambda: uws.get(running).status_code == 200)
            assert uws.wait(running) == "COMPLETED"
            until(lambda: b"true" in uws.get(f"{uws.base}/availability").content)
            assert uws.wait(uws.create({"SECONDS": "0", "PHASE": "RUN"})) == "COMPLETED"
            assert len(uws.listed()) == 2
    finally:
        server.stop()
        database.remove()


def test_depot_goes_away_and_comes_back(tmp_path: Path) -> None:
    """The service survives its depot (V-020)."""
    server = Server(tmp_path, {})
    server.start()
    depot = tmp_path / "data" / "depot"
    try:
        with Uws(server.url, "sleep") as uws:
            running = uws.create({"SECONDS": "1", "PHASE": "RUN"})
            depot.rename(tmp_path / "elsewhere")
            depot.write_text("not a folder")
            answer = uws.request("POST", uws.jobs, files={"f": ("f", b"x" * 100)})
            assert answer.status_code == 503 and "depot" in answer.text
            assert len(uws.listed()) == 1
            until(lambda: b"depot" in uws.get(f"{uws.base}/availability").content)
            time.sleep(2)  # the job ends meanwhile
            depot.unlink()
            (tmp_path / "elsewhere").rename(depot)
            assert uws.wait(running) == "COMPLETED"
            assert len(uws.get(f"{running}/results/result").content) == 64
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_full_disk(tmp_path: Path) -> None:
    """An upload on a full disk gets 507."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.decode()}")
    server = Server(tmp_path / "service", {"UWS_DEPOT": str(small / "depot")})
    try:
        server.start()
        with httpx2.Client(timeout=180) as http:
            jobs = f"{server.url}/sleep/async"
            answer = http.post(jobs, files={"f": ("f", b"x" * 5_000_000)})
            assert answer.status_code == 507 and "full" in answer.text, answer.text
            assert not [path for path in small.rglob("*") if path.is_file() and path.stat().st_size]
            assert http.post(jobs, files={"f": ("f", b"x" * 100_000)}).status_code == 303
    finally:
        server.stop()
        subprocess.run(["umount", str(small)], check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_depot_is_told(tmp_path: Path) -> None:
    """A result that does not fit is reported."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.decode()}")
    server = Server(tmp_path / "service", {"UWS_DEPOT": str(small / "depot")})
    try:
        server.start()
        with Uws(server.url, "sleep") as uws:
            job = uws.create({"SECONDS": "2", "PHASE": "RUN"})
            uws.wait(job, "EXECUTING")
            (small / "filler").write_bytes(b"x" * (os.statvfs(small).f_bavail * os.statvfs(small).f_frsize))
            until(lambda: "depot's disk is full" in uws.get(job).text, 20)
            assert uws.get(f"{job}/phase").text == "EXECUTING"
            page = uws.get(job, headers={"accept": "text/html"}).text
            assert "be stored now" in page and "disk is full" in page
            assert "[warning" in server.log.read_text() and "disk is full" in server.log.read_text()
            (small / "filler").unlink()
            assert uws.wait(job) == "COMPLETED"
            assert "disk is full" not in uws.get(job).text
    finally:
        server.stop()
        subprocess.run(["umount", str(small)], check=False)


def test_a_hanging_depot_is_told(tmp_path: Path, s3: S3Server) -> None:
    """A silent S3 is reported within seconds."""
    settings = {"UWS_DEPOT": s3.url_of("hanging"), "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    server = Server(tmp_path, settings)
    try:
        server.start()
        with Uws(server.url, "sleep") as uws:
            job = uws.create({"SECONDS": "1", "PHASE": "RUN"})
            uws.wait(job, "EXECUTING")
            s3.process.send_signal(signal.SIGSTOP)
            try:
                began = time.monotonic()
                answer = uws.request("POST", uws.jobs, files={"f": ("f", b"x" * 100)})
                assert answer.status_code == 503 and "depot" in answer.text and time.monotonic() - began < 25
                until(lambda: "gave no answer" in uws.get(job).text, 25)
                assert "the depot can't be used" in server.log.read_text()
            finally:
                s3.process.send_signal(signal.SIGCONT)
            until(lambda: "can be used again" in server.log.read_text(), 60)
            until(lambda: uws.get(f"{job}/phase").text == "COMPLETED", 400)
            uws.request("DELETE", job)
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_abort_and_delete_on_a_full_disk(tmp_path: Path) -> None:
    """A full disk can be freed by the service."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.decode()}")
    sleep = Path(__file__).parents[2] / "uws_service" / "apps" / "sleep.yaml"
    settings = {"UWS_DATA": str(small / "data"), "UWS_BUILTIN_APPLICATIONS": "false", "UWS_REAP_INTERVAL": "0.3"}
    server = Server(tmp_path / "service", {**settings, "UWS_APPLICATIONS": f'["{sleep}"]'})
    try:
        server.start()
        with Uws(server.url, "sleep") as uws:
            running = uws.create({"SECONDS": "600", "PHASE": "RUN"})
            large = uws.create(files={"f": ("f", b"x" * 30_000_000)})
            uws.wait(running, "EXECUTING")
            with (small / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
                while filler.write(bytes(4096)):
                    pass
            until(lambda: uws.post(uws.jobs, {"SECONDS": "0", "RUNID": "x" * 60}).status_code == 507, 60)
            assert uws.post(f"{running}/phase", {"PHASE": "ABORT"}).status_code == 303
            assert uws.get(f"{running}/phase").text == "ABORTED"
            assert uws.request("DELETE", large).status_code == 303
            until(lambda: os.statvfs(small).f_bavail > 20_000_000 // 4096, 60)  # its file is gone
            assert uws.wait(uws.create({"SECONDS": "0", "PHASE": "RUN"})) == "COMPLETED"
            (small / "filler").unlink()
            until((small / "data" / "reserve").exists, 60)
    finally:
        server.stop()
        subprocess.run(["umount", str(small)], check=False)

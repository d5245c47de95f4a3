"""Parts that fail while the service runs: told with 503 or 507, nothing half done, and well again by themselves."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.databases import PostgreSQLServer
from tests.server import Server
from tests.service.client import Uws


def until(condition: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_database_goes_away_and_comes_back(tmp_path: Path) -> None:
    """U-003, V-020: 503 with Retry-After meanwhile, availability says so, and a job that ran is recorded after all."""
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
    """V-020: an upload is refused with 503, no job is made; the result of a job that runs is stored later."""
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
    """An upload that does not fit is refused with 507, nothing of it stays, and smaller ones are taken."""
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
            assert not [one for one in small.rglob("*") if one.is_file() and one.stat().st_size]
            assert http.post(jobs, files={"f": ("f", b"x" * 100_000)}).status_code == 303
    finally:
        server.stop()
        subprocess.run(["umount", str(small)], check=False)

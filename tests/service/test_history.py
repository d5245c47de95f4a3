"""What the service has learned from its own jobs: quotes of queued ones, and how long such jobs wait at a site."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server
from tests.service.client import Uws
from uws_service.cli import run
from uws_service.placement.model import MIN_SAMPLES


def drain(server: Server, site: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UWS_SITES", server.settings["UWS_SITES"])
        assert run(["sites", "drain", site, "--data", str(server.folder / "data")]) == 0


def test_quotes_and_waits_come_from_history_alone(tmp_path: Path) -> None:
    """Of fewer than 20 jobs nothing is expected."""
    sites = [{"name": name, "slots": 8} for name in "ab"]
    server = Server(tmp_path, {"UWS_SITES": json.dumps(sites)})
    server.start()
    try:
        with Uws(server.url, "sleep") as user:

            def info(job: str) -> dict[str, Any]:
                content: dict[str, Any] = user.get(job, headers={"accept": "application/json"}).json()
                return content

            jobs = [user.create({"SECONDS": "0", "SITE": "a", "PHASE": "RUN"}) for _ in range(MIN_SAMPLES)]
            for job in jobs:
                assert user.wait(job) == "COMPLETED"
                assert "such jobs waited" not in json.dumps(info(job))
            server.stop()
            server.start()  # what was learned is used for a minute; a new process learns at once
            for site in "ab":
                drain(server, site)
            job = user.create({"SECONDS": "0", "PHASE": "RUN"})
            content = info(job)
            assert content["phase"] == "QUEUED"
            wait = datetime.fromisoformat(content["quote"]) - datetime.fromisoformat(content["creationTime"])
            assert timedelta(0) < wait < timedelta(hours=1)
            limited = user.create({"SECONDS": "0", "EXECUTIONDURATION": "100000", "PHASE": "RUN"})
            assert info(limited)["quote"] is None, "no job of this size class has run"
    finally:
        server.stop()

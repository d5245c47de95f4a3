"""A site goes down while a job runs there: the job goes on, and no other one starts there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.server import Server
from tests.service.client import Uws

HOUR = timedelta(hours=1)


def sites(*downtimes: dict[str, str]) -> str:
    return json.dumps([{"name": "a", "slots": 2, "facts": {"downtimes": list(downtimes)}}, {"name": "b", "slots": 2}])


def start(user: Uws, **data: str) -> str:
    return user.create({"SECONDS": "0", **data, "PHASE": "RUN"})


def content_of(user: Uws, job: str) -> dict[str, Any]:
    content: dict[str, Any] = user.get(job, headers={"accept": "application/json"}).json()
    return content


def test_site_in_a_downtime_with_a_running_job(tmp_path: Path) -> None:
    """The downtime is announced after the job has started."""
    server = Server(tmp_path, {"UWS_SITES": sites()})
    server.start()
    try:
        with Uws(server.url, "sleep") as user:
            running = start(user, SECONDS="12", SITE="a")
            user.wait(running, "EXECUTING")
            server.stop()
            now = datetime.now(UTC)
            window = {"start": (now - HOUR).isoformat(), "end": (now + HOUR).isoformat(), "reason": "power"}
            server.settings["UWS_SITES"] = sites(window)
            server.start()
            free, pinned = start(user), start(user, SITE="a")
            assert user.wait(free) == "COMPLETED"
            info = content_of(user, free)["jobInfo"]
            assert info["site"] == "b"
            assert "it is down until" in json.dumps(info["placement"]) and "(power)" in json.dumps(info["placement"])
            waiting_job = content_of(user, pinned)
            assert waiting_job["phase"] == "QUEUED"
            assert "a starts no such job now: it is down until" in waiting_job["jobInfo"]["waiting"]
            assert user.wait(running) == "COMPLETED"
            ended = content_of(user, running)["jobInfo"]
            assert (ended["site"], ended["attempt"]) == ("a", 1)
            assert user.phase(pinned) == "QUEUED"
            server.stop()
            server.settings["UWS_SITES"] = sites()
            server.start()
            assert user.wait(pinned) == "COMPLETED"
            assert content_of(user, pinned)["jobInfo"]["site"] == "a"
    finally:
        server.stop()

"""What the recipes of WES share: runs of GA4GH's Workflow Execution Service, until they end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import httpx2

RUN_SECONDS = 120
ENDED = ("COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED")


def submit(client: httpx2.Client, name: str, content: str, options: Mapping[str, str]) -> str:
    """Submit a workflow of one file; return the run's id."""
    form = {"workflow_url": name, "workflow_params": "{}", **options}
    response = client.post("/runs", data=form, files={"workflow_attachment": (name, content.encode())})
    if response.status_code >= 400:
        raise RuntimeError(f"{response.url}: {response.status_code} {response.text[:500]}")
    return str(response.json()["run_id"])


def wait(client: httpx2.Client, run: str, *states: str) -> None:
    """Return when a run is in a state; another end is an error."""
    deadline = time.monotonic() + RUN_SECONDS
    state = ""
    while time.monotonic() < deadline:
        state = client.get(f"/runs/{run}/status").json()["state"]
        if state in states:
            return
        if state in ENDED:
            break
        time.sleep(0.1)
    raise RuntimeError(f"run {run} is {state}: {json.dumps(client.get(f'/runs/{run}').json())[:2000]}")

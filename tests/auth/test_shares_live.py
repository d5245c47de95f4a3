"""Groups with shares at a real service, in real time: three of them want more than there is room for."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.issuers import NanoIdp
from tests.server import Server

SHARES = {"/gold": 60.0, "/silver": 30.0, "/bronze": 10.0}
SLOTS = 4
JOBS_EACH = 70
ENOUGH = 80
"""Jobs that have ended when all groups have still more that wait."""
SECONDS = 300.0


@pytest.fixture
def server(tmp_path: Path, nano: NanoIdp) -> Iterator[Server]:
    """Yield a service with one small site and shares."""
    groups = {group: {"share": share} for group, share in SHARES.items()}
    running = Server(
        tmp_path,
        {
            "UWS_AUTH": json.dumps({"issuers": [nano.settings()], "accounting_groups": list(SHARES)}),
            "UWS_SITES": json.dumps([{"name": "here", "slots": SLOTS}]),
            "UWS_PLACEMENT": json.dumps({"shares": {"groups": groups, "half_life": "1d"}}),
        },
    )
    running.start()
    yield running
    running.stop()


def test_use_follows_the_shares(server: Server, nano: NanoIdp) -> None:
    """Within five points of 60, 30 and 10 after a hundred jobs that are alike."""
    clients: dict[str, httpx2.Client] = {}
    try:
        for group in SHARES:
            token = nano.signed(sub=f"one-of-{group[1:]}", groups=[group])
            clients[group] = httpx2.Client(
                base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=60
            )
        for group in SHARES:  # by these the service learns how long such jobs take, which it reads at its start
            submit(clients[group], 8)
        wait_for(clients, 24)
        server.stop()
        server.start()
        for group in SHARES:
            submit(clients[group], JOBS_EACH)
        used = wait_for(clients, 24 + ENOUGH)
        assert max(used.values()) < 8 + JOBS_EACH, "each group has work left"
        total = sum(used.values())
        assert all(abs(100 * used[group] / total - share) <= 5 for group, share in SHARES.items()), used
    finally:
        for client in clients.values():
            client.close()


def submit(client: httpx2.Client, number: int) -> None:
    """Start jobs that all take a second."""
    files = {"TABLE": ("t.csv", "SECONDS\n" + "1\n" * number)}
    answer = client.post("/sleep/bulk", files=files, data={"PHASE": "RUN"})
    assert answer.status_code == 303, answer.text


def wait_for(clients: dict[str, httpx2.Client], number: int) -> Counter[str]:
    """Return how many jobs of each group are complete, once together they are so many."""
    deadline = time.monotonic() + SECONDS
    while sum((counts := ended(clients)).values()) < number:
        assert time.monotonic() < deadline, counts
        time.sleep(0.2)
    return counts


def ended(clients: dict[str, httpx2.Client]) -> Counter[str]:
    """Return how many jobs of each group are complete."""
    accept = {"accept": "application/json"}
    return Counter(
        {
            group: len(client.get("/sleep/async?PHASE=COMPLETED&LAST=1000", headers=accept).json()["jobs"])
            for group, client in clients.items()
        }
    )

"""How long a user waits for a small job at a local site: from POST to COMPLETED, and until its result is there.

The jobs are made one after the other, in turns of the kinds, by one connection.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx2

from tests.bench.__main__ import Figure
from tests.server import Server

ROUNDS = 25
WARM_UP = 3
QUERY = "SELECT TOP 5 name, ra, dec FROM openngc.objects"
QUERY_SECONDS, CUTOUT_SECONDS, SYNC_CUTOUT_SECONDS = 0.15, 0.2, 0.08
"""Targets."""
QUERY_RATIO = 1.5
"""A query's job takes at most so many times as long as a job that does nothing."""
_TAP = {"LANG": "ADQL", "QUERY": QUERY}
_CUTOUT = {"ID": "ivo://uws-service.example/images?m13", "CIRCLE": "250.4226 36.4602 0.01"}


async def measure(folder: Path) -> list[Figure]:
    """Return medians."""
    server = Server(folder / "service", warm=False)
    server.start()
    try:
        return await asyncio.to_thread(_measured, server)
    finally:
        server.stop()


def _measured(server: Server) -> list[Figure]:
    with httpx2.Client(timeout=60, base_url=server.url) as http:
        kinds: dict[str, Callable[[], None]] = {
            "sleep": partial(_job, http, "sleep", {"SECONDS": "0"}),
            "query": partial(_job, http, "tap", _TAP),
            "sync query": partial(_sync, http, "tap", _TAP),
            "cutout": partial(_job, http, "cutout", _CUTOUT),
            "sync cutout": partial(_sync, http, "cutout", _CUTOUT),
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(WARM_UP + ROUNDS):
            for kind, act in kinds.items():
                began = time.perf_counter()
                act()
                times[kind].append(time.perf_counter() - began)
    medians = {kind: statistics.median(values[WARM_UP:]) for kind, values in times.items()}
    first = {kind: values[0] for kind, values in times.items()}
    description = f"POST to COMPLETED to the result, median of {ROUNDS} in turns, one at a time"
    return [
        Figure.plain("job that sleeps 0 s", medians["sleep"], f"{description}; the first {first['sleep']:.2f} s", "s"),
        Figure.most(
            "job of a query of 5 rows", medians["query"], QUERY_SECONDS,
            f"{description}; the first {first['query']:.2f} s", "s",
        ),
        Figure.most(
            "the same / job that sleeps 0 s", medians["query"] / medians["sleep"], QUERY_RATIO, description
        ),
        Figure.plain("the same query by /sync", medians["sync query"], description, "s"),
        Figure.most(
            "job of a cutout", medians["cutout"], CUTOUT_SECONDS,
            f"{description}; the first {first['cutout']:.2f} s", "s",
        ),
        Figure.most("the same cutout by /sync", medians["sync cutout"], SYNC_CUTOUT_SECONDS, description, "s"),
    ]  # fmt: skip


def _job(http: httpx2.Client, application: str, parameters: dict[str, str]) -> None:
    """Run a job as a client does that waits by blocking, and read its result."""
    job = http.post(f"/{application}/async", data={**parameters, "PHASE": "RUN"}).headers["location"]
    while (phase := http.get(f"{job}/phase").text) in ("QUEUED", "EXECUTING"):
        http.get(f"{job}?WAIT=5&PHASE={phase}")
    if phase != "COMPLETED":
        raise RuntimeError(http.get(job).text)
    http.get(f"{job}/results/result", follow_redirects=True).raise_for_status()


def _sync(http: httpx2.Client, application: str, parameters: dict[str, str]) -> None:
    http.post(f"/{application}/sync", data=parameters).raise_for_status()

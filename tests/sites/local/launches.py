"""Launches, and what an executor shows of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from tests.sites.local.agents import MiB
from uws_service.domain.attempt import ExpectedResult, Launch, Observation, Seen
from uws_service.sites.local.executor import LocalExecutor

RESULT = ExpectedResult("result", "r", "text/plain")


def launch(command: list[str], *, job_id: str = "job", number: int = 1, **changes: Any) -> Launch:
    """Return a launch of a command, without limits."""
    values: dict[str, Any] = {
        "application": "test",
        "owner": "",
        "image": "local/none",
        "environment": {"UWS_JOB_ID": job_id},
        "parameters": "{}",
        "inputs": (),
        "results": (),
        "duration": 0,
        "cpu": 1.0,
        "memory": 0,
        "max_output": 10 * MiB,
        **changes,
    }
    return Launch(job_id=job_id, number=number, command=tuple(command), **values)


async def look(executor: LocalExecutor, job_id: str = "job", number: int = 1) -> Observation | None:
    """Return what the site shows of an attempt."""
    observations = {(observation.job_id, observation.number): observation for observation in await executor.observe()}
    return observations.get((job_id, number))


async def until(
    executor: LocalExecutor,
    condition: Callable[[Observation], object],
    *,
    job_id: str = "job",
    seconds: float = 180,
) -> Observation:
    """Return the first observation that meets a condition.

    Look whenever the site says that something has changed.
    """
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        last = await look(executor, job_id)
        if last is not None and condition(last):
            return last
        await executor.wait_change(0.5)
    raise AssertionError(f"not within {seconds} s; last seen: {last}")


def ended(observation: Observation) -> bool:
    """Return whether the attempt has ended."""
    return observation.seen in (Seen.SUCCEEDED, Seen.FAILED)


def running(observation: Observation) -> bool:
    """Return whether the command runs."""
    return observation.seen is Seen.RUNNING


def folder_of(executor: LocalExecutor, name: str = "job-1") -> Path:
    """Return the work folder of an attempt."""
    return executor.work / name


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    """Content as the depot takes it."""
    yield content

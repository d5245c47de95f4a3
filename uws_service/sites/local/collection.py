"""Results and logs from a work folder into the depot, as the agent described them or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import structlog

from uws_service.agent import confined
from uws_service.agent import folder as layout
from uws_service.depot import Depot, Stored, check_key
from uws_service.domain.attempt import Observation, Output
from uws_service.domain.errors import NotFound, UsageError, UwsError
from uws_service.domain.job import Result
from uws_service.sites.executor import Collected, log_key, result_key
from uws_service.sites.local.processes import chunks_of

log = structlog.get_logger(__name__)

FILES_AT_ONCE = 4
"""So many files of one attempt go to the depot at a time: each waits for a disk or a network."""


async def collect(folder: Path, observation: Observation, depot: Depot) -> Collected:
    """Put results and logs into the depot."""
    results: list[Result] = []
    logs: list[Result] = []
    problem = ""
    places = asyncio.Semaphore(FILES_AT_ONCE)

    async def store(output: Output) -> UwsError | None:
        async with places:
            try:
                await _store(folder, output, _key(observation, output), depot)
            except UwsError as error:
                return error
        return None

    errors = await asyncio.gather(*(store(output) for output in observation.outputs))
    for output, error in zip(observation.outputs, errors, strict=True):
        if error is None:
            stored = Result(output.id, _key(observation, output), output.media_type, output.size, output.sha256)
            (logs if _is_log(output) else results).append(stored)
        elif isinstance(error, NotFound):
            log.warning("a file is lost", job=observation.job_id, attempt=observation.number, error=error.message)
            problem = problem or ("" if _is_log(output) else error.message)
        else:
            raise error
    return Collected(tuple(results), tuple(logs), observation.log_tail, problem)


def _is_log(output: Output) -> bool:
    return output.source.startswith(f"{layout.LOG}/")


def _key(observation: Observation, output: Output) -> str:
    return (log_key if _is_log(output) else result_key)(observation.job_id, output.id)


async def _store(folder: Path, output: Output, key: str, depot: Depot) -> None:
    """Put one file into the depot, through one descriptor.

    `NotFound` if it is not what the agent described.
    """
    expected = Stored(output.size, output.sha256)
    try:
        check_key(key)
        with confined.regular(str(folder), output.source) as file:
            content = confined.Content(file, os.fstat(file).st_size)
            await depot.put(key, chunks_of(content), max_size=content.size, expected=expected)
    except FileNotFoundError:
        if not await _is_stored(key, expected, depot):
            raise NotFound(f"The file {output.id!r} is no longer at the site.") from None
    except (UsageError, confined.Changed):
        raise NotFound(f"The file {output.id!r} has changed since the command ended.") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise NotFound(f"The file {output.id!r} is not what the agent saw: {cause}.") from None


async def _is_stored(key: str, expected: Stored, depot: Depot) -> bool:
    """Return whether an earlier call has put the very same bytes."""
    digest = hashlib.sha256()
    size = 0
    try:
        async for chunk in depot.read(key):
            digest.update(chunk)
            size += len(chunk)
    except NotFound:
        return False
    return Stored(size, digest.hexdigest()) == expected

"""One run of an application on this machine, by what runs jobs at a local site.

The same checks of the parameters, the same agent, folders, variables and limits as for a job of the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uws_service.applications import Application, ParameterSpec, check, launch
from uws_service.depot import Depot
from uws_service.domain.attempt import Launch, Observation, Seen, Usage
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.protocol.file_names import with_ending
from uws_service.sites.executor import result_key
from uws_service.sites.local.executor import LocalExecutor

_CHUNK_BYTES = 1 << 20
_LOOK_SECONDS = 1.0
"""Longest pause between two looks at the attempt."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a trial is given.

    Names and values in order; files by the names of their parameters; tables of UPLOAD by their names.
    """

    values: Sequence[tuple[str, str]] = ()
    files: Mapping[str, Path] | None = None
    tables: Mapping[str, Path] | None = None


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A result of a trial, copied to the folder that was asked for."""

    id: str
    media_type: str
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class Trial:
    """How a trial has ended.

    ``error`` is empty if it ended well; ``reason`` is the word that a job's error would have.
    """

    error: str
    reason: str
    exit_code: int | None
    results: tuple[TrialResult, ...]
    stdout: str
    stderr: str
    usage: Usage
    command: tuple[str, ...]


def request_of(application: Application, words: Sequence[tuple[str, str]], folder: Path) -> Request:
    """Return a request: for parameters that take a file, ``@PATH`` (relative to ``folder``) is that file."""
    values: list[tuple[str, str]] = []
    files: dict[str, Path] = {}
    for name, value in words:
        spec = application.parameter(name)
        if spec is not None and (spec.file or spec.dataset) and value.startswith("@"):
            files[spec.name] = folder / value[1:]
        else:
            values.append((name, value))
    return Request(values, files, {})


def run_trial(
    application: Application, request: Request, work: Path, output: Path, *, folders: tuple[Path, ...] = ()
) -> Trial:
    """Run the application once, and copy its results.

    Parameters
    ----------
    work
        A folder for the work folder and what is uploaded; what the command left stays in it.
    output
        Where the results are put, under their ids.
    folders
        Where commands are looked for first.

    Raises
    ------
    UsageError
        The request is wrong, as a job's would be; or it names what only a service can bring.
    """
    return asyncio.run(_run(application, request, work, output, folders))


async def _run(
    application: Application, request: Request, work: Path, output: Path, folders: tuple[Path, ...]
) -> Trial:
    depot = Depot.open(str(work / "depot"))
    plan = await _plan(application, request, depot)
    executor = LocalExecutor("try", work, depot, capacity=1, preloaded=(), path=folders)
    await executor.start()
    try:
        await executor.submit(plan)
        observation = await _end_of(executor, plan)
        logs = [await executor.read_log(plan.job_id, plan.number, name) for name in ("stdout", "stderr")]
        collected = await executor.collect(observation)
        results = []
        for result in collected.results:
            target = output / with_ending(result.id, result.media_type)
            await depot.get_file(result_key(plan.job_id, result.id), target)
            results.append(TrialResult(result.id, result.media_type, result.size or 0, target))
    finally:
        with contextlib.suppress(Exception):
            await executor.kill(plan.job_id, plan.number)
        await executor.stop()
    stdout, stderr = ((log or b"").decode("utf-8", "replace") for log in logs)
    ended_well = observation.seen is Seen.SUCCEEDED and not collected.problem
    error = "" if ended_well else observation.message or collected.problem
    if observation.error is not None:
        error = observation.error.message
    reason = observation.reason.value if observation.reason is not None else ""
    return Trial(error, reason, observation.exit_code, tuple(results), stdout, stderr, observation.usage, plan.command)


async def _plan(application: Application, request: Request, depot: Depot) -> Launch:
    """Check the request, and put its files where those of uploads lie."""
    parameters = [Parameter(name, value) for name, value in request.values]
    for name, path in (request.files or {}).items():
        spec = application.parameter(name)
        if spec is not None and spec.dataset:
            raise UsageError(
                f"{name} takes data sets, which only a service with a catalogue brings; it can't be tried."
            )
        parameters.append(await _uploaded(depot, name, path))
    for table, path in (request.tables or {}).items():
        part = f"part_{table}"
        parameters += [Parameter("UPLOAD", f"{table},param:{part}"), await _uploaded(depot, part, path)]
    checked = check(application, parameters)
    if checked.data:
        raise UsageError(f"{checked.data[0].name} takes data sets, which only a service with a catalogue brings.")
    now = int(time.time() * 1000)
    job = Job(uuid.uuid4().hex, application.name, None, Phase.QUEUED, created=now, duration=0, destruction=None)
    plan = launch(application, job, checked, 1)
    return replace(plan, duration=application.limits.execution_duration.default or plan.duration)


async def _uploaded(depot: Depot, name: str, path: Path) -> Parameter:
    try:
        size = os.stat(path).st_size
        key = f"uploads/{name}"
        await depot.put(key, _chunks(path), max_size=size)
    except OSError as error:
        raise UsageError(f"{name}: {path}: {error.strerror}") from None
    return Parameter(name, path.name, upload=key, size=size)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


async def _end_of(executor: LocalExecutor, plan: Launch) -> Observation:
    """Return the last observation of the attempt."""
    while True:
        for observation in await executor.observe():
            if observation.seen in (Seen.SUCCEEDED, Seen.FAILED) and observation.job_id == plan.job_id:
                return observation
        await executor.wait_change(_LOOK_SECONDS)


def unsent(application: Application, request: Request) -> Iterator[ParameterSpec]:
    """Yield required parameters that a request lacks."""
    names = {name.upper() for name, _ in request.values} | {name.upper() for name in request.files or {}}
    yield from (spec for spec in application.parameters if spec.required and spec.name.upper() not in names)


def remove_work(work: Path) -> None:
    """Remove the work folder of a trial, whatever rights its command gave to files."""
    shutil.rmtree(work, ignore_errors=True)

"""A command's own error, from its ``error.json`` to the job's error document, at a site of this machine."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from uws_service.auth import ANONYMOUS
from uws_service.domain.attempt import Reason
from uws_service.domain.job import FINAL, Job, Parameter, Phase
from uws_service.runtime import running
from uws_service.service.caller import Caller
from uws_service.service.requests import Request
from uws_service.settings import Settings

DESCRIPTOR = """
name: fails
title: Fails
description: Fails, and says why.
command: [python, -I, -c, CODE, "{ERROR}"]
parameters:
  - name: ERROR
    datatype: char
    arraysize: "*"
    description: What it says.
results:
  - {id: result, path: result, media_type: text/plain}
"""
CODE = (
    "import os, sys; open(os.environ['UWS_OUTPUT_DIR'] + '/error.json', 'w').write(sys.argv[1]); "
    "print('the last word', file=sys.stderr); sys.exit(3)"
)
TIMEOUT_SECONDS = 120


async def failed(folder: Path, error: str) -> Job:
    """Return a job that has ended, whose command wrote an ``error.json``."""
    path = folder / "fails.yaml"
    path.write_text(DESCRIPTOR.replace("CODE", json.dumps(CODE)))
    settings = Settings.load(data=folder / "data", builtin_applications=False, applications=[path])
    async with running(settings) as runtime:
        request = Request(parameters=(Parameter("ERROR", error),), run=True)
        job, _ = await runtime.service.create(runtime.applications["fails"], Caller(ANONYMOUS), request)
        end = time.monotonic() + TIMEOUT_SECONDS
        while job.phase not in FINAL:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
            row = await runtime.store.get(job.id)
            assert row is not None
            job = row
        (attempt,) = await runtime.store.attempts.of(job.id)
        assert job.error is not None and attempt.reason == job.error.reason and attempt.message == job.error.message
        return job


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "reason", "transient"),
    [
        ("UsageError", Reason.USAGE, False),
        ("MultiValuedParamNotSupported", Reason.USAGE, False),
        ("ServiceUnavailable", Reason.UNAVAILABLE, True),
        ("Error", Reason.APPLICATION, False),
        ("Whatever", Reason.APPLICATION, False),
    ],
)
async def test_what_the_command_says(tmp_path: Path, kind: str, reason: Reason, transient: bool) -> None:
    """Message, detail and type are the error's; the attempt carries reason and message too."""
    job = await failed(tmp_path, json.dumps({"type": kind, "message": "no such image", "detail": "ID=x"}))
    assert job.phase is Phase.ERROR and job.error is not None
    assert (job.error.message, job.error.detail) == ("no such image", "ID=x")
    assert (job.error.reason, job.error.transient) == (reason, transient)


@pytest.mark.anyio
async def test_without_a_detail(tmp_path: Path) -> None:
    """The end of the log is the detail then."""
    job = await failed(tmp_path, json.dumps({"type": "Error", "message": "no such image"}))
    assert job.error is not None and job.error.detail == "the last word\n"


@pytest.mark.anyio
async def test_without_sense(tmp_path: Path) -> None:
    """An exit code is an exit code."""
    job = await failed(tmp_path, "no JSON")
    assert job.error is not None and job.error.reason == Reason.EXIT_CODE
    assert job.error.message == "The command ended with exit code 3: the last word"

"""Processes that are killed."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import pytest

from uws_service.subprocesses import kill

ROUNDS = 200


@pytest.mark.parametrize("is_over", [False, True], ids=["runs", "ends by itself"])
def test_the_status_of_a_killed_process(is_over: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It is the process's own, even if it ended at the same moment; nothing is logged."""
    words = ("/bin/true",) if is_over else (sys.executable, "-c", "import time; time.sleep(60)")

    async def statuses() -> set[int]:
        codes = set()
        for turn in range(ROUNDS if is_over else 3):
            process = await asyncio.create_subprocess_exec(*words)
            await asyncio.sleep(turn / ROUNDS / 100)
            kill(process)
            codes.add(await process.wait())
            kill(process)
        return codes

    with caplog.at_level(logging.WARNING, "asyncio"):
        assert asyncio.run(statuses()) <= ({0, -signal.SIGKILL} if is_over else {-signal.SIGKILL})
    assert not caplog.records

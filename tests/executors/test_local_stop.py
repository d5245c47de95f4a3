"""The site that is this machine: attempts that are stopped and removed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid

import pytest

from tests.executors.agents import alive, eventually, python
from tests.executors.launches import ended, folder_of, launch, look, running, until
from tests.executors.test_agent import ESCAPE
from uws_service.agent import folder as layout
from uws_service.attempt import ExpectedResult, Reason, Seen
from uws_service.executors import local
from uws_service.executors.folders import signal_agent
from uws_service.executors.local import LocalExecutor

pytestmark = pytest.mark.anyio


async def test_kill_right_after_submit(executor: LocalExecutor) -> None:
    """U-108: however early the abort comes, the command does not run afterwards."""
    for number in range(1, 6):
        await executor.submit(launch(["sh", "-c", "sleep 60"], number=number))
        await asyncio.sleep(0.01 * (number - 1))
        await executor.kill("job", number)
    end = time.monotonic() + 180
    while any(not ended(one) for one in await executor.observe()) and time.monotonic() < end:
        await executor.wait_change(0.5)
    assert {one.reason for one in await executor.observe()} == {Reason.ABORTED}


async def test_kill_a_command_that_will_not_end(executor: LocalExecutor) -> None:
    """U-107: no process is left, and results and logs that were complete can be collected."""
    mark = uuid.uuid4().hex
    await executor.submit(launch([*python(ESCAPE), mark], results=(ExpectedResult("ready", "ready", "text/plain"),)))
    await until(executor, running)
    eventually(lambda: (folder_of(executor) / "output/ready").exists() and len(alive(mark)) == 2)
    for _ in range(3):
        await executor.kill("job", 1)
    seen = await until(executor, ended)
    assert (seen.seen, seen.reason) == (Seen.FAILED, Reason.ABORTED)
    assert not alive(mark)
    results, logs, _ = await executor.collect(seen)
    assert [one.id for one in results] == ["ready"] and len(logs) == 2


async def test_kill_an_agent_that_hangs(executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that does not react is killed by force, with everything that its command started."""
    monkeypatch.setattr(local, "KILL_AFTER", 0.3)
    mark = uuid.uuid4().hex
    await executor.submit(launch([*python(ESCAPE), mark]))
    await until(executor, running)
    eventually(lambda: len(alive(mark)) == 2)
    agent = layout.agent_pid(str(folder_of(executor)))
    assert agent is not None
    os.kill(agent, signal.SIGSTOP)
    await executor.kill("job", 1)
    seen = await until(executor, ended)
    assert seen.reason is Reason.AGENT_LOST
    assert not alive(mark)


async def test_kill_what_is_not_there(executor: LocalExecutor) -> None:
    """Neither an unknown attempt nor one that has ended is an error."""
    await executor.kill("unknown", 1)
    await executor.submit(launch(["true"]))
    before = await until(executor, ended)
    await executor.kill("job", 1)
    assert await look(executor) == before


async def test_no_stranger_is_signalled(executor: LocalExecutor) -> None:
    """Without an agent's lock there is nobody to signal, whatever process ids are about."""
    await executor.submit(launch(["true"]))
    await until(executor, ended)
    eventually(lambda: layout.agent_pid(str(folder_of(executor))) is None)
    assert not signal_agent(folder_of(executor), signal.SIGTERM)


async def test_forget_what_still_runs(executor: LocalExecutor) -> None:
    """Processes and files are gone, also those that escaped."""
    mark = uuid.uuid4().hex
    await executor.submit(launch([*python(ESCAPE), mark]))
    await until(executor, running)
    eventually(lambda: len(alive(mark)) == 2)
    await executor.forget("job", 1)
    assert not alive(mark) and not folder_of(executor).exists()


async def test_forget_folders_without_rights(executor: LocalExecutor) -> None:
    """What a command did to its folders does not keep them."""
    script = "cd $UWS_OUTPUT_DIR; mkdir -p a/b; touch a/b/c; chmod 000 a/b a"
    await executor.submit(launch(["sh", "-c", script]))
    await until(executor, ended)
    await executor.forget("job", 1)
    assert not [path for path in executor.work.iterdir() if path.is_dir()]

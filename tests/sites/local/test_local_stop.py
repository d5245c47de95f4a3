"""The site that is this machine.

Attempts that are stopped and removed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from pathlib import Path

import pytest

from tests.sites.local.agents import alive, eventually, python
from tests.sites.local.launches import ended, folder_of, launch, look, running, until
from tests.sites.local.test_agent import ESCAPE
from uws_service.agent import folder as layout
from uws_service.agent.processes import descendants
from uws_service.domain.attempt import ExpectedResult, Reason, Seen
from uws_service.sites.local import executor as executor_module
from uws_service.sites.local.executor import LocalExecutor
from uws_service.sites.local.processes import signal_agent

pytestmark = pytest.mark.anyio


async def test_kill_right_after_submit(executor: LocalExecutor) -> None:
    """U-108: however early the abort comes, the command does not run afterwards."""
    for number in range(1, 6):
        await executor.submit(launch(["sh", "-c", "sleep 60"], number=number))
        await asyncio.sleep(0.01 * (number - 1))
        await executor.kill("job", number)
    end = time.monotonic() + 180
    while any(not ended(observation) for observation in await executor.observe()) and time.monotonic() < end:
        await executor.wait_change(0.5)
    assert {observation.reason for observation in await executor.observe()} == {Reason.ABORTED}


async def test_kill_a_command_that_will_not_end(executor: LocalExecutor) -> None:
    """U-107: no process is left, and results and logs that were complete can be collected."""
    mark = uuid.uuid4().hex
    await executor.submit(launch([*python(ESCAPE), mark], results=(ExpectedResult("ready", "ready", "text/plain"),)))
    await until(executor, running)
    eventually(lambda: (folder_of(executor) / "output/ready").exists() and len(alive(mark)) == 2)
    for _ in range(3):
        await executor.kill("job", 1)
    observation = await until(executor, ended)
    assert (observation.seen, observation.reason) == (Seen.FAILED, Reason.ABORTED)
    assert not alive(mark)
    results, logs, *_ = await executor.collect(observation)
    assert [result.id for result in results] == ["ready"] and len(logs) == 2


async def test_kill_an_agent_that_hangs(executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that does not react is killed by force, with everything that its command started."""
    monkeypatch.setattr(executor_module, "KILL_SECONDS", 0.3)
    mark = uuid.uuid4().hex
    await executor.submit(launch([*python(ESCAPE), mark]))
    await until(executor, running)
    eventually(lambda: len(alive(mark)) == 2)
    agent = layout.agent_pid(str(folder_of(executor)))
    assert agent is not None
    os.kill(agent, signal.SIGSTOP)
    await executor.kill("job", 1)
    observation = await until(executor, ended)
    assert observation.reason is Reason.AGENT_LOST
    assert not alive(mark)


COMPLIANT = ["sh", "-c", "trap 'exit 0' TERM; echo half > $UWS_OUTPUT_DIR/result; while true; do sleep 0.05; done"]
"""Answers the request to end with 0, as a program with checkpoints does."""


@pytest.mark.parametrize("order", ["command first", "agent first"])
async def test_a_machine_that_asks_all_to_end(executor: LocalExecutor, order: str) -> None:
    """A shutdown signals every process.

    What was cut short has not ended well, whatever its exit code.
    """
    await executor.submit(launch(COMPLIANT, results=(ExpectedResult("result", "result", "text/plain"),)))
    await until(executor, running)
    eventually(lambda: (folder_of(executor) / "output/result").exists())
    agent = layout.agent_pid(str(folder_of(executor)))
    assert agent is not None
    (command,) = descendants(agent)[:1]
    os.kill(agent, signal.SIGSTOP)  # so that both signals are there when it looks
    for pid in (command, agent) if order == "command first" else (agent, command):
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: "Z" in Path(f"/proc/{command}/stat").read_text().rpartition(")")[2].split()[0])
    os.kill(agent, signal.SIGCONT)
    observation = await until(executor, ended)
    assert (observation.seen, observation.reason, observation.exit_code) == (Seen.FAILED, Reason.ABORTED, 0)


@pytest.mark.parametrize("duration", [0, 1], ids=["abort", "deadline"])
async def test_a_command_that_ends_well_when_it_is_stopped(executor: LocalExecutor, duration: int) -> None:
    """Its exit code 0 is no success."""
    await executor.submit(launch(COMPLIANT, duration=duration))
    await until(executor, running)
    eventually(lambda: (folder_of(executor) / "output/result").exists())
    if not duration:
        await executor.kill("job", 1)
    observation = await until(executor, ended)
    assert (observation.seen, observation.exit_code) == (Seen.FAILED, 0)
    assert observation.reason is (Reason.DEADLINE if duration else Reason.ABORTED)


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

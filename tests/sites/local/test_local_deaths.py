"""The site that is this machine.

Agents that are killed, and services that come and go.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from tests.sites.local.agents import alive, eventually, python
from tests.sites.local.launches import RESULT, ended, folder_of, launch, look, running, until
from tests.sites.local.test_agent import ESCAPE
from uws_service.agent import folder as layout
from uws_service.depot import Depot
from uws_service.domain.attempt import Reason, Seen
from uws_service.domain.errors import ConfigurationError, ServiceUnavailable
from uws_service.sites.local import executor as executor_module
from uws_service.sites.local.agents import AGENT
from uws_service.sites.local.executor import LocalExecutor
from uws_service.sites.local.workfolder import place

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


async def test_an_agent_that_is_killed(executor: LocalExecutor) -> None:
    """AgentLost is told at once.

    The command is dead, with all that it forked; logs are kept.
    """
    mark = uuid.uuid4().hex
    await executor.submit(launch(["sh", "-c", 'echo before; exec "$@"', "sh", *python(ESCAPE), mark]))
    await until(executor, running)
    eventually(lambda: (folder_of(executor) / "output/ready").exists() and len(alive(mark)) == 2)
    await executor.observe()
    agent = layout.agent_pid(str(folder_of(executor)))
    assert agent is not None
    os.kill(agent, signal.SIGKILL)
    began = time.monotonic()
    await executor.wait_change(120)
    assert time.monotonic() - began < 60
    observation = await until(executor, ended)
    assert (observation.seen, observation.reason) == (
        Seen.FAILED,
        Reason.AGENT_LOST,
    ) and observation.started is not None
    assert not alive(mark)
    assert await look(executor) == observation
    _, logs, *_ = await executor.collect(observation)
    assert [(result.id, result.size) for result in logs] == [("stdout", 7), ("stderr", 0)]


async def test_jobs_outlive_the_service(depot: Depot, tmp_path: Path) -> None:
    """A service that ends leaves its jobs running.

    The next one finds them and hears of their end.
    """
    first = LocalExecutor("local", tmp_path / "work", depot, capacity=1)
    await first.start()
    await first.submit(launch(["sh", "-c", "echo ran; while [ ! -e $UWS_INPUT_DIR/on ]; do sleep 0.02; done"]))
    before = await until(first, running)
    await first.stop()
    second = LocalExecutor("local", tmp_path / "work", depot, capacity=1)
    await second.start()
    try:
        assert await look(second) == before
        await second.submit(launch(["sh", "-c", "echo again"]))
        (folder_of(second) / "input/on").touch()
        began = time.monotonic()
        await second.wait_change(120)
        observation = await until(second, ended)
        assert time.monotonic() - began < 60
        assert observation.seen is Seen.SUCCEEDED
        assert await second.read_log("job", 1, "stdout") == b"ran\n"
        await second.forget("job", 1)
    finally:
        await second.stop()


async def test_an_adopted_agent_that_is_killed(depot: Depot, tmp_path: Path) -> None:
    """The death of an adopted agent is noticed.

    The next service did not start it; it has a session of its own.
    """
    first = LocalExecutor("local", tmp_path / "work", depot, capacity=1)
    await first.start()
    await first.submit(launch(["sleep", "300"]))
    await until(first, running)
    await first.stop()
    second = LocalExecutor("local", tmp_path / "work", depot, capacity=1)
    await second.start()
    try:
        await second.observe()
        agent = layout.agent_pid(str(folder_of(second)))
        assert agent is not None and os.getsid(agent) == agent
        os.kill(agent, signal.SIGKILL)
        began = time.monotonic()
        await second.wait_change(120)
        assert time.monotonic() - began < 60
        assert (await until(second, ended)).reason is Reason.AGENT_LOST
    finally:
        await second.stop()


@pytest.mark.parametrize("placed", [False, True])
async def test_a_service_killed_before_it_started_the_agent(executor: LocalExecutor, placed: bool) -> None:
    """A folder that nobody took is not shown.

    Submitting again makes it run, once.
    """
    plan = launch(["sh", "-c", "cat $UWS_INPUT_DIR/* ; echo ran"])
    if placed:
        await place(folder_of(executor), plan, executor.depot, executor.surroundings)
    else:
        (folder_of(executor) / "input").mkdir(parents=True)
    (folder_of(executor) / "input/before").write_text("before ")
    assert await executor.observe() == []
    await executor.submit(plan)
    observation = await until(executor, ended)
    assert observation.seen is Seen.SUCCEEDED
    # What was complete is left alone, since an agent may be starting in it; what was not is made anew.
    assert await executor.read_log("job", 1, "stdout") == (b"before {}ran\n" if placed else b"{}ran\n")


@pytest.mark.parametrize("step", ["kill", "forget"])
async def test_an_unwanted_attempt_that_never_started(executor: LocalExecutor, step: str) -> None:
    """Stopped or forgotten before an agent took it.

    One that starts late does not run the command.
    """
    plan = launch(["sh", "-c", "echo ran"])
    await place(folder_of(executor), plan, executor.depot, executor.surroundings)
    if step == "kill":
        await executor.kill("job", 1)
        observation = await look(executor)
        assert observation is not None and observation.reason is Reason.ABORTED
    else:
        await executor.forget("job", 1)
        assert not folder_of(executor).exists()
    agent = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", str(AGENT), str(folder_of(executor)))
    assert await asyncio.wait_for(agent.wait(), 120) == 0
    assert not await executor.read_log("job", 1, "stdout")


async def test_one_service_for_each_work_folder(
    executor: LocalExecutor, depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one says why it can't start."""
    monkeypatch.setattr(executor_module, "LOCK_SECONDS", 0.2)
    second = LocalExecutor("local", executor.work, depot, capacity=1)
    with pytest.raises(ConfigurationError, match="Another process runs jobs"):
        await second.start()


async def test_a_work_folder_behind_a_link(depot: Depot, tmp_path: Path) -> None:
    """Results are found inside the folder whatever name it goes by."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    executor = LocalExecutor("local", tmp_path / "link" / "work", depot, capacity=1)
    await executor.start()
    try:
        await executor.submit(launch(["sh", "-c", "echo data > $UWS_OUTPUT_DIR/r"], results=(RESULT,)))
        results, *_ = await executor.collect(await until(executor, ended))
        assert [result.size for result in results] == [5]
    finally:
        await executor.stop()


async def test_an_interpreter_that_is_not_there(depot: Depot, tmp_path: Path) -> None:
    """The start fails instead of every job."""
    with pytest.raises(ConfigurationError, match="no program"):
        await LocalExecutor("local", tmp_path / "work", depot, capacity=1, python=str(tmp_path / "no")).start()


async def test_a_work_folder_that_vanishes(depot: Depot, tmp_path: Path) -> None:
    """A fault that may pass, as the controller knows it: it does not end the site's loop."""
    executor = LocalExecutor("local", tmp_path / "work", depot, capacity=1)
    await executor.start()
    try:
        executor.work.rename(tmp_path / "away")
        with pytest.raises(ServiceUnavailable, match="work"):
            await executor.observe()
        (tmp_path / "away").rename(executor.work)
        assert await executor.observe() == []
    finally:
        await executor.stop()


async def test_a_work_folder_that_cannot_be(depot: Depot, tmp_path: Path) -> None:
    """The message names the folder and the system's reason."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file/work.*Not a directory"):
        await LocalExecutor("local", tmp_path / "file" / "work", depot, capacity=1).start()


SERVICE = """
import asyncio, sys
from pathlib import Path
from tests.sites.local.launches import RESULT, launch
from uws_service.depot import Depot
from uws_service.sites.local.executor import LocalExecutor

async def main(work, depot, ledger, count):
    executor = LocalExecutor("local", Path(work), Depot.open(depot), capacity=99)
    await executor.start()
    script = f"echo $UWS_JOB_ID >> {ledger}; sleep 0.05; echo done > $UWS_OUTPUT_DIR/r"
    print("up", flush=True)
    while True:
        for number in range(int(count)):
            await executor.submit(launch(["sh", "-c", script], job_id=f"job{number}", results=(RESULT,)))
        await executor.observe()
        await executor.wait_change(0.05)

asyncio.run(main(*sys.argv[1:]))
"""


def kill_services(rounds: int, arguments: list[str]) -> None:
    """Start a service and kill it soon after.

    So many times.
    """
    seed = random.randrange(1 << 30)
    print("seed", seed)
    moments = random.Random(seed)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for _ in range(rounds):
        with subprocess.Popen(
            [sys.executable, "-c", SERVICE, *arguments],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
        ) as service:
            assert service.stdout is not None
            line = next((line for line in service.stdout if line == b"up\n"), b"")  # warnings may come before it
            time.sleep(moments.uniform(0, 0.2))  # the random moment is what is tested
            service.kill()
            assert line == b"up\n"


async def test_kill_the_service_at_random_moments(depot: Depot, tmp_path: Path) -> None:
    """U-105, U-106.

    ``kill -9`` again and again, each new service submits all again: every command runs just once.
    """
    ledger, count = tmp_path / "ledger", 30
    await asyncio.to_thread(
        kill_services, 8, [str(tmp_path / "work"), str(tmp_path / "depot"), str(ledger), str(count)]
    )
    executor = LocalExecutor("local", tmp_path / "work", depot, capacity=99)
    await executor.start()
    try:
        script = f"echo $UWS_JOB_ID >> {ledger}; sleep 0.05; echo done > $UWS_OUTPUT_DIR/r"
        names = [f"job{number}" for number in range(count)]
        for name in names:
            await executor.submit(launch(["sh", "-c", script], job_id=name, results=(RESULT,)))
        for name in names:
            observation = await until(executor, ended, job_id=name)
            assert observation.seen is Seen.SUCCEEDED, observation
            await executor.collect(observation)
            await executor.forget(name, 1)
        assert Counter(ledger.read_text().split()) == Counter(names)
    finally:
        await executor.stop()

"""Commands that are forked from a process which has imported them: alike to programs, apart from each other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.sites.local.agents import eventually
from tests.sites.local.launches import RESULT, ended, folder_of, launch, look, running, until
from uws_service.agent import folder as layout
from uws_service.depot import Depot
from uws_service.domain.attempt import Reason, Seen
from uws_service.sites.local import fork_servers
from uws_service.sites.local.executor import LocalExecutor
from uws_service.sites.local.fork_servers import ForkServer, module_of

pytestmark = pytest.mark.anyio

MODULE = "tests.sites.local.commands"
COMMAND = ["python", "-m", MODULE]


@pytest.fixture
async def site(tmp_path: Path, depot: Depot) -> AsyncIterator[LocalExecutor]:
    """Yield a site that forks the commands of `commands`."""
    executor = LocalExecutor("local", tmp_path / "work", depot, capacity=4, preloaded=(MODULE,))
    await executor.start()
    yield executor
    for observation in await executor.observe():
        await executor.forget(observation.job_id, observation.number)
    await executor.stop()


def server_of(site: LocalExecutor, module: str = MODULE) -> ForkServer:
    """Return the server of a module."""
    return site.fork_servers.servers[module]


def pid_of(site: LocalExecutor, name: str = "job-1") -> int:
    """Return the process id that a command has written, once it has."""
    path = folder_of(site, name) / "output/r"
    return int(eventually(lambda: path.exists() and path.read_text()))


def parent(pid: int) -> int:
    """Return the process id of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children(pid: int | None) -> list[int]:
    """Return a process's children that live."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def holds(pid: int, text: bytes) -> bool:
    """Return whether a text is in what a process can write in its memory."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            ends, rights, *_ = line.split()
            begin, end = (int(number, 16) for number in ends.split("-"))
            if rights.startswith("rw"):
                memory.seek(begin)
                try:
                    content = memory.read(end - begin)
                except OSError:
                    continue
                if text in content:
                    return True
    return False


class Held:
    """Stands for the jobs' access to data: one token for whatever job."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def held(self, job_id: str) -> dict[str, Any]:
        return {"tokens": {"https://data.example.org": self.token}}


async def test_agent_and_command_are_forked(site: LocalExecutor) -> None:
    await site.submit(launch([*COMMAND, "wait", "done"], results=(RESULT,)))
    await until(site, running)
    command = pid_of(site)
    agent = layout.agent_pid(str(folder_of(site)))
    assert agent is not None
    assert parent(command) == agent and parent(agent) == server_of(site).pid
    (folder_of(site) / "input/on").touch()
    observation = await until(site, ended)
    assert (observation.seen, observation.exit_code) == (Seen.SUCCEEDED, 0)
    assert observation.outputs[0].size == len(str(command)) and observation.usage.cpu < 10


async def test_a_forked_command_finds_what_a_program_finds(site: LocalExecutor, depot: Depot, tmp_path: Path) -> None:
    """Environment, limits, signals, files, rights, folders are the same."""
    programs = LocalExecutor("local", tmp_path / "programs", depot, capacity=1, preloaded=())
    await programs.start()
    texts = []
    try:
        for executor in (site, programs):
            await executor.submit(
                launch(
                    [*COMMAND, "surroundings"],
                    environment={"UWS_PARAM_X": "1", "UWS_JOB_ID": "job"},
                    results=(RESULT,),
                    memory=2**30,
                )
            )
            observation = await until(executor, ended)
            assert observation.seen is Seen.SUCCEEDED, observation
            texts.append((folder_of(executor) / "output/r").read_text().replace(str(executor.work), "WORK"))
        await programs.forget("job", 1)
    finally:
        await programs.stop()
    forked, started = map(json.loads, texts)
    assert forked == started
    assert forked["environment"]["UWS_PARAM_X"] == "1" and forked["signals"]["NoNewPrivs"] == "1"
    assert site.fork_servers.servers.keys() == {MODULE} and programs.fork_servers.servers.keys() == {""}


@pytest.mark.parametrize(
    ("words", "code", "output_text"),
    [
        (["code", "0"], 0, ""),
        (["code", "3"], 3, ""),
        (["exit", "5"], 5, ""),
        (["words"], 1, "in words"),
        (["fault"], 1, "RuntimeError: on purpose"),
        (["large", str(20 * 2**20)], 4, "File too large"),
    ],
)
async def test_how_it_ends(site: LocalExecutor, words: list[str], code: int, output_text: str) -> None:
    await site.submit(launch([*COMMAND, *words]))
    observation = await until(site, ended)
    assert observation.exit_code == code and output_text in observation.log_tail, observation


async def test_a_job_leaves_nothing_for_another(site: LocalExecutor) -> None:
    """Neither server nor command holds a job's token, and the server nothing of any job."""
    token, mark = uuid.uuid4().hex, uuid.uuid4().hex
    site.data = Held(token)
    await site.submit(launch([*COMMAND, "wait", mark], results=(RESULT,), parameters=json.dumps({"X": mark})))
    await until(site, running)
    command = pid_of(site)
    server = server_of(site).pid
    assert server is not None
    assert holds(command, mark.encode()) and not holds(command, token.encode())
    for text in (token, mark, folder_of(site).name, str(folder_of(site))):
        assert not holds(server, text.encode()), text
    second = launch([*COMMAND, "wait", "other"], job_id="other", results=(RESULT,))
    await site.submit(second)
    await until(site, running, job_id="other")
    other = pid_of(site, "other-1")
    assert parent(parent(other)) == server and not holds(other, mark.encode())
    for name in ("job-1", "other-1"):
        (folder_of(site, name) / "input/on").touch()
    await until(site, ended)
    await until(site, ended, job_id="other")


async def test_a_server_that_is_killed(site: LocalExecutor, tmp_path: Path) -> None:
    """What runs goes on; what comes runs once, whenever the kill came."""
    ledger = tmp_path / "ledger"
    await site.submit(launch([*COMMAND, "wait", "done"], results=(RESULT,)))
    await until(site, running)
    jobs = [f"job{number}" for number in range(24)]
    servers = set()
    for number, job in enumerate(jobs):
        command = COMMAND if number % 2 else ["sh", "-c", 'echo $UWS_JOB_ID >> "$0"']
        words = ["ledger", str(ledger)] if number % 2 else [str(ledger)]
        await site.submit(launch([*command, *words], job_id=job, environment={"UWS_JOB_ID": job}))
        await asyncio.sleep(0.004 * (number % 7))  # the kills come at all sorts of moments
        for server in site.fork_servers.servers.values():
            if server.pid is not None:
                servers.add(server.pid)
                os.kill(server.pid, signal.SIGKILL)
    for job in jobs:
        observation = await until(site, ended, job_id=job)
        assert observation.seen is Seen.SUCCEEDED, observation
    assert sorted(ledger.read_text().split()) == sorted(jobs) and len(servers) > 2
    (folder_of(site) / "input/on").touch()
    assert (await until(site, ended)).seen is Seen.SUCCEEDED


async def test_a_server_that_does_not_answer(
    site: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is started as a program, and an agent that is forked later leaves it alone."""
    await site.submit(launch([*COMMAND, "code", "0"]))
    await until(site, ended)
    server = server_of(site)
    assert server.pid is not None
    monkeypatch.setattr(fork_servers, "FORK_SECONDS", 0.2)
    monkeypatch.setattr(ForkServer, "_disconnect", lambda self: None)  # so that the old one can go on
    stopped = server.pid
    os.kill(stopped, signal.SIGSTOP)
    try:
        ledger = tmp_path / "ledger"
        await site.submit(launch([*COMMAND, "ledger", str(ledger)], job_id="late", environment={"UWS_JOB_ID": "late"}))
        assert (await until(site, ended, job_id="late")).seen is Seen.SUCCEEDED
    finally:
        os.kill(stopped, signal.SIGCONT)
        monkeypatch.undo()
    await site.submit(launch([*COMMAND, "code", "0"], job_id="next"))
    await until(site, ended, job_id="next")
    assert ledger.read_text() == "late\n"


async def test_a_module_that_can_not_be_forked(
    site: LocalExecutor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Threads of a library would hold their locks for ever in a fork."""
    site.fork_servers.environment["START_A_THREAD"] = "1"
    await site.submit(launch([*COMMAND, "surroundings"], results=(RESULT,)))
    assert (await until(site, ended)).seen is Seen.SUCCEEDED
    assert server_of(site).pid is None
    assert "has started 1 threads" in capfd.readouterr().err


async def test_an_agent_that_is_killed_takes_its_command_along(site: LocalExecutor) -> None:
    await site.submit(launch([*COMMAND, "wait", "done"], results=(RESULT,)))
    await until(site, running)
    command = pid_of(site)
    agent = layout.agent_pid(str(folder_of(site)))
    assert agent is not None
    os.kill(agent, signal.SIGKILL)
    observation = await until(site, ended)
    assert observation.reason is Reason.AGENT_LOST
    eventually(lambda: not Path(f"/proc/{command}").exists())


async def test_an_abort(site: LocalExecutor) -> None:
    await site.submit(launch([*COMMAND, "wait", "done"]))
    await until(site, running)
    await site.kill("job", 1)
    observation = await until(site, ended)
    assert (observation.seen, observation.reason) == (Seen.FAILED, Reason.ABORTED)


async def test_the_next_agent_waits(site: LocalExecutor) -> None:
    """It is forked before its job comes, takes that alone, and one that was killed meanwhile is replaced."""
    await site.submit(launch([*COMMAND, "code", "0"]))
    await until(site, ended)
    server = server_of(site).pid
    for number in range(3):
        agents = eventually(lambda: [pid for pid in children(server) if children(pid)])
        (command,) = children(agents[0])
        assert not holds(command, b"job-1") and not holds(agents[0], b"job-1")
        if number == 1:
            os.kill(agents[0], signal.SIGKILL)
        job = f"next{number}"
        await site.submit(launch([*COMMAND, "wait", "done"], job_id=job, results=(RESULT,)))
        await until(site, running, job_id=job)
        agent = layout.agent_pid(str(folder_of(site, f"{job}-1")))
        assert (agent == agents[0], pid_of(site, f"{job}-1") == command) == (number != 1, number != 1)
        (folder_of(site, f"{job}-1") / "input/on").touch()
        await until(site, ended, job_id=job)


async def test_servers_end_with_the_site(tmp_path: Path, depot: Depot) -> None:
    """Jobs outlive them."""
    first = LocalExecutor("local", tmp_path / "work", depot, capacity=1, preloaded=(MODULE,))
    await first.start()
    await first.submit(launch([*COMMAND, "wait", "done"]))
    await until(first, running)
    server = server_of(first).pid
    eventually(lambda: len(children(server)) == 2)  # the job's agent, and the next one
    waiting = set(children(server)) - {layout.agent_pid(str(folder_of(first)))}
    await first.stop()
    eventually(lambda: not waiting & set(map(int, filter(str.isdigit, os.listdir("/proc")))))
    assert server is not None and server not in map(int, filter(str.isdigit, os.listdir("/proc")))
    second = LocalExecutor("local", tmp_path / "work", depot, capacity=1, preloaded=(MODULE,))
    await second.start()
    try:
        observation = await look(second)
        assert observation is not None and observation.seen is Seen.RUNNING
        (folder_of(second) / "input/on").touch()
        assert (await until(second, ended)).seen is Seen.SUCCEEDED
        await second.forget("job", 1)
    finally:
        await second.stop()


@pytest.mark.parametrize(
    ("command", "environment", "module"),
    [
        (["python", "-m", "a.b", "x"], {"UWS_JOB_ID": "1"}, "a.b"),
        (["python", "-m", "a.c"], {}, ""),
        (["python3", "-m", "a.b"], {}, ""),
        (["/usr/bin/python", "-m", "a.b"], {}, ""),
        (["python", "-m"], {}, ""),
        (["python", "-m", "a.b"], {"PATH": "/tmp"}, ""),
        (["python", "-m", "a.b"], {"PYTHONPATH": "/tmp"}, ""),
        (["python", "-m", "a.b"], {"LD_PRELOAD": "/tmp/x.so"}, ""),
        (["python", "-m", "a.b"], {"LC_ALL": "C"}, ""),
    ],
)
async def test_which_commands_are_forked(command: list[str], environment: dict[str, str], module: str) -> None:
    """A command is forked only where it would be the same program with the same packages."""
    assert module_of(launch(command, environment=environment), ("a.b",)) == module

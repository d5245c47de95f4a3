"""Limits that commands try to leave.

Files without names, shared memory, many processes, a daemon without an agent.
"""

from __future__ import annotations

import os
import stat
import time
import uuid
from pathlib import Path

import pytest

from tests.server import Server
from tests.service.client import Uws
from tests.sites.local.agents import MiB, Work, alive, eventually, python
from tests.sites.local.launches import RESULT, ended, folder_of, launch, running, until
from tests.tiers import require_cgroup
from uws_service.depot import Depot
from uws_service.domain.attempt import Reason
from uws_service.sites.local.cgroups import Cgroups, prepare
from uws_service.sites.local.executor import LocalExecutor

HIDDEN = """
import os, sys, time
file = open(sys.argv[1], "wb")
if sys.argv[2:]: os.unlink(sys.argv[1])
for n in range(50):
    file.write(bytes(1 << 20)); file.flush(); time.sleep(0.02)
time.sleep(60)
"""


@pytest.mark.parametrize("location", ["scratch, unlinked", "tmp, unlinked", "shared memory", "shared memory, unlinked"])
def test_files_that_no_folder_shows(tmp_path: Path, location: str) -> None:
    """Open files without a name count.

    So do those in shared memory.
    """
    folder = {"scratch": "", "tmp": f"{tmp_path}/", "shared memory": "/dev/shm/"}[location.partition(",")[0]]
    path = f"{folder}hidden-{uuid.uuid4().hex}"
    command = [*python(HIDDEN), path, *(["unlink"] if "unlinked" in location else [])]
    try:
        status = Work(tmp_path / "w", command, disk=5 * MiB, max_output=100 * MiB).run()
    finally:
        Path(path).unlink(missing_ok=True)
    assert (status["state"], status["reason"]) == ("FAILED", "OutputTooLarge")
    assert "without a name" in status["message"]


def test_many_processes(tmp_path: Path) -> None:
    """Too many processes end the command.

    All of them count, however they were started.
    """
    mark = uuid.uuid4().hex
    code = """
import os, time
for n in range(1500):
    if os.fork() == 0:
        os.setsid(); time.sleep(300)
time.sleep(300)
"""
    status = Work(tmp_path / "w", [*python(code), mark], processes=100).run(60)
    assert (status["state"], status["reason"]) == ("FAILED", "TooManyProcesses")
    assert "100 processes" in status["message"] and not alive(mark)


KILLER = """
import os, signal, sys, time
agent = os.getppid()
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    os.chdir("/")
    if sys.argv[2:]:  # without anything that tells where it comes from
        code = f"import os, time; os.kill({agent}, 9); time.sleep(300)"
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code, sys.argv[1]], {})
    os.kill(agent, signal.SIGKILL)
    time.sleep(300)
time.sleep(300)
"""


@pytest.mark.anyio
async def test_a_daemon_that_kills_its_agent(executor: LocalExecutor) -> None:
    """It does not outlive the attempt.

    Nothing in it names the attempt.
    """
    require_cgroup()
    assert executor.groups.top is not None
    mark = uuid.uuid4().hex
    await executor.submit(launch([*python(KILLER), mark, "clean"]))
    observation = await until(executor, ended)
    assert observation.reason is Reason.AGENT_LOST
    eventually(lambda: not alive(mark))
    assert (executor.groups.top / "job-1").exists()
    await executor.forget("job", 1)
    assert not (executor.groups.top / "job-1").exists()


@pytest.mark.anyio
async def test_every_process_is_in_the_cgroup(executor: LocalExecutor) -> None:
    """The command and all that it forks.

    Its agent and the service are not.
    """
    require_cgroup()
    await executor.submit(launch(["sh", "-c", "sleep 300 & setsid sleep 300 & exec sleep 300"]))
    await until(executor, running)
    assert executor.groups.top is not None
    procs = executor.groups.top / "job-1" / "cgroup.procs"
    eventually(lambda: len(procs.read_text().split()) >= 3)
    assert os.getpid() not in map(int, procs.read_text().split())
    await executor.kill("job", 1)
    await until(executor, ended)
    assert procs.read_text() == ""


@pytest.mark.anyio
async def test_the_kernel_counts(executor: LocalExecutor) -> None:
    """Where the controllers are there.

    No more tasks than allowed, and files in shared memory are memory.
    """
    require_cgroup("pids", "memory")
    code = """
import os, time
with open("/dev/shm/uws-test-limit", "wb") as file:
    os.unlink(file.name)
    for n in range(400): file.write(bytes(1 << 20))
time.sleep(60)
"""
    await executor.submit(launch(python(code), memory=64 * MiB))
    assert (await until(executor, ended)).reason is Reason.OUT_OF_MEMORY
    assert executor.groups.top is not None
    assert (executor.groups.top / "job-1" / "pids.max").read_text().strip() == "4000"


def test_what_is_lacking_is_listed(tmp_path: Path) -> None:
    """The log names limits that are only looked at.

    So it is without cgroups.
    """
    words = Cgroups(None).lacking
    assert len(words) == 3 and any("/dev/shm" in word for word in words)
    assert not Cgroups(tmp_path, frozenset({"pids", "memory"})).lacking
    assert Cgroups(None).make("x", processes=1, memory=1) is None
    groups = prepare(tmp_path)
    if groups.top is not None:
        groups.top.rmdir()


# -- rights of what is written -------------------------------------------------------------------------------------

SETUID = """
name: setuid
title: t
description: d
command: [sh, -c, "cd $UWS_OUTPUT_DIR; cp /bin/true r; chmod 6755 r; umask 0; echo x > $UWS_OUTPUT_DIR/other"]
results:
  - {id: result, path: r, media_type: application/octet-stream}
"""


def test_nothing_is_open_to_others(tmp_path: Path) -> None:
    """All folders are the service's alone.

    Data, database, depot and work folders, also in a folder that was there; no setuid.
    """
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data").chmod(0o755)
    (tmp_path / "setuid.yaml").write_text(SETUID)
    before = os.umask(0o022)
    server = Server(
        tmp_path,
        {"UWS_APPLICATIONS": f'["{tmp_path / "setuid.yaml"}"]', "UWS_BUILTIN_APPLICATIONS": "false"},
    )
    try:
        server.start()
        with Uws(server.url, "setuid") as uws:
            job = uws.create({"PHASE": "RUN"}, files={"f": ("f", b"upload")})
            end = time.monotonic() + 60
            while uws.get(f"{job}/phase").text != "COMPLETED":
                assert time.monotonic() < end, uws.get(job).text
                time.sleep(0.1)
            entries = {
                path: path.lstat().st_mode
                for path in (tmp_path / "data").rglob("*")
                if "output" not in path.parts  # the command's own, in a folder that nobody else can enter
            }
            stored = [path for path in entries if path.name == "result"]
            assert len(stored) == 1 and stored[0].read_bytes() == Path("/bin/true").read_bytes()
            for path, mode in {**entries, tmp_path / "data": (tmp_path / "data").stat().st_mode}.items():
                assert not mode & (stat.S_ISUID | stat.S_ISGID), path
                assert not mode & 0o077, (path, oct(mode))
    finally:
        os.umask(before)
        server.stop()
    lacking = prepare(tmp_path)
    if lacking.top is not None:
        lacking.top.rmdir()
    assert ("can leave some of their limits" in server.log.read_text()) == bool(lacking.lacking)
    assert "was open to others" in server.log.read_text()


@pytest.mark.anyio
async def test_a_result_has_no_rights_of_its_own(executor: LocalExecutor, depot: Depot) -> None:
    """A file's rights do not come along."""
    script = "echo data > $UWS_OUTPUT_DIR/r; chmod 6777 $UWS_OUTPUT_DIR/r"
    await executor.submit(launch(["sh", "-c", script], results=(RESULT,)))
    observation = await until(executor, ended)
    assert (folder_of(executor) / "output" / "r").stat().st_mode & stat.S_ISUID
    await executor.collect(observation)
    assert depot.folder is not None
    mode = (depot.folder / "jobs/job/results/result").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)

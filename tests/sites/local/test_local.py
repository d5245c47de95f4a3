"""The site that is this machine.

An attempt's life from submission to collection, with a real agent and depot.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from tests.sites.local.agents import eventually, python
from tests.sites.local.launches import RESULT, chunks, ended, folder_of, launch, look, running, until
from uws_service.agent import folder as layout
from uws_service.depot import Depot
from uws_service.domain.attempt import ExpectedResult, Input, Reason, Seen
from uws_service.sites.executor import Executor
from uws_service.sites.local.executor import LocalExecutor

pytestmark = pytest.mark.anyio


# -- an attempt's life ---------------------------------------------------------------------------------------------


async def test_from_submit_to_forget(executor: LocalExecutor, depot: Depot, tmp_path: Path) -> None:
    """U-081, U-124.

    An upload goes in, a result and both logs come out, and nothing is left.
    """
    site: Executor = executor  # the interface that the controller knows
    await depot.put("jobs/job/uploads/t", chunks(b"table"), max_size=100)
    script = 'cat "$1" $UWS_INPUT_DIR/parameters.json > $UWS_OUTPUT_DIR/r; echo said; echo wrong >&2'
    plan = launch(
        ["sh", "-c", script, "sh", "${UWS_INPUT_DIR}/uploads/t"],
        inputs=(Input("t", "uploads/t", depot_key="jobs/job/uploads/t", max_size=100),),
        parameters='{"A": "1"}',
        results=(RESULT,),
    )
    await site.submit(plan)
    observation = await until(executor, ended)
    assert (observation.seen, observation.exit_code, observation.reason) == (Seen.SUCCEEDED, 0, None)
    assert observation.usage.bytes_in == len(b'table{"A": "1"}')
    for _ in range(2):  # U-105 needs it to be repeatable: the service may be killed after the first time
        results, logs, *_ = await executor.collect(observation)
        assert [(result.id, result.key, result.size) for result in results] == [
            ("result", "jobs/job/results/result", 15)
        ]
        assert results[0].sha256 == hashlib.sha256(b'table{"A": "1"}').hexdigest()
        assert [(result.id, result.key, result.size) for result in logs] == [
            ("stdout", "jobs/job/logs/stdout", 5),
            ("stderr", "jobs/job/logs/stderr", 6),
        ]
    await depot.get_file("jobs/job/results/result", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b'table{"A": "1"}'
    for _ in range(2):
        await site.forget("job", 1)
    assert await site.observe() == []
    assert not [path for path in executor.work.rglob("*") if "job-1" in path.name]


async def test_submit_twice(executor: LocalExecutor) -> None:
    """The same attempt again changes nothing.

    Not at once, not while it runs, not after its end.
    """
    plan = launch(["sh", "-c", "echo ran; sleep 0.2"])
    await asyncio.gather(*(executor.submit(plan) for _ in range(3)))
    await until(executor, running)
    await executor.submit(plan)
    await until(executor, ended)
    await executor.submit(plan)
    assert [observation.seen for observation in await executor.observe()] == [Seen.SUCCEEDED]
    assert await executor.read_log("job", 1, "stdout") == b"ran\n"


async def test_an_attempt_is_seen_from_its_submission_on(executor: LocalExecutor) -> None:
    """A submitted attempt never looks lost."""
    await executor.submit(launch(["sleep", "0.3"]))
    kinds: list[Seen] = []
    while not kinds or kinds[-1] is not Seen.SUCCEEDED:
        observation = await look(executor)
        assert observation is not None
        kinds.append(observation.seen)
    order = [Seen.STARTING, Seen.RUNNING, Seen.SUCCEEDED]
    assert kinds == sorted(kinds, key=order.index) and set(kinds) == set(order)


async def test_the_environment_of_the_service_is_secret(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's environment stays its own.

    A secret in it is neither in the job's nor in its agent's.
    """
    monkeypatch.setenv("UWS_SECRET", "hush")
    os.environ["AWS_SECRET_ACCESS_KEY"] = "hush"
    await executor.submit(launch(["sh", "-c", "env; tr '\\0' '\\n' < /proc/$PPID/environ; python -c pass"]))
    observation = await until(executor, ended)
    del os.environ["AWS_SECRET_ACCESS_KEY"]
    log = await executor.read_log("job", 1, "stdout")
    assert observation.exit_code == 0 and log is not None and b"UWS_JOB_ID=job" in log
    assert b"hush" not in log


async def test_commands_find_the_applications_that_ship(executor: LocalExecutor) -> None:
    """``python`` is the service's own.

    It imports its package, installed or not.
    """
    await executor.submit(launch(["python", "-c", "import sys, uws_service; print(sys.prefix)"]))
    assert (await until(executor, ended)).exit_code == 0
    assert await executor.read_log("job", 1, "stdout") == f"{sys.prefix}\n".encode()


async def test_a_log_while_the_command_runs(executor: LocalExecutor) -> None:
    """The end of the log can be read at once.

    At most 1 MiB of it; other names give nothing.
    """
    await executor.submit(launch(["sh", "-c", "seq 300000; echo end; sleep 60"]))
    await until(executor, running)
    log = b""
    end = time.monotonic() + 180
    while not log.endswith(b"end\n") and time.monotonic() < end:
        log = await executor.read_log("job", 1, "stdout") or b""
    assert log.endswith(b"\n300000\nend\n") and len(log) == 1024 * 1024
    assert await executor.read_log("job", 1, "../status.json") is None
    assert await executor.read_log("job", 2, "stdout") is None


async def test_progress_comes_with_a_bell(executor: LocalExecutor) -> None:
    """U-087: progress is seen without polling."""
    await executor.submit(launch(["sh", "-c", "sleep 0.3; echo '0.5 half' >> $UWS_PROGRESS_FILE; sleep 600"]))
    await until(executor, running)
    began = time.monotonic()
    await executor.wait_change(120)
    observation = await look(executor)
    assert time.monotonic() - began < 60
    assert observation is not None and (observation.progress, observation.progress_text) == (0.5, "half")


async def test_waiting_when_nothing_changes(executor: LocalExecutor) -> None:
    """`wait_change` without news takes its time.

    With news that nobody looked at it returns at once.
    """
    await executor.submit(launch(["sleep", "60"]))
    await until(executor, running)
    began = time.monotonic()
    await executor.wait_change(0.3)
    assert time.monotonic() - began >= 0.29
    await executor.kill("job", 1)
    await executor.wait_change(120)
    began = time.monotonic()
    await executor.wait_change(120)
    assert time.monotonic() - began < 60


# -- collect -------------------------------------------------------------------------------------------------------


async def test_a_second_name_for_a_file_does_not_reach_the_depot(executor: LocalExecutor, tmp_path: Path) -> None:
    """A hard link can't change a stored result."""
    keep = tmp_path / "kept"
    await executor.submit(
        launch(["sh", "-c", f"echo data > $UWS_OUTPUT_DIR/r; ln $UWS_OUTPUT_DIR/r {keep}"], results=(RESULT,))
    )
    observation = await until(executor, ended)
    results, *_ = await executor.collect(observation)
    keep.write_text("changed")
    await executor.depot.get_file(results[0].key, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "data\n"


async def test_names_of_any_kind(executor: LocalExecutor) -> None:
    """Names that are long, alike but for their middle, or not UTF-8 can't keep an attempt from its end."""
    code = (
        "import os; os.chdir(os.environ['UWS_OUTPUT_DIR'])\n"
        "long = (b'n' * 255, b'm' * 250 + b'.fits', b'm' * 240 + b'x.fits')\n"
        "for name in (*long, b'\\xff\\xfe.txt', b'a\\n\"b', b'..x'):\n"
        "    open(name, 'wb').write(name[:1])"
    )
    await executor.submit(launch(python(code), results=(ExpectedResult("all", "*", "text/plain"),)))
    observation = await until(executor, ended)
    collected = await executor.collect(observation)
    assert not collected.problem
    assert len({stored.id for stored in collected.results}) == 5  # a pattern leaves out names with a dot before them
    for stored in collected.results:
        assert len(stored.id) < 220 and await executor.depot.head(stored.key) is not None
    assert any(stored.id.endswith(".fits") for stored in collected.results)


async def test_a_result_that_vanished(executor: LocalExecutor) -> None:
    """What can't be collected is an error.

    It is no result that nobody can read.
    """
    await executor.submit(launch(["sh", "-c", "echo data > $UWS_OUTPUT_DIR/r"], results=(RESULT,)))
    observation = await until(executor, ended)
    (folder_of(executor) / "output/r").unlink()
    collected = await executor.collect(observation)
    assert not collected.results and "no longer" in collected.problem and len(collected.logs) == 2


async def test_a_status_that_makes_no_sense(executor: LocalExecutor) -> None:
    """A broken status file does not stop the site.

    A job may write over it, or the machine may crash.
    """
    await executor.submit(launch(["true"]))
    await until(executor, ended)
    eventually(lambda: layout.agent_pid(str(folder_of(executor))) is None)
    for text in ("", "[]", '{"state": "FAILED", "usage": 3}', '{"state": "FAILED", "outputs": [{"id": 1}]}'):
        (folder_of(executor) / layout.STATUS).write_text(text)
        observation = await look(executor)
        assert observation is not None and (observation.seen, observation.reason) == (Seen.FAILED, Reason.AGENT_LOST)


async def test_a_status_that_points_elsewhere(executor: LocalExecutor, tmp_path: Path) -> None:
    """No file from elsewhere gets into the depot.

    It does not matter what the status file claims.
    """
    (tmp_path / "secret").write_text("hush\n")  # as long as the real one
    await executor.submit(launch(["sh", "-c", "echo data > $UWS_OUTPUT_DIR/r"], results=(RESULT,)))
    observation = await until(executor, ended)
    path = folder_of(executor) / layout.STATUS
    path.write_text(path.read_text().replace("output/r", "output/../../../secret"))
    observation = await until(executor, ended)
    collected = await executor.collect(observation)
    assert not collected.results and "not what the agent saw" in collected.problem

"""The site that is this machine: an attempt's life from submission to collection, with a real agent and depot."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from tests.executors.agents import eventually
from tests.executors.launches import RESULT, chunks, ended, folder_of, launch, look, running, until
from uws_service.agent import folder as layout
from uws_service.attempt import Input, Reason, Seen
from uws_service.depot import Depot
from uws_service.errors import NotFound
from uws_service.executors.base import Executor
from uws_service.executors.local import LocalExecutor

pytestmark = pytest.mark.anyio


# -- an attempt's life ---------------------------------------------------------------------------------------------


async def test_from_submit_to_forget(executor: LocalExecutor, depot: Depot, tmp_path: Path) -> None:
    """U-081, U-124: an upload goes in, a result and both logs come out, and nothing is left."""
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
    seen = await until(executor, ended)
    assert (seen.seen, seen.exit_code, seen.reason) == (Seen.SUCCEEDED, 0, None)
    assert seen.usage.bytes_in == len(b'table{"A": "1"}')
    for _ in range(2):  # U-105 needs it to be repeatable: the service may be killed after the first time
        results, logs, _ = await site.collect(seen)
        assert [(one.id, one.key, one.size) for one in results] == [("result", "jobs/job/results/result", 15)]
        assert results[0].sha256 == hashlib.sha256(b'table{"A": "1"}').hexdigest()
        assert [(one.id, one.key, one.size) for one in logs] == [
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
    """The same attempt again changes nothing, not at once, not while it runs, not after its end."""
    plan = launch(["sh", "-c", "echo ran; sleep 0.2"])
    await asyncio.gather(*(executor.submit(plan) for _ in range(3)))
    await until(executor, running)
    await executor.submit(plan)
    await until(executor, ended)
    await executor.submit(plan)
    assert [one.seen for one in await executor.observe()] == [Seen.SUCCEEDED]
    assert await executor.read_log("job", 1, "stdout") == b"ran\n"


async def test_an_attempt_is_seen_from_its_submission_on(executor: LocalExecutor) -> None:
    """There is no moment in which a submitted attempt looks lost, up to its end."""
    await executor.submit(launch(["sleep", "0.3"]))
    kinds: list[Seen] = []
    while not kinds or kinds[-1] is not Seen.SUCCEEDED:
        seen = await look(executor)
        assert seen is not None
        kinds.append(seen.seen)
    order = [Seen.STARTING, Seen.RUNNING, Seen.SUCCEEDED]
    assert kinds == sorted(kinds, key=order.index) and set(kinds) == set(order)


async def test_the_environment_of_the_service_is_secret(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret in the service's environment is neither in the job's nor in its agent's."""
    monkeypatch.setenv("UWS_SECRET", "hush")
    os.environ["AWS_SECRET_ACCESS_KEY"] = "hush"
    await executor.submit(launch(["sh", "-c", "env; tr '\\0' '\\n' < /proc/$PPID/environ; python -c pass"]))
    seen = await until(executor, ended)
    del os.environ["AWS_SECRET_ACCESS_KEY"]
    said = await executor.read_log("job", 1, "stdout")
    assert seen.exit_code == 0 and said is not None and b"UWS_JOB_ID=job" in said
    assert b"hush" not in said


async def test_commands_find_the_applications_that_ship(executor: LocalExecutor) -> None:
    """``python`` is the service's own, and imports its package, installed or not."""
    await executor.submit(launch(["python", "-c", "import sys, uws_service; print(sys.prefix)"]))
    assert (await until(executor, ended)).exit_code == 0
    assert await executor.read_log("job", 1, "stdout") == f"{sys.prefix}\n".encode()


async def test_a_log_while_the_command_runs(executor: LocalExecutor) -> None:
    """The end of the log can be read at once, at most 1 MiB; other names give nothing."""
    await executor.submit(launch(["sh", "-c", "seq 300000; echo end; sleep 60"]))
    await until(executor, running)
    said = b""
    end = time.monotonic() + 10
    while not said.endswith(b"end\n") and time.monotonic() < end:
        said = await executor.read_log("job", 1, "stdout") or b""
    assert said.endswith(b"\n300000\nend\n") and len(said) == 1024 * 1024
    assert await executor.read_log("job", 1, "../status.json") is None
    assert await executor.read_log("job", 2, "stdout") is None


async def test_progress_comes_with_a_bell(executor: LocalExecutor) -> None:
    """U-087: progress is seen while the command runs, without polling."""
    await executor.submit(launch(["sh", "-c", "sleep 0.3; echo '0.5 half' >> $UWS_PROGRESS_FILE; sleep 60"]))
    await until(executor, running)
    began = time.monotonic()
    await executor.wait_change(10)
    seen = await look(executor)
    assert time.monotonic() - began < 5
    assert seen is not None and (seen.progress, seen.progress_text) == (0.5, "half")


async def test_waiting_when_nothing_changes(executor: LocalExecutor) -> None:
    """`wait_change` without news takes its time; with news that nobody looked at it returns at once."""
    await executor.submit(launch(["sleep", "60"]))
    await until(executor, running)
    began = time.monotonic()
    await executor.wait_change(0.3)
    assert time.monotonic() - began >= 0.29
    await executor.kill("job", 1)
    await executor.wait_change(20)
    began = time.monotonic()
    await executor.wait_change(20)
    assert time.monotonic() - began < 1


<<<<<<< HEAD
# -- what goes wrong before the command ---------------------------------------------------------------------------


async def test_an_input_that_is_not_in_the_depot(executor: LocalExecutor) -> None:
    """The attempt fails with StageIn and names the parameter."""
    await executor.submit(launch(["true"], inputs=(Input("TABLE", "files/TABLE", depot_key="jobs/job/uploads/x"),)))
    seen = await until(executor, ended)
    assert (seen.seen, seen.reason) == (Seen.FAILED, Reason.STAGE_IN)
    assert seen.message.startswith("TABLE: ")


@pytest.mark.parametrize("path", ["../x", "/etc/x", "uploads/../../x", "."])
async def test_an_input_path_that_leaves_the_folder(executor: LocalExecutor, path: str) -> None:
    """No name of an upload can write outside of the input folder."""
    await executor.submit(launch(["true"], inputs=(Input("T", path, depot_key="jobs/job/uploads/x"),)))
    seen = await until(executor, ended)
    assert seen.reason is Reason.STAGE_IN and "leaves the input folder" in seen.message


async def test_a_python_that_does_not_run(depot: Depot, tmp_path: Path) -> None:
    """The attempt is lost with the reason, instead of being started for ever."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no Python today >&2; exit 1\n")
    broken.chmod(0o755)
    executor = LocalExecutor("local", tmp_path / "work", depot, capacity=1, python=str(broken))
    await executor.start()
    try:
        await executor.submit(launch(["true"]))
        seen = await until(executor, ended)
        assert seen.reason is Reason.AGENT_LOST and "no Python today" in seen.message
    finally:
        await executor.stop()


# -- stage-in from the network ------------------------------------------------------------------------------------


@pytest.fixture
def silent_server() -> Iterator[tuple[str, socket.socket]]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/table", server


async def test_abort_during_stage_in(executor: LocalExecutor, silent_server: tuple[str, socket.socket]) -> None:
    """U-108: a job whose inputs are still on their way can be aborted, at once."""
    url, server = silent_server
    await executor.submit(launch(["true"], inputs=(Input("t", "uploads/t", url=url, max_size=100),)))
    connection, _ = await asyncio.to_thread(server.accept)
    with connection:
        seen = await look(executor)
        assert seen is not None and seen.seen is Seen.STARTING and seen.started is None
        began = time.monotonic()
        await executor.kill("job", 1)
        seen = await until(executor, ended)
        assert seen.reason is Reason.ABORTED and seen.started is None
        assert time.monotonic() - began < 5


async def test_a_url_that_cannot_be_fetched(executor: LocalExecutor) -> None:
    """The attempt fails with StageIn and names the parameter."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/gone"
    await executor.submit(launch(["true"], inputs=(Input("t", "uploads/t", url=url, max_size=100),)))
    seen = await until(executor, ended)
    assert (seen.reason, seen.message[:3]) == (Reason.STAGE_IN, "t: ")


async def test_a_private_address_is_not_fetched(
    depot: Depot, tmp_path: Path, silent_server: tuple[str, socket.socket]
) -> None:
    """The policy of the settings arrives at the agent: nobody connects."""
    url, server = silent_server
    executor = LocalExecutor("local", tmp_path / "work", depot, capacity=1)
    await executor.start()
    try:
        await executor.submit(launch(["true"], inputs=(Input("t", "uploads/t", url=url, max_size=100),)))
        assert (await until(executor, ended)).reason is Reason.STAGE_IN
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    finally:
        await executor.stop()


# -- stop ---------------------------------------------------------------------------------------------------------


async def test_kill_right_after_submit(executor: LocalExecutor) -> None:
    """U-108: however early the abort comes, the command does not run afterwards."""
    for number in range(1, 6):
        await executor.submit(launch(["sh", "-c", "sleep 60"], number=number))
        await asyncio.sleep(0.01 * (number - 1))
        await executor.kill("job", number)
    end = time.monotonic() + 20
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


# -- agents and services that die ---------------------------------------------------------------------------------


async def test_an_agent_that_is_killed(executor: LocalExecutor) -> None:
    """AgentLost is told at once, and stays the same; the command is dead, with all that it forked; logs are kept."""
    mark = uuid.uuid4().hex
    await executor.submit(launch(["sh", "-c", 'echo before; exec "$@"', "sh", *python(ESCAPE), mark]))
    await until(executor, running)
    eventually(lambda: (folder_of(executor) / "output/ready").exists() and len(alive(mark)) == 2)
    await executor.observe()
    agent = layout.agent_pid(str(folder_of(executor)))
    assert agent is not None
    os.kill(agent, signal.SIGKILL)
    began = time.monotonic()
    await executor.wait_change(20)
    assert time.monotonic() - began < 5
    seen = await until(executor, ended)
    assert (seen.seen, seen.reason) == (Seen.FAILED, Reason.AGENT_LOST) and seen.started is not None
    assert not alive(mark)
    assert await look(executor) == seen
    _, logs, _ = await executor.collect(seen)
    assert [(one.id, one.size) for one in logs] == [("stdout", 7), ("stderr", 0)]


async def test_jobs_outlive_the_service(depot: Depot, tmp_path: Path) -> None:
    """A service that ends leaves its jobs running; the next one finds them and hears of their end."""
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
        await second.wait_change(20)
        seen = await until(second, ended)
        assert time.monotonic() - began < 5
        assert seen.seen is Seen.SUCCEEDED
        assert await second.read_log("job", 1, "stdout") == b"ran\n"
        await second.forget("job", 1)
    finally:
        await second.stop()


async def test_an_adopted_agent_that_is_killed(depot: Depot, tmp_path: Path) -> None:
    """The next service hears at once of the death of an agent that it did not start; it has a session of its own."""
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
        await second.wait_change(20)
        assert time.monotonic() - began < 5
        assert (await until(second, ended)).reason is Reason.AGENT_LOST
    finally:
        await second.stop()


@pytest.mark.parametrize("placed", [False, True])
async def test_a_service_killed_before_it_started_the_agent(executor: LocalExecutor, placed: bool) -> None:
    """A folder that nobody took is not shown; submitting again makes it run, once."""
    plan = launch(["sh", "-c", "cat $UWS_INPUT_DIR/* ; echo ran"])
    if placed:
        await place(folder_of(executor), plan, executor.depot, executor.surroundings)
    else:
        (folder_of(executor) / "input").mkdir(parents=True)
    (folder_of(executor) / "input/before").write_text("before ")
    assert await executor.observe() == []
    await executor.submit(plan)
    seen = await until(executor, ended)
    assert seen.seen is Seen.SUCCEEDED
    # What was complete is left alone, since an agent may be starting in it; what was not is made anew.
    assert await executor.read_log("job", 1, "stdout") == (b"before {}ran\n" if placed else b"{}ran\n")


@pytest.mark.parametrize("step", ["kill", "forget"])
async def test_an_unwanted_attempt_that_never_started(executor: LocalExecutor, step: str) -> None:
    """Stopped or forgotten before an agent took it: one that starts late does not run the command."""
    plan = launch(["sh", "-c", "echo ran"])
    await place(folder_of(executor), plan, executor.depot, executor.surroundings)
    if step == "kill":
        await executor.kill("job", 1)
        seen = await look(executor)
        assert seen is not None and seen.reason is Reason.ABORTED
    else:
        await executor.forget("job", 1)
        assert not folder_of(executor).exists()
    agent = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", str(local.AGENT), str(folder_of(executor)))
    assert await asyncio.wait_for(agent.wait(), 20) == 0
    assert not await executor.read_log("job", 1, "stdout")


async def test_one_service_for_each_work_folder(
    executor: LocalExecutor, depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one says clearly why it can't start."""
    monkeypatch.setattr(local, "LOCK_WAIT", 0.2)
    other = LocalExecutor("local", executor.work, depot, capacity=1)
    with pytest.raises(ConfigurationError, match="Another process runs jobs"):
        await other.start()


async def test_a_work_folder_behind_a_link(depot: Depot, tmp_path: Path) -> None:
    """Results are found inside the folder whatever name it goes by."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    executor = LocalExecutor("local", tmp_path / "link" / "work", depot, capacity=1)
    await executor.start()
    try:
        await executor.submit(launch(["sh", "-c", "echo data > $UWS_OUTPUT_DIR/r"], results=(RESULT,)))
        results, *_ = await executor.collect(await until(executor, ended))
        assert [one.size for one in results] == [5]
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
from tests.executors.launches import RESULT, launch
from uws_service.depot import Depot
from uws_service.executors.local import LocalExecutor

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
    """Start a service and kill it soon after, so many times."""
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
            said = service.stdout.readline()
            time.sleep(moments.uniform(0, 0.2))  # the random moment is what is tested
            service.kill()
            assert said == b"up\n"


async def test_kill_the_service_at_random_moments(depot: Depot, tmp_path: Path) -> None:
    """U-105, U-106: ``kill -9`` again and again, each new service submits all again: every command runs just once."""
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
            seen = await until(executor, ended, job_id=name)
            assert seen.seen is Seen.SUCCEEDED, seen
            await executor.collect(seen)
            await executor.forget(name, 1)
        assert Counter(ledger.read_text().split()) == Counter(names)
    finally:
        await executor.stop()


# -- collect ------------------------------------------------------------------------------------------------------
=======
# -- collect -------------------------------------------------------------------------------------------------------
>>>>>>> c1534471fbf13532b9744c789a139383255dcf57


async def test_a_second_name_for_a_file_does_not_reach_the_depot(executor: LocalExecutor, tmp_path: Path) -> None:
    """Whoever keeps a hard link to a result can't change it in the depot."""
    keep = tmp_path / "kept"
    await executor.submit(
        launch(["sh", "-c", f"echo data > $UWS_OUTPUT_DIR/r; ln $UWS_OUTPUT_DIR/r {keep}"], results=(RESULT,))
    )
    seen = await until(executor, ended)
    results, *_ = await executor.collect(seen)
    keep.write_text("changed")
    await executor.depot.get_file(results[0].key, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "data\n"


async def test_a_result_that_vanished(executor: LocalExecutor) -> None:
    """What can't be collected is an error, not a result that nobody can read."""
    await executor.submit(launch(["sh", "-c", "echo data > $UWS_OUTPUT_DIR/r"], results=(RESULT,)))
    seen = await until(executor, ended)
    (folder_of(executor) / "output/r").unlink()
    with pytest.raises(NotFound, match="no longer"):
        await executor.collect(seen)


async def test_a_status_that_makes_no_sense(executor: LocalExecutor) -> None:
    """A job that writes over its status file, or a machine that crashed, does not stop the site."""
    await executor.submit(launch(["true"]))
    await until(executor, ended)
    eventually(lambda: layout.agent_pid(str(folder_of(executor))) is None)
    for text in ("", "[]", '{"state": "FAILED", "usage": 3}', '{"state": "FAILED", "outputs": [{"id": 1}]}'):
        (folder_of(executor) / layout.STATUS).write_text(text)
        seen = await look(executor)
        assert seen is not None and (seen.seen, seen.reason) == (Seen.FAILED, Reason.AGENT_LOST)


async def test_a_status_that_points_elsewhere(executor: LocalExecutor, tmp_path: Path) -> None:
    """No file outside of the work folder gets into the depot, whatever the status file claims."""
    (tmp_path / "secret").write_text("hush\n")  # as long as the real one
    await executor.submit(launch(["sh", "-c", "echo data > $UWS_OUTPUT_DIR/r"], results=(RESULT,)))
    seen = await until(executor, ended)
    path = folder_of(executor) / layout.STATUS
    path.write_text(path.read_text().replace("output/r", "output/../../../secret"))
    seen = await until(executor, ended)
    with pytest.raises(NotFound):
        await executor.collect(seen)

"""The agent of batch systems against a real service.

It is the zipapp that nodes get, run by Python 3.9 where there is one.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agent.batch_service import BatchService, batch_service, end
from uws_service import agent
from uws_service.agent.upstream import Refused, SecretUpstream
from uws_service.agent.workplace import PREFIX, make_work_folder, remove_leftovers, remove_work_folder
from uws_service.domain.attempt import AttemptState, Reason, Report

pytestmark = pytest.mark.anyio


@pytest.fixture
async def batch(tmp_path: Path) -> AsyncIterator[BatchService]:
    async with batch_service(tmp_path) as service:
        yield service


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    end_of_patience = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end_of_patience
        await asyncio.sleep(0.05)


async def reported(batch: BatchService, job_id: str) -> Report:
    report = (await batch.attempt(job_id)).report
    assert report is not None and report.end is not None
    return report


def test_python_3_9_reads_every_line() -> None:
    """All files of the agent have the syntax of Python 3.9."""
    for path in Path(agent.__file__).parent.glob("*.py"):
        ast.parse(path.read_text(), str(path), feature_version=(3, 9))


async def test_from_the_claim_to_the_report(batch: BatchService) -> None:
    """Results, exit code, times, usage and both logs apart arrive; nothing is left on the node."""
    job = await batch.submit('echo out; echo err >&2; echo "$UWS_JOB_ID" > $UWS_OUTPUT_DIR/result')
    before = int(time.time() * 1000)
    code, output_text = await batch.run(job)
    assert code == 0, output_text
    report = await reported(batch, job)
    assert report.reason is None and report.end is not None and report.end.exit_code == 0
    assert before <= (report.end.started or 0) <= report.end.ended <= time.time() * 1000
    assert await batch.content(report.outputs) == {"result": f"{job}\n".encode()}
    assert await batch.content(report.end.logs) == {"stdout": b"out\n", "stderr": b"err\n"}
    assert (await batch.attempt(job)).usage.peak_memory > 0
    assert sorted(path.name for path in (batch.folder / "node-1").iterdir()) == ["agent.pyz"]


@pytest.mark.parametrize(
    ("script", "reason", "exit_code", "words"),
    [
        ("echo reason >&2; exit 3", Reason.EXIT_CODE, 3, "exit code 3: reason"),
        ("kill -9 $$", Reason.EXIT_CODE, 137, "SIGKILL"),
        ("yes x | head -c 3000000 > $UWS_OUTPUT_DIR/result; sleep 60", Reason.OUTPUT_TOO_LARGE, None, "larger than"),
        ("x=$(head -c 300000000 /dev/zero | tr '\\0' x); sleep 60", Reason.OUT_OF_MEMORY, None, "bytes of memory"),
        ("sleep 60", Reason.DEADLINE, None, "limit of 10 s"),
    ],
    ids=["exit-code", "signal", "output", "memory", "deadline"],
)
async def test_bad_ends(batch: BatchService, script: str, reason: Reason, exit_code: int | None, words: str) -> None:
    """Each end of a command is told by its reason, with the exit code where it has one."""
    job = await batch.submit(script)
    code, output_text = await batch.run(job)
    report = await reported(batch, job)
    assert code == 0 and report.reason is reason and words in report.message, (output_text, report)
    assert report.end is not None and (exit_code is None or report.end.exit_code == exit_code)


async def test_no_such_program(batch: BatchService) -> None:
    """A command that the node does not have could not be started; a site may give its own program for a word."""
    job = await batch.submit("echo never")
    await batch.run(job, commands={"sh": "/nowhere/sh"})
    report = await reported(batch, job)
    assert report.reason is Reason.COMMAND and "/nowhere/sh" in report.message
    assert report.end is not None and report.end.started is None and report.end.exit_code is None


async def test_an_error_file_is_handed_on(batch: BatchService) -> None:
    """What the command itself says went wrong is in the report."""
    text = json.dumps({"type": "UsageError", "message": "POS: no such place"})
    job = await batch.submit(f"printf '%s' '{text}' > $UWS_OUTPUT_DIR/error.json; exit 1")
    await batch.run(job)
    report = await reported(batch, job)
    assert report.end is not None and report.end.error is not None
    assert report.end.error.message == "POS: no such place"


async def test_a_stopped_command_leaves_what_was_complete(batch: BatchService) -> None:
    """SIGTERM ends the command; results that were closed are handed over, those being written are not."""
    script = (
        "echo done > $UWS_OUTPUT_DIR/early; exec 3> $UWS_OUTPUT_DIR/result; echo half >&3; touch ../begun; sleep 60"
    )
    job = await batch.submit(script)
    process = batch.start(job)
    node = batch.folder / "node-1"
    await until(lambda: _is_true(any(node.glob(f"{PREFIX}*/begun"))))
    code, output_text = await end(process)
    report = await reported(batch, job)
    assert code == 0 and report.reason is Reason.ABORTED, output_text
    assert await batch.content(report.outputs) == {"early": b"done\n"}


async def _is_true(value: bool) -> bool:
    return value


async def test_the_command_finds_no_secret(batch: BatchService) -> None:
    """Neither the ticket nor the token is in a file, an environment or the agent's memory that the command may read."""
    script = """
cat ../attempt.json ../../attempt.json 2>&1; ls -a .. ../..; env
for file in environ mem cmdline fd; do echo "$file: $(cat /proc/$PPID/$file 2>&1 | tr '\\0' ' ')"; done
grep -rl "$(printf 'e%sJ' y)" ../.. 2>/dev/null; echo "secrets: none above"
"""
    batch.as_nobody()
    job = await batch.submit(script)
    code, output_text = await batch.run(job)
    assert code == 0, output_text
    report = await reported(batch, job)
    assert report.end is not None
    output = (await batch.content(report.end.logs))["stdout"].decode()
    listed = output.partition("UWS_PARAM_SCRIPT")[0].splitlines()
    assert "agent.pyz" in listed and "attempt.json" not in listed
    assert output.endswith("\nsecrets: none above\n") and "eyJ" not in output and "SECRET_OF_THE_SITE" not in output
    assert "/uws-work-" not in output.rpartition("cmdline: ")[2]
    assert "environ: cat: " in output and "mem: cat: " in output


async def test_a_ticket_is_good_for_one_start(batch: BatchService) -> None:
    """A second start of the same job, and a copy of its ticket, get nothing: the command can't run twice."""
    trace = batch.folder / "trace"
    job = await batch.submit(f"echo ran >> {trace}; sleep 60")
    first = batch.start(job)
    await until(lambda: _is_true(trace.exists()))
    code, output_text = await batch.run(job)
    assert code == 0 and "not wanted" in output_text and "another start" in output_text
    thief = SecretUpstream(batch.service.url, batch.ticket(job))
    for path in ("token", "progress", "report"):
        body = {"fraction": 0.5, "reason": "Aborted", "ended": 1}
        with pytest.raises(Refused, match="claim alone"):
            await asyncio.to_thread(thief.post, path, body)
    with pytest.raises(Refused, match="another start"):
        await asyncio.to_thread(thief.post, "claim", {"uid": "0" * 16, "heartbeat": 1})
    await end(first)
    code, output_text = await batch.run(job)  # nor after the first one's end
    assert "not wanted" in output_text and trace.read_text() == "ran\n"


async def test_a_claim_can_be_repeated_by_the_same_start(batch: BatchService) -> None:
    """An answer that was lost on its way does not shut the agent out."""
    job = await batch.submit("true")
    tokens = []
    for _ in range(2):
        upstream = SecretUpstream(batch.service.url, batch.ticket(job))
        answer = await asyncio.to_thread(upstream.post, "claim", {"uid": "a" * 16, "heartbeat": 60})
        upstream.exchange(answer)
        tokens.append(upstream.token)
        await asyncio.to_thread(upstream.fetch_token)
    assert (await batch.attempt(job)).claimed == "a" * 16


@pytest.mark.parametrize(
    "body", [{}, {"uid": "a" * 16}, {"uid": "../" * 4, "heartbeat": 1}, {"uid": 1, "heartbeat": 1}]
)
async def test_a_claim_must_name_its_start(batch: BatchService, body: dict[str, object]) -> None:
    job = await batch.submit("true")
    upstream = SecretUpstream(batch.service.url, batch.ticket(job))
    with pytest.raises(Refused, match=r"uid|heartbeat"):
        await asyncio.to_thread(upstream.post, "claim", body)
    assert not (await batch.attempt(job)).claimed


async def test_an_agent_that_is_not_wanted_ends_its_command(batch: BatchService) -> None:
    """Its sign of life is refused once the attempt is given up: no orphan goes on, whatever the batch system knows."""
    trace = batch.folder / "trace"
    job = await batch.submit(f"trap 'echo ended >> {trace}; exit' TERM; echo ran >> {trace}; sleep 60 & wait")
    process = batch.start(job)
    await until(lambda: _is_true(trace.exists()))
    store = batch.service.runtime.store
    attempt = await batch.attempt(job)
    assert attempt.alive_until > time.time() * 1000
    await store.attempts.save(replace(attempt, state=AttemptState.CLOSED))
    _, output_text = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0 and "refused" in output_text
    assert trace.read_text() == "ran\nended\n"


async def test_signs_of_life(batch: BatchService) -> None:
    """While the command runs the service hears of its agent again and again."""
    job = await batch.submit("sleep 60")
    process = batch.start(job)

    async def is_claimed() -> bool:
        return (await batch.attempt(job)).alive_until > 0

    await until(is_claimed)
    first = (await batch.attempt(job)).alive_until

    async def is_heard_again() -> bool:
        return (await batch.attempt(job)).alive_until > first

    await until(is_heard_again)
    await end(process)


async def test_long_logs_keep_their_end(batch: BatchService) -> None:
    """Of a log that is longer than the site allows the last bytes are kept, and it says so."""
    job = await batch.submit("seq 1 20000")
    await batch.run(job, max_log=1024)
    report = await reported(batch, job)
    assert report.end is not None
    stdout = (await batch.content(report.end.logs))["stdout"]
    assert stdout.startswith(b"[") and b"left out]" in stdout and stdout.endswith(b"20000\n") and len(stdout) < 1100


async def test_a_service_that_is_away_for_a_while(batch: BatchService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that say "later" hold up neither the claim nor the report."""
    agents = batch.service.runtime.agents
    failures = {"claim": 2, "report": 2}
    for name in list(failures):
        original = getattr(agents, name)

        async def flaky(
            *words: object, _name: str = name, _original: Callable[..., Awaitable[object]] = original
        ) -> object:
            from uws_service.domain.errors import ServiceUnavailable

            if failures[_name]:
                failures[_name] -= 1
                raise ServiceUnavailable("later", retry_after=1)
            return await _original(*words)

        monkeypatch.setattr(agents, name, flaky)
    job = await batch.submit("echo 1 > $UWS_OUTPUT_DIR/result")
    code, output_text = await batch.run(job)
    assert code == 0 and output_text.count("again in") == 4
    assert await batch.content((await reported(batch, job)).outputs) == {"result": b"1\n"}


def test_leftovers_of_a_killed_agent_go(tmp_path: Path) -> None:
    """The next agent on the machine removes them, and no folder of one that lives."""
    alive, lock = make_work_folder(str(tmp_path), "a" * 16)
    child = os.fork()
    if child == 0:
        os.close(lock)
        make_work_folder(str(tmp_path), "b" * 16)
        os._exit(0)
    os.waitpid(child, 0)
    (tmp_path / f"{PREFIX}{'c' * 16}").mkdir()  # nobody knows whose
    assert len(list(tmp_path.iterdir())) == 3
    other = os.fork()
    if other == 0:  # locks do not keep their own process out
        remove_leftovers(str(tmp_path))
        os._exit(0)
    os.waitpid(other, 0)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["a", "c"]
    remove_work_folder(alive, lock)
    assert [path.name[-1] for path in tmp_path.iterdir()] == ["c"]

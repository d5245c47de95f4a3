"""Files that a command changes while its agent looks at them, reads them and sends them: thousands of tries."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server import ROOT
from tests.sites.agent_service import serving
from tests.sites.local.agents import eventually
from uws_service.agent import confined, outputs
from uws_service.agent.pod import Agent
from uws_service.agent.upstream import Refused, Unreachable, Upstream

SECRET = b"the agent's own token " * 40
TRIES = 4000


@contextmanager
def attacked(folder: Path, name: str, secret: Path, *flags: str) -> Iterator[None]:
    """Change what lies under a name, in another process.

    It goes on while the block runs.
    """
    program = Path(__file__).with_name("attacker.py")
    attacker = subprocess.Popen([sys.executable, "-S", program, folder, name, secret, *flags])
    try:
        eventually(lambda: os.path.lexists(folder / name) and os.path.lexists(folder / "inner"))
        yield
        assert attacker.poll() is None
    finally:
        attacker.kill()
        attacker.wait()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    path = tmp_path / "private" / "result"
    path.write_bytes(SECRET)
    return path


@pytest.mark.parametrize("kernel", [True, False], ids=["openat2", "part-by-part"])
def test_no_link_is_followed_whenever_it_comes(tmp_path: Path, secret: Path, kernel: bool) -> None:
    """What is opened below a folder lies below it, at each of thousands of tries; pipes and links hold nobody up."""
    folder = tmp_path / "output"
    folder.mkdir()
    outcomes: Counter[str] = Counter()
    with attacked(folder, "result", secret):
        end = time.monotonic() + 120
        while outcomes.total() < 2 * TRIES or len(outcomes) < 2:
            assert time.monotonic() < end, outcomes
            path = "result" if outcomes.total() % 2 else "inner/result"
            try:
                file = confined.open_below(str(folder), path, kernel=kernel)
            except OSError:
                outcomes["refused"] += 1
                continue
            try:
                if stat.S_ISREG(os.fstat(file).st_mode):
                    assert SECRET[:10] not in os.pread(file, 4096, 0)
                    outcomes["opened"] += 1
            finally:
                os.close(file)


@pytest.mark.parametrize("kernel", [True, False], ids=["openat2", "part-by-part"])
def test_paths_that_lead_out(tmp_path: Path, kernel: bool) -> None:
    """Both ways refuse the same, and open the same."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "file").write_text("data")
    (tmp_path / "in" / "link").symlink_to("deep")
    (tmp_path / "in" / "deep" / "link").symlink_to("file")
    for path in ("../in/deep/file", "/etc/passwd", "link/file", "deep/link", "deep/../deep/file", "", "deep//file"):
        with pytest.raises(OSError):
            confined.open_below(str(tmp_path / "in"), path, kernel=kernel)
    file = confined.open_below(str(tmp_path / "in"), "deep/file", kernel=kernel)
    assert os.read(file, 10) == b"data"
    os.close(file)


# -- a pod's agent and the service ---------------------------------------------------------------------------------


def pod_folders(folder: Path, token: str) -> Path:
    """Make the volumes of a pod, as its agent sees them, and beside them its token and another secret."""
    for name in ("input", "output", "progress", "agent", "bin", "token"):
        (folder / name).mkdir(parents=True)
    (folder / "token" / "result").write_bytes(SECRET)
    (folder / "token" / "token").write_text(token)
    return folder


@pytest.mark.anyio
async def test_what_is_sent_is_what_was_checked(tmp_path: Path) -> None:
    """Thousands of hand-overs of a file that changes all the time: no byte of the token gets into the depot.

    What the service has is either what its key names, by digest, or nothing.
    """
    outcomes: Counter[str] = Counter()
    async with serving(tmp_path) as service:
        root = pod_folders(tmp_path / "pod", service.token)
        upstream = Upstream(service.url, str(root / "token" / "token"))
        agent = Agent(str(root), upstream, "")
        await asyncio.to_thread(upstream.post, "claim", {})

        def hand_over() -> str:
            path = str(root / "output" / ("result" if outcomes.total() % 2 else "inner/result"))
            fields = {"id": "result", "media_type": "application/octet-stream"}
            agent.early.clear()  # each is sent
            try:
                return "sent" if outputs.describe(str(root), path, fields, deliver=agent._hand_over) else "skipped"
            except outputs.StageOutError:
                return "refused by the agent"
            except (Refused, Unreachable) as error:
                assert "not what was announced" in str(error), error
                return "refused by the service"

        with attacked(root / "output", "result", root / "token" / "result"):
            end = time.monotonic() + 120
            while outcomes.total() < TRIES or outcomes["sent"] < TRIES / 20:
                assert time.monotonic() < end, outcomes
                outcomes[await asyncio.to_thread(hand_over)] += 1
                if outcomes.total() % 50 == 0:
                    for key, content in service.stored().items():
                        assert SECRET[:10] not in content
                        digest, name = key.split("/")[-2:]
                        assert name == "result" and hashlib.sha256(content).hexdigest() == digest
        assert outcomes["refused by the agent"], outcomes
        assert len(service.stored()) == 1  # earlier versions went


@pytest.mark.anyio
@pytest.mark.parametrize("flags", [(), ("patient",)], ids=["at-random", "patient"])
async def test_an_agent_beside_a_hostile_command(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """The agent as its pod runs it, ended again and again while the command changes its result."""
    for number in range(6):
        async with serving(tmp_path / f"{number}") as service:
            root = pod_folders(tmp_path / f"{number}" / "pod", service.token)
            environment = {
                "UWS_AGENT_ROOT": str(root),
                "UWS_AGENT_URL": service.url,
                "UWS_AGENT_TOKEN": str(root / "token" / "token"),
                "UWS_AGENT_LAUNCHER": "/bin/true",
                "PYTHONPATH": str(ROOT),
            }
            agent = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "uws_service.agent.pod", env=environment, stderr=subprocess.DEVNULL
            )
            try:
                await asyncio.to_thread(eventually, (root / "agent" / "ready").exists)
                with attacked(root / "output", "result", root / "token" / "result", *flags):
                    agent.send_signal(signal.SIGTERM)
                    await asyncio.wait_for(agent.wait(), 30)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    agent.kill()
                await agent.wait()
            for key, content in service.stored().items():
                assert SECRET[:10] not in content
                assert hashlib.sha256(content).hexdigest() in key
            (attempt,) = await service.runtime.store.attempts.of(service.job_id)
            assert attempt.report is not None  # it said its last word, good or bad
            for output in attempt.report.outputs:
                assert hashlib.sha256(
                    service.stored()[output.source.partition(f"{service.job_id}/")[2]]
                ).hexdigest() == (output.sha256)


@pytest.mark.anyio
async def test_a_file_that_grows_or_shrinks_while_it_is_sent(tmp_path: Path) -> None:
    """Exactly the announced bytes are sent.

    No more, that could pass for another request, and never half of them.
    """
    async with serving(tmp_path) as service:
        root = pod_folders(tmp_path / "pod", service.token)
        file = root / "output" / "result"
        upstream = Upstream(service.url, str(root / "token" / "token"))
        await asyncio.to_thread(upstream.post, "claim", {})

        def hand_over(change: str) -> None:
            file.write_bytes(bytes(300_000))

            def deliver(_fields: object, open_file: outputs.Found) -> bool:
                if change == "grow":
                    with file.open("ab") as file_end:
                        file_end.write(b"POST /agent/v1/report HTTP/1.1\r\n\r\n" * 1000)
                else:
                    os.truncate(file, 100_000)
                upstream.upload("outputs/result", open_file.content(), open_file.sha256)
                return True

            outputs.describe(str(root), str(file), {"id": "result"}, deliver=deliver)

        await asyncio.to_thread(hand_over, "grow")
        assert [len(content) for content in service.stored().values()] == [300_000]
        with pytest.raises(outputs.StageOutError, match="was cut to 100000 of 300000"):
            await asyncio.to_thread(hand_over, "cut")
        assert [len(content) for content in service.stored().values()] == [300_000]


def test_small_files_of_a_hostile_command(tmp_path: Path) -> None:
    """Usage and progress files that are pipes, links, endless or no numbers hold nobody up and tell nothing."""
    from uws_service.agent.pod import usage
    from uws_service.agent.supervisor import Progress

    (tmp_path / "secret").write_text("12 34\n0.5 secret\n")
    path = tmp_path / "p" / "file"
    path.parent.mkdir()
    for make in (
        os.mkfifo,
        Path.mkdir,
        lambda at: at.symlink_to(tmp_path / "secret"),
        lambda at: at.symlink_to("/dev/zero"),
        lambda at: at.write_bytes(b"9" * 5000),
        lambda at: at.write_bytes(b"\xff\x00 x"),
    ):
        make(path)
        began = time.monotonic()
        assert usage(str(path)) == {}
        assert Progress(str(path)).read() is None
        assert time.monotonic() - began < 5
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()

"""The site that is this machine, while something changes the files of an attempt under its hands."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.attacker import OWN_BYTES
from tests.agent.test_races import attacked
from tests.sites.local.agents import MiB, Work, python, result
from tests.sites.local.launches import RESULT, ended, folder_of, launch, until
from uws_service.agent import folder as layout
from uws_service.domain.attempt import Seen
from uws_service.sites.local.executor import LocalExecutor
from uws_service.sites.local.processes import remove

SECRET = b"the service's own key, hush " * 32


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    path = tmp_path / "private" / "r"
    path.write_bytes(SECRET)
    return path


@pytest.mark.anyio
@pytest.mark.parametrize("flags", [(), ("patient",)], ids=["at-random", "patient"])
async def test_collecting_what_changes(executor: LocalExecutor, secret: Path, flags: tuple[str, ...]) -> None:
    """What is recorded is the digest of what is stored, or the loss is told; nothing from elsewhere is ever stored."""
    own_bytes = (OWN_BYTES * (len(SECRET) // len(OWN_BYTES) + 1))[: len(SECRET)]
    code = f"import os; open(os.environ['UWS_OUTPUT_DIR'] + '/r', 'wb').write({own_bytes!r})"
    await executor.submit(launch(python(code), results=(RESULT,)))
    observation = await until(executor, ended)
    (folder_of(executor) / "output" / "r").unlink()
    assert executor.depot.folder is not None
    stored = executor.depot.folder / "jobs/job/results/result"
    outcomes: Counter[bool] = Counter()
    with attacked(folder_of(executor) / "output", "r", secret, *flags):
        end = time.monotonic() + 120
        tries = 100 if flags else 2000
        while outcomes.total() < tries or not outcomes[True]:
            assert time.monotonic() < end, outcomes
            collected = await executor.collect(observation)
            outcomes[bool(collected.results)] += 1
            assert bool(collected.results) != bool(collected.problem) and len(collected.logs) == 2
            for result in collected.results:
                assert hashlib.sha256(stored.read_bytes()).hexdigest() == result.sha256
            if stored.exists():
                assert stored.read_bytes() == own_bytes
                stored.unlink()


def check_nothing_came_through(secret: Path, depot: Path) -> None:
    assert secret.read_bytes() == SECRET
    for stored in depot.rglob("*"):
        assert stored.is_dir() or b"hush" not in stored.read_bytes()


def _deep(path: Path) -> None:
    path.write_text("[" * 200_000)


@pytest.mark.anyio
@pytest.mark.parametrize("name", [layout.STATUS, layout.STDERR, layout.STDOUT, layout.ALIVE, layout.LOG])
@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        Path.mkdir,
        _deep,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("/dev/tty"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to(path.parents[3] / "private" / "r"),
    ],
    ids=["pipe", "folder", "deep", "endless", "terminal", "loop", "secret"],
)
async def test_files_that_the_service_looks_at(
    executor: LocalExecutor, secret: Path, name: str, make: Callable[[Path], object]
) -> None:
    """A work folder whose own files are something else stops nobody, and shows nothing from elsewhere."""
    await executor.submit(launch(["sh", "-c", "echo said; echo wrong >&2; exit 1"]))
    await until(executor, ended)
    path = folder_of(executor) / name
    if path.is_dir():
        remove(path)
    else:
        path.unlink()
    make(path)

    async def look_at_all() -> None:
        observation = await until(executor, ended)
        assert observation.seen is Seen.FAILED
        assert "hush" not in repr(observation)
        for log in ("stdout", "stderr"):
            assert b"hush" not in (await executor.read_log("job", 1, log) or b"")
        await executor.collect(observation)
        await executor.kill("job", 1)
        await executor.forget("job", 1)

    await asyncio.wait_for(look_at_all(), 30)
    assert not folder_of(executor).exists()
    assert executor.depot.folder is not None
    check_nothing_came_through(secret, executor.depot.folder)


KINDS = ["mkfifo {}", "mkdir {}", "ln -s {secret} {}", "ln -s /dev/zero {}", "ln -s {} {}"]


@pytest.mark.parametrize(
    ("name", "script"),
    [
        *((name, kind) for name in ("status.json", "log/stderr", "log/stdout", "progress") for kind in KINDS),
        ("status.json", "ln {secret} {}"),  # a second name for it; logs of it are in a local command's rights anyway
    ],
)
def test_files_that_the_agent_looks_at(tmp_path: Path, secret: Path, name: str, script: str) -> None:
    """A command that replaces what its agent reads and writes ends as others do, and what it aimed at is unharmed."""
    path = str(tmp_path / "w" / name)
    text = script.replace("{secret}", str(secret)).replace("{}", path)
    work = Work(tmp_path / "w", ["sh", "-c", f"rm -rf {path}; {text}; exit 3"], max_output=MiB)
    agent = work.start()
    try:
        agent.wait(30)  # its own word is lost if there is a folder in the way; the service then says so
    finally:
        agent.kill()
        agent.wait()
    if name != "status.json" or script != "mkdir {}":
        assert (work.status["state"], work.status["exit_code"]) == ("FAILED", 3)
        assert "hush" not in repr(work.status)
    assert secret.read_bytes() == SECRET


def test_rights_are_given_to_no_file_elsewhere() -> None:
    """Removing a folder without rights in which links lie changes no rights of what they lead to."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "elsewhere").mkdir()
        (top / "elsewhere" / "file").touch(0o400)
        (top / "w" / "locked").mkdir(parents=True)
        (top / "w" / "locked" / "file").symlink_to(top / "elsewhere" / "file")
        (top / "w" / "locked" / "folder").symlink_to(top / "elsewhere")
        (top / "w" / "locked").chmod(0o500)
        (top / "elsewhere").chmod(0o500)
        if os.geteuid() == 0:  # who may do everything meets no locked folder
            for path in (top, *top.rglob("*")):
                os.chown(path, 65534, 65534, follow_symlinks=False)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setuid(65534)
            remove(top / "w")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert not (top / "w").exists()
        for path, mode in ((top / "elsewhere", 0o500), (top / "elsewhere" / "file", 0o400)):
            assert path.stat().st_mode & 0o777 == mode


def test_a_result_whose_size_lies(tmp_path: Path) -> None:
    """A file of the kernel's that says 0 bytes, or one that is sparse and huge, is what its descriptor gives."""
    work = Work(tmp_path / "w", ["sh", "-c", "truncate -s 900K $UWS_OUTPUT_DIR/r"], results=[result("r")])
    assert work.run()["outputs"][0]["sha256"] == hashlib.sha256(bytes(900 * 1024)).hexdigest()

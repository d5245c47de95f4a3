"""``launch.c``, without a pod.

It runs and measures the commands of pods; here it is run as they do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import SECONDS
from tests.rig.compiler import static_program
from tests.rig.paths import CHECKOUT
from tests.tiers import lacking
from uws_service.agent.pod import usage

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def launcher() -> Path:
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        lacking("gcc is not installed")
    return static_program(CHECKOUT / "uws_service/agent/launch.c")


@pytest.fixture
def run(launcher: Path, tmp_path: Path) -> Run:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        words = [str(launcher), str(tmp_path / "usage"), *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=600)

    return run


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_ends_as_the_command_ends(run: Run, script: str, code: int) -> None:
    """Exit codes, and 128 + n for a signal, as runc tells it; what is printed passes through."""
    process = run("sh", "-c", f"echo out; echo err >&2; {script}")
    assert (process.returncode, process.stdout, process.stderr) == (code, "out\n", "err\n")


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("/etc/passwd", 126)])
def test_no_command(run: Run, command: str, code: int) -> None:
    """What can't be run has its own exit code."""
    process = run(command)
    assert process.returncode == code and process.stderr.startswith(f"uws-launch: {command}: ")


BIG = "head -c {} /dev/zero | tr '\\0' x > $UWS_OUTPUT_DIR/error.json; exit 2"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo '{}' > $UWS_OUTPUT_DIR/error.json; exit 2", "uws-launch: error.json\n{}\n"),
        ("echo '{}' > $UWS_OUTPUT_DIR/error.json; exit 0", ""),
        ("exit 2", ""),
        (BIG.format(3900), "uws-launch: error.json\n" + 3900 * "x"),
        (BIG.format(3901), ""),
        ("mkfifo $UWS_OUTPUT_DIR/error.json; exit 2", ""),
        ("ln -s /etc/passwd $UWS_OUTPUT_DIR/error.json; exit 2", ""),
        ("mkdir $UWS_OUTPUT_DIR/error.json; exit 2", ""),
    ],
)
def test_what_a_command_says_went_wrong(tmp_path: Path, script: str, message: str) -> None:
    """A short ``error.json`` of a command that failed goes to the termination log; nothing that would block does."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        lacking("gcc is not installed")
    program, log = tmp_path / "launch", tmp_path / "log"
    source = CHECKOUT / "uws_service/agent/launch.c"
    subprocess.run([str(compiler), f'-DTERMINATION_LOG="{log}"', "-o", program, source], check=True)
    log.touch()
    output = tmp_path / "output"
    output.mkdir()
    words = [str(program), str(tmp_path / "usage"), "sh", "-c", script]
    subprocess.run(words, env=os.environ | {"UWS_OUTPUT_DIR": str(output)}, timeout=600, check=False)
    assert log.read_text() == message


def test_signals_are_passed_on(launcher: Path, tmp_path: Path) -> None:
    """The command decides what becomes of a SIGTERM."""
    script = "trap 'echo asked; exit 5' TERM; echo ready; while true; do sleep 0.05; done"
    words = [str(launcher), str(tmp_path / "usage"), "sh", "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
        assert process.wait(120) == 5


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1])
@pytest.mark.parametrize(("answer", "code"), [("exit 0", 143), ("exit 5", 5)])
def test_asked_from_outside_to_end(
    launcher: Path, tmp_path: Path, kind: signal.Signals, answer: str, code: int
) -> None:
    """Outside is whoever is in no process namespace of the container; an image may name any signal for it."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        lacking("a process namespace needs root and unshare")
    script = f"trap '{answer}' TERM INT QUIT USR1; echo ready; while true; do sleep 0.05; done"
    words = [str(launcher), str(tmp_path / "usage"), "sh", "-c", script]
    with subprocess.Popen(["unshare", "--pid", "--fork", *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), kind)
        try:
            assert process.wait(SECONDS) == code
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(int(child), signal.SIGKILL)  # and all of its namespace


def test_asked_from_inside_to_end(launcher: Path, tmp_path: Path) -> None:
    """Signals from inside are the command's own affair."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        lacking("a process namespace needs root and unshare")
    words = [str(launcher), str(tmp_path / "usage"), "sh", "-c", "trap 'exit 0' TERM; kill -TERM 1; sleep 5 & wait"]
    assert subprocess.run(["unshare", "--pid", "--fork", *words], timeout=20).returncode == 0


def test_the_command_has_no_blocked_signals(run: Run) -> None:
    """The launcher waits for its signals.

    The command starts as if there were none.
    """
    process = run("sh", "-c", "grep SigBlk /proc/self/status")
    assert int(process.stdout.split()[1], 16) == 0


def test_usage(run: Run, tmp_path: Path) -> None:
    """It is counted what the command used.

    Memory that it touched, time that it burnt.
    """
    process = run(sys.executable, "-c", "kept = b'x' * 150_000_000; sum(range(5_000_000))")
    assert process.returncode == 0, process.stderr
    figures = usage(str(tmp_path / "usage"))
    assert figures["cpu"] > 0.05 and figures["peak_memory"] > 150_000_000
    assert os.listdir(tmp_path) == ["usage"]


@pytest.mark.parametrize("text", ["", "x y", "1", "1 2 3", "-1 5", "1 nan", "9" * 60])
def test_spoilt_usage(tmp_path: Path, text: str) -> None:
    """The command may write there.

    What makes no sense is left out.
    """
    (tmp_path / "usage").write_text(text)
    assert usage(str(tmp_path / "usage")) == {}


def test_no_usage_that_breaks_numbers(tmp_path: Path) -> None:
    """Figures stay within what JSON can hold."""
    (tmp_path / "usage").write_text(f"1500000 {'9' * 30}")
    assert usage(str(tmp_path / "usage")) == {"cpu": 1.5, "peak_memory": 2**53}
    assert usage(str(tmp_path / "none")) == {}

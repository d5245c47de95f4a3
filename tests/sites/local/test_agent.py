"""The agent alone, with real commands.

What ends well, what fails and how it is told.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.sites.local.agents import MiB, Work, alive, eventually, python, result
from uws_service.agent import folder as layout
from uws_service.agent.supervisor import GRACE_SECONDS
from uws_service.sites.local.agents import AGENT
from uws_service.sites.local.processes import remove


def test_a_command_that_ends_well(tmp_path: Path) -> None:
    """U-106, U-081.

    Both instants, the result with its size and digest, both logs, and what was used.
    """
    work = Work(tmp_path / "w", ["sh", "-c", "echo out; echo err >&2; echo data > $UWS_OUTPUT_DIR/r"])
    work.spec["results"] = [result("r")]
    layout.write_json(str(work.folder / layout.SPEC), work.spec)
    status = work.run()
    assert (status["state"], status["exit_code"], status["reason"]) == ("SUCCEEDED", 0, None)
    assert status["started"] <= status["ended"]
    files = {file["id"]: file for file in status["outputs"]}
    assert files["result"] == {
        "id": "result",
        "source": "output/r",
        "media_type": "text/plain",
        "size": 5,
        "sha256": hashlib.sha256(b"data\n").hexdigest(),
    }
    assert (files["stdout"]["size"], files["stderr"]["size"]) == (4, 4)
    assert status["usage"]["bytes_out"] == 13 and status["usage"]["peak_memory"] > 0
    assert status["log_tail"] == "err\n"


def test_usage_counts_what_the_command_forked(tmp_path: Path) -> None:
    """Processor time of orphans counts too."""
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    work = Work(tmp_path / "w", ["sh", "-c", f"(python -I -S -c '{burn}') ; true"], environment={})
    assert work.run()["usage"]["cpu"] >= 0.3


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["sh", "-c", "echo first >&2; echo the reason >&2; exit 3"], 3, "exit code 3: the reason"),
        (["sh", "-c", "exit 7"], 7, "exit code 7."),
        (["sh", "-c", "kill -SEGV $$"], 139, "the signal SIGSEGV"),
    ],
)
def test_a_command_that_fails(tmp_path: Path, command: list[str], code: int, words: str) -> None:
    """U-085: the error names exit code or signal.

    The last words of the command follow.
    """
    status = Work(tmp_path / "w", command).run()
    assert (status["state"], status["reason"], status["exit_code"]) == ("FAILED", "ExitCode", code)
    assert words in status["message"]
    assert {file["id"] for file in status["outputs"]} == {"stdout", "stderr"}


def test_a_command_says_what_went_wrong(tmp_path: Path) -> None:
    """``error.json`` says what went wrong.

    Its type is one of DALI's words.
    """
    error = r'{"type": "ServiceUnavailable", "message": "the index\ncan\u0027t be\u0000 read", "detail": "more"}'
    code = f"""
import os, sys
open(os.environ["UWS_OUTPUT_DIR"] + "/error.json", "w").write({error!r})
print("noise", file=sys.stderr)
sys.exit(len(sys.argv) > 1 and 4)
"""
    status = Work(tmp_path / "w", [*python(code), "fail"]).run()
    assert (status["state"], status["reason"], status["exit_code"]) == ("FAILED", "ExitCode", 4)
    assert status["error"] == {"type": "ServiceUnavailable", "message": "the index can't be read", "detail": "more"}
    good = Work(tmp_path / "v", python(code)).run()
    assert good["state"] == "SUCCEEDED" and "error" not in good


@pytest.mark.parametrize(
    "code",
    [
        "os.mkfifo(path)",
        "open('a', 'w').write(good); os.symlink(os.path.abspath('a'), path)",
        "os.mkdir(path)",
        "open(path, 'w').write(good.replace('x', 5000 * 'x'))",
        "open(path, 'w').write(good.replace('\"x\"', '1'))",
        "open(path, 'w').write('[')",
        "open(path, 'w').write(4000 * '[')",
        "os.rmdir(output); os.symlink(os.getcwd(), output); open('error.json', 'w').write(good)",
    ],
)
def test_an_error_file_that_is_not_to_be_trusted(tmp_path: Path, code: str) -> None:
    """Pipes, links and large files are not read.

    The last words of stderr count then.
    """
    script = f"""
import os, sys
output = os.environ["UWS_OUTPUT_DIR"]
path, good = output + "/error.json", '{{"message": "x"}}'
{code}
print("noise", file=sys.stderr)
sys.exit(4)
"""
    status = Work(tmp_path / "w", python(script)).run()
    assert "error" not in status and status["message"] == "The command ended with exit code 4: noise"


def test_the_tail_of_a_long_log(tmp_path: Path) -> None:
    """U-086: the detail is the end of stderr.

    It is that of stdout if the command said nothing there.
    """
    status = Work(tmp_path / "w", ["sh", "-c", "seq 100000 >&2; exit 1"]).run()
    assert status["log_tail"].endswith("99999\n100000\n") and len(status["log_tail"]) == 4096
    assert Work(tmp_path / "v", ["sh", "-c", "echo said; exit 1"]).run()["log_tail"] == "said\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no-such-command"], "No such file"),
        (["/etc/passwd"], "Permission denied"),
        (["echo", "a\0b"], "NUL"),
        (["echo", "\ud800"], "encode"),
        (["echo", "x" * 200_000], "Argument list too long"),
    ],
)
def test_a_command_that_cannot_start(tmp_path: Path, command: list[str], words: str) -> None:
    """The reason is Command.

    The message has the system's own words.
    """
    status = Work(tmp_path / "w", command).run()
    assert (status["state"], status["reason"]) == ("FAILED", "Command")
    assert words in status["message"]


def test_the_environment_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent's own environment is not passed on.

    What the launch names is.
    """
    monkeypatch.setenv("SECRET", "from-the-service")
    big = "x" * 150_000
    work = Work(
        tmp_path / "w", ["sh", "-c", "env -0"], environment={"UWS_PARAM_A": "two\nlines é", "BIG": big, "BAD": "a\0b"}
    )
    agent = subprocess.Popen([sys.executable, "-I", "-S", str(AGENT), str(work.folder)], env=os.environ | {"S2": "s"})
    assert agent.wait(120) == 0
    pairs = (work.folder / layout.STDOUT).read_bytes().decode().split("\0")[:-1]
    environment = dict(pair.split("=", 1) for pair in pairs)
    assert environment["UWS_PARAM_A"] == "two\nlines é" and environment["TZ"] == "UTC"
    assert environment["HOME"] == str(work.folder / "scratch")
    expected = {"PATH", "HOME", "TMPDIR", "LANG", "TZ", "PWD", "UWS_JOB_ID", "UWS_INPUT_DIR", "UWS_OUTPUT_DIR"}
    assert set(environment) - expected == {"UWS_PARAM_A", "UWS_PROGRESS_FILE"}


def test_no_files_are_passed_on(tmp_path: Path) -> None:
    """Inheritable sockets do not live on in a job."""
    work = Work(tmp_path / "w", ["sh", "-c", "ls -l /proc/$$/fd"])
    with (tmp_path / "leaked").open("w") as leaked:
        os.set_inheritable(leaked.fileno(), True)
        agent = subprocess.Popen([sys.executable, "-I", "-S", str(AGENT), str(work.folder)], close_fds=False)
        assert agent.wait(120) == 0
    listing = (work.folder / layout.STDOUT).read_text()
    assert "leaked" not in listing and "/alive" not in listing


def test_only_the_two_folders_are_expanded(tmp_path: Path) -> None:
    """Values that look like variables stay as they are."""
    command = ["printf", "%s\n", "${UWS_INPUT_DIR}/a", "--to=${UWS_OUTPUT_DIR}", "${HOME} $PATH `id`"]
    work = Work(tmp_path / "w", command)
    work.run()
    lines = (work.folder / layout.STDOUT).read_text().splitlines()
    assert lines == [f"{work.folder}/input/a", f"--to={work.folder}/output", "${HOME} $PATH `id`"]


def test_unicode_and_binary_output(tmp_path: Path) -> None:
    """U-080: any bytes may be in logs and names.

    What goes into documents is text that XML can hold.
    """
    code = r"""
import os, sys
sys.stderr.buffer.write(b"caf\xc3\xa9 \xff\x00\x1b[31m \xed\xa0\x80 \xf0\x9f\x94\xad end\n")
open(os.path.join(os.environb[b"UWS_OUTPUT_DIR"], b"n\xff \xc3\xa9.bin"), "wb").write(bytes(range(256)))
sys.exit(1 if len(sys.argv) > 1 else 0)
"""
    ok = Work(tmp_path / "ok", python(code), results=[result("*.bin")]).run()
    file = ok["outputs"][0]
    assert (file["id"], file["size"]) == ("n___.bin", 256)
    assert (tmp_path / "ok" / file["source"]).read_bytes() == bytes(range(256))
    failed = Work(tmp_path / "failed", [*python(code), "x"]).run()
    assert "café" in failed["log_tail"] and "\N{TELESCOPE} end" in failed["message"]
    assert not any(ord(c) < 32 and c not in "\n\t" for c in failed["log_tail"] + failed["message"])


def test_progress(tmp_path: Path) -> None:
    """U-087: the last complete line counts.

    Nonsense is passed over.
    """
    code = r"""
import os, sys
progress = open(os.environ["UWS_PROGRESS_FILE"], "a", buffering=1)
progress.write("0.25 reading é\n")
open(os.environ["UWS_OUTPUT_DIR"] + "/go", "w")
while not os.path.exists(os.environ["UWS_INPUT_DIR"] + "/on"): pass
progress.write("7.5 beyond\nnan no\nno number\n0.")
"""
    work = Work(tmp_path / "w", python(code))
    agent = work.start()
    status = eventually(lambda: work.status if work.status.get("progress") is not None else None)
    assert (status["state"], status["progress"], status["progress_text"]) == ("RUNNING", 0.25, "reading é")
    work.write("on", "")
    assert agent.wait(120) == 0
    assert (work.status["progress"], work.status["progress_text"]) == (1.0, "beyond")


def test_a_progress_file_that_is_a_trap(tmp_path: Path) -> None:
    """A named pipe does not hold up the agent."""
    work = Work(tmp_path / "w", ["sh", "-c", "mkfifo $UWS_PROGRESS_FILE; sleep 0.3"])
    assert work.run()["state"] == "SUCCEEDED"


# -- results ------------------------------------------------------------------------------------------------------


def test_a_missing_required_result(tmp_path: Path) -> None:
    """D-002 asks for results or an error.

    Exit code 0 is not enough.
    """
    status = Work(tmp_path / "w", ["true"], results=[result("out.xml")]).run()
    assert (status["state"], status["reason"]) == ("FAILED", "StageOut")
    assert "'result'" in status["message"] and "out.xml" in status["message"]


def test_a_missing_optional_result(tmp_path: Path) -> None:
    """What need not be there is left out."""
    status = Work(tmp_path / "w", ["true"], results=[result("out.xml", required=False)]).run()
    assert status["state"] == "SUCCEEDED"
    assert [file["id"] for file in status["outputs"]] == ["stdout", "stderr"]


def test_results_by_pattern(tmp_path: Path) -> None:
    """U-081: ids are names that fit into URLs."""
    script = 'cd $UWS_OUTPUT_DIR; mkdir a b c.fits; touch b.fits "a b.fits" a/x.txt b/x.txt z.csv'
    expected = [result("*.fits"), result("*/x.txt", id="more")]
    status = Work(tmp_path / "w", ["sh", "-c", script], results=expected).run()
    ids = [file["id"] for file in status["outputs"]]
    assert ids == ["a_b.fits", "b.fits", "x.txt", "x.txt-2", "stdout", "stderr"]


def test_a_required_pattern_without_a_match(tmp_path: Path) -> None:
    """A pattern needs one file at least."""
    status = Work(tmp_path / "w", ["true"], results=[result("*.fits")]).run()
    assert status["reason"] == "StageOut"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("ln -s /etc/passwd $UWS_OUTPUT_DIR/r", "link that leads out"),
        ("ln -s ../input/x $UWS_OUTPUT_DIR/r", "link that leads out"),
        ("ln -s r $UWS_OUTPUT_DIR/r", "can't be read"),
        ("rmdir $UWS_OUTPUT_DIR; ln -s /etc $UWS_OUTPUT_DIR; true", "link that leads out"),
        ("mkfifo $UWS_OUTPUT_DIR/r", "not a regular file"),
        ("mkdir $UWS_OUTPUT_DIR/r", "not a regular file"),
    ],
)
def test_results_that_are_no_files_of_the_job(tmp_path: Path, script: str, words: str) -> None:
    """Links out of the folder are refused.

    They would give away any file of the machine.
    """
    name = "passwd" if "/etc $" in script else "r"
    work = Work(tmp_path / "w", ["sh", "-c", script], results=[result(name)])
    work.write("x", "input")
    status = work.run()
    assert (status["state"], status["reason"]) == ("FAILED", "StageOut")
    assert words in status["message"]


def test_a_link_inside_the_output_folder(tmp_path: Path) -> None:
    """A link to another output is a result."""
    script = "cd $UWS_OUTPUT_DIR; echo data > v2; ln -s v2 latest"
    status = Work(tmp_path / "w", ["sh", "-c", script], results=[result("latest")]).run()
    assert status["outputs"][0]["source"] == "output/v2"


# -- limits -------------------------------------------------------------------------------------------------------


def test_endless_output(tmp_path: Path) -> None:
    """The log stops at the limit.

    The reason is told.
    """
    status = Work(tmp_path / "w", ["yes"], max_output=MiB).run()
    assert (status["state"], status["reason"]) == ("FAILED", "OutputTooLarge")
    assert (tmp_path / "w" / layout.STDOUT).stat().st_size <= MiB + 1


def test_a_result_beyond_the_limit_that_the_command_caught(tmp_path: Path) -> None:
    """Python gets EFBIG where others get SIGXFSZ.

    The reason is the same, even with exit code 0.
    """
    code = """
import os
try:
    with open(os.environ["UWS_OUTPUT_DIR"] + "/r", "wb") as file:
        while True: file.write(bytes(65536))
except OSError:
    pass
"""
    status = Work(tmp_path / "w", python(code), max_output=MiB, results=[result("r")]).run()
    assert (status["reason"], status["exit_code"]) == ("OutputTooLarge", 0)


def test_many_small_files(tmp_path: Path) -> None:
    """No file is large, all together are.

    Also if the command sits in scratch and never ends.
    """
    code = "import itertools\nfor n in itertools.count(): open(f'f{n}', 'wb').write(bytes(10000))"
    status = Work(tmp_path / "w", python(code), max_output=5 * MiB).run()
    assert status["reason"] == "OutputTooLarge" and "working files" in status["message"]


def test_many_empty_files(tmp_path: Path) -> None:
    """Files without content fill a disk as well."""
    code = "import itertools, os\nfor n in itertools.count(): os.mknod(f'{n}')"
    status = Work(tmp_path / "w", python(code), max_files=1000).run()
    assert status["reason"] == "OutputTooLarge" and "1000 files" in status["message"]


def test_output_hidden_in_deep_folders(tmp_path: Path) -> None:
    """Very long paths do not hide anything."""
    code = """
import os, time
for n in range(2000):
    os.mkdir("folder"); os.chdir("folder")
open("hidden", "wb").write(bytes(1000))
time.sleep(60)
"""
    work = Work(tmp_path / "w", python(code))
    assert work.run()["reason"] == "OutputTooLarge"
    remove(work.folder)
    assert not work.folder.exists()


def test_a_memory_hog(tmp_path: Path) -> None:
    """The limit holds for all processes of the command together."""
    code = """
import os, time
for n in range(4):
    if os.fork() == 0:
        hog = bytearray(40 << 20)
        time.sleep(60)
time.sleep(60)
"""
    status = Work(tmp_path / "w", python(code), memory=100 * MiB).run()
    assert (status["state"], status["reason"]) == ("FAILED", "OutOfMemory")
    assert status["usage"]["peak_memory"] > 100 * MiB


def test_shared_memory_counts_once(tmp_path: Path) -> None:
    """Memory that forked workers share counts once."""
    code = """
import os, time
shared = bytearray(60 << 20)
for n in range(4):
    if os.fork() == 0:
        time.sleep(0.5); os._exit(0)
for n in range(4): os.wait()
"""
    assert Work(tmp_path / "w", python(code), memory=120 * MiB).run()["state"] == "SUCCEEDED"


def test_the_time_limit(tmp_path: Path) -> None:
    """U-137: stopped when the time is over.

    What was complete is kept.
    """
    script = "echo done > $UWS_OUTPUT_DIR/r; sleep 60"
    status = Work(tmp_path / "w", ["sh", "-c", script], duration=1, results=[result("r")]).run()
    assert (status["state"], status["reason"]) == ("FAILED", "Deadline")
    assert status["outputs"][0]["id"] == "result"
    assert 1 <= status["usage"]["wall"] < 1 + GRACE_SECONDS + 2


# -- the end of agents and commands -------------------------------------------------------------------------------

ESCAPE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    os.chdir("/")
    for n in range(3): os.close(n)
    time.sleep(300)
open(os.environ["UWS_OUTPUT_DIR"] + "/ready", "w").close()
time.sleep(300)
"""


def test_abort_of_a_command_that_will_not_end(tmp_path: Path) -> None:
    """U-107: all processes are gone, within the grace.

    They had forked, were in sessions of their own, and deaf to SIGTERM.
    """
    mark = uuid.uuid4().hex
    work = Work(tmp_path / "w", [*python(ESCAPE), mark])
    agent = work.start()
    eventually(lambda: (work.folder / "output" / "ready").exists() and len(alive(mark)) == 2)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(GRACE_SECONDS + 8) == 0
    assert (work.status["state"], work.status["reason"]) == ("FAILED", "Aborted")
    assert not alive(mark)


def test_what_a_command_leaves_running_is_killed(tmp_path: Path) -> None:
    """A daemon does not outlive its job.

    Nor does it change results while they are collected.
    """
    mark = uuid.uuid4().hex
    script = f"setsid sh -c 'while :; do sleep 0.01; done' {mark} & echo x > $UWS_OUTPUT_DIR/r"
    status = Work(tmp_path / "w", ["sh", "-c", script], results=[result("r")]).run()
    assert status["state"] == "SUCCEEDED"
    assert not alive(mark)


def test_abort_keeps_complete_results_only(tmp_path: Path) -> None:
    """U-107: results already made are kept.

    A file that was still being written is not a result.
    """
    code = """
import os, time
folder = os.environ["UWS_OUTPUT_DIR"]
open(folder + "/whole", "w").write("all of it")
half = open(folder + "/half", "w"); half.write("a part"); half.flush()
time.sleep(300)
"""
    expected = [result("whole", id="whole"), result("half", id="half"), result("never", id="never")]
    work = Work(tmp_path / "w", python(code), results=expected)
    agent = work.start()
    eventually(lambda: (work.folder / "output" / "half").exists() and (work.folder / "output" / "half").stat().st_size)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(120) == 0
    assert [file["id"] for file in work.status["outputs"]] == ["whole", "stdout", "stderr"]


def test_a_command_may_end_properly_when_it_is_stopped(tmp_path: Path) -> None:
    """U-107: SIGTERM comes first.

    So a command can save what it has.
    """
    script = 'trap "echo saved > $UWS_OUTPUT_DIR/r; exit" TERM; touch $UWS_OUTPUT_DIR/go; while :; do sleep 0.05; done'
    work = Work(tmp_path / "w", ["sh", "-c", script], results=[result("r")])
    agent = work.start()
    eventually(lambda: (work.folder / "output" / "go").exists())
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(120) == 0
    assert (work.folder / "output" / "r").read_text() == "saved\n"
    assert work.status["outputs"][0]["id"] == "result" and work.status["reason"] == "Aborted"


def test_agents_started_together(tmp_path: Path) -> None:
    """Whoever spawns twice runs once."""
    work = Work(tmp_path / "w", ["sh", "-c", "echo ran"])
    agents = [work.start() for _ in range(6)]
    assert [agent.wait(120) for agent in agents] == [0] * 6
    assert (work.folder / layout.STDOUT).read_text() == "ran\n"
    assert work.start().wait(120) == 0
    assert (work.folder / layout.STDOUT).read_text() == "ran\n" and work.status["state"] == "SUCCEEDED"


def test_an_agent_finds_its_folder_taken_or_gone(tmp_path: Path) -> None:
    """An agent that starts late does nothing."""
    work = Work(tmp_path / "w", ["sh", "-c", "echo ran"])
    assert layout.claim(str(work.folder))
    assert work.start().wait(120) == 0
    assert not work.status and not (work.folder / layout.STDOUT).exists()
    work.folder.rename(tmp_path / "moved")
    assert work.start().wait(120) == 0
    assert not work.folder.exists()


def test_the_lock_names_the_agent(tmp_path: Path) -> None:
    """The kernel says who looks after a folder.

    It forgets that when the agent dies.
    """
    work = Work(tmp_path / "w", ["sleep", "300"])
    agent = work.start()
    eventually(lambda: work.status.get("state") == "RUNNING")
    assert layout.agent_pid(str(work.folder)) == agent.pid
    agent.kill()
    agent.wait()
    assert layout.agent_pid(str(work.folder)) is None


def test_the_command_dies_with_its_agent(tmp_path: Path) -> None:
    """``kill -9`` of the agent leaves no command behind."""
    mark = uuid.uuid4().hex
    code = f"import time; time.sleep(300)  # {mark}"
    work = Work(tmp_path / "w", python(code))
    agent = work.start()
    eventually(lambda: work.status.get("state") == "RUNNING" and alive(mark))
    agent.kill()
    agent.wait()
    eventually(lambda: not alive(mark))
    assert work.status["state"] == "RUNNING"  # nobody was left to say otherwise


def test_python_defaults_are_not_passed_on(tmp_path: Path) -> None:
    """Python ignores SIGPIPE.

    A command that inherits this would write into a closed pipe for ever.
    """
    command = ["grep", "-hE", "Sig(Ign|Blk)|core", "/proc/self/status", "/proc/self/limits"]  # a shell would clear them
    work = Work(tmp_path / "w", command)
    work.run()
    blocked, ignored, core = (work.folder / layout.STDOUT).read_text().splitlines()
    settable = ~(0b11 << 31)  # signals 32 and 33 are the C library's own; no program can set them
    assert [int(line.split()[1], 16) & settable for line in (blocked, ignored)] == [0, 0]
    assert core.split()[-3:] == ["0", "0", "bytes"]

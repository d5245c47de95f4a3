"""The kit as an author uses it.

Scaffold, check, trial, golden files; all by the command line, with real runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.authors import Author

PRINT_ALL = """\
#!/bin/sh
{ for word; do echo "word $word"; done; pwd; env | sort; } > "$UWS_OUTPUT_DIR/out.txt"
"""


@pytest.fixture
def author(tmp_path: Path) -> Author:
    """Return an author with an empty folder."""
    return Author(tmp_path / "mine")


def test_a_scaffold_is_good_and_passes_its_tests(author: Author) -> None:
    """What `init` writes is checked, tried and tested as it is."""
    assert author.app("init", "stats", ".").returncode == 0
    checked = author.app("check", "stats.yaml")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "stats.yaml: good\n", "")
    tested = author.app("test", "stats.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "passed  declination" in tested.stdout and "2 passed, 0 failed" in tested.stdout
    second = author.app("init", "stats", ".")
    assert second.returncode == 2 and "is there already" in second.stderr
    assert "can't be the name of an application" in author.app("init", "My_App").stderr


def test_a_scaffold_whose_program_errs_fails_its_tests(author: Author) -> None:
    """A golden file notices a wrong number, with the place of it."""
    author.app("init", "stats", ".")
    program = author.folder / "bin" / "stats"
    program.write_text(program.read_text().replace("max(values)]", "max(values) + 0.001]"))
    tested = author.app("test", "stats.yaml", "declination")
    assert tested.returncode == 1 and "row 1: maximum is 41.2697 instead of 41.2687" in tested.stdout
    updated = author.app("test", "stats.yaml", "declination", "--update")
    assert updated.returncode == 0 and "wrote" in updated.stdout
    assert "41.2697" in (author.folder / "tests" / "declination" / "expected.csv").read_text()


def test_a_check_is_quick(author: Author) -> None:
    """Nothing heavy is imported: neither the web nor the sites, numbers nor databases."""
    author.app("init", "stats", ".")
    code = (
        "import sys\nfrom uws_service.cli import run\nstatus = run(['app', 'check', 'stats.yaml'])\n"
        "heavy = 'starlette sqlalchemy obstore numpy pyarrow structlog httpx2 rich kubernetes'.split()\n"
        "print([name for name in heavy if name in sys.modules], status)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=author.folder, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["stats.yaml: good", "[] 0"], ended.stderr


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["thing", "{OUTPUT:res}"], "{OUTPUT:res} is no result; results: result"),
        (["thing", "${UWS_OUTPUTDIR}/x"], "${UWS_OUTPUTDIR} is not replaced here; did you mean ${UWS_OUTPUT_DIR}?"),
        (["thing", "${UWS_PARAM_N}"], "${UWS_PARAM_N} is not replaced here; replaced: ${UWS_INPUT_DIR}, "),
        (["thing", "{M?--m}"], "{M?…} is not declared; declared: LOUD, N, TABLE"),
        (["thing", "{MAXREC}"], "{MAXREC} is not declared"),
        (["thing", "{RESPONSEFORMAT}"], "{RESPONSEFORMAT} is not declared"),
    ],
)
def test_words_that_mean_nothing(author: Author, command: list[str], problem: str) -> None:
    """Each is told with file, line, field and what is allowed."""
    checked = author.app("check", author.describe(command))
    assert checked.returncode == 2
    assert f"thing.yaml:4: command[1]: {problem}" in checked.stderr


def test_a_shell_replaces_its_own_variables(author: Author) -> None:
    """The same word is good in a shell's script."""
    file = author.describe(["sh", "-c", 'echo "${UWS_PARAM_N}" > "${UWS_OUTPUT_DIR}/out.txt"'])
    assert author.app("check", file).returncode == 0
    assert author.app("try", file, "N=7").returncode == 0


def test_outputs_that_have_no_single_path(author: Author) -> None:
    """A pattern, and a folder that nobody makes."""
    several_files = author.describe(
        ["thing", "{OUTPUT:result}"], "  - {id: result, path: '*.txt', media_type: text/plain}"
    )
    assert "stands for many files (*.txt)" in author.app("check", several_files).stderr
    deep = author.describe(["thing", "{OUTPUT:result}"], "  - {id: result, path: a/b.txt, media_type: text/plain}")
    assert "lies in a folder (a/b.txt) that is not there yet" in author.app("check", deep).stderr


def test_remarks(author: Author) -> None:
    """What may have been overlooked changes no exit code."""
    (verdict,) = author.json("check", author.describe(["no-such-program", "{N}"]))
    remarks = "\n".join(verdict["remarks"])
    assert verdict["name"] == "thing" and verdict["problems"] == []
    assert "there is no command 'no-such-program' in " in remarks
    assert "nothing uses the parameter LOUD" in remarks and "nothing uses the parameter TABLE" in remarks
    assert "parameter N" not in remarks
    author.program("#!/bin/sh\n: $UWS_PARAM_LOUD $UWS_INPUT_DIR/files/TABLE\n")
    assert author.json("check", author.describe(["thing", "{N}"]))[0]["remarks"] == []


def test_words_and_surroundings_of_a_command(author: Author) -> None:
    """Conditions, files with their endings, outputs; nothing of the author's own environment."""
    author.program(PRINT_ALL)
    (author.folder / "a.CSV").write_text("x\n1\n")
    file = author.describe(
        ["thing", "{N?-n}", "{N}", "{LOUD?--loud}", "{TABLE?-t}", "{INPUT:TABLE}", "{OUTPUT:result}"]
    )
    trial = author.json("try", file, "N=3", "LOUD=T", "TABLE=@a.CSV")
    assert trial["error"] == "" and trial["exit_code"] == 0
    lines = Path(trial["results"][0]["path"]).read_text().splitlines()
    words = [line.removeprefix("word ") for line in lines if line.startswith("word ")]
    assert words[:4] == ["-n", "3", "--loud", "-t"]
    assert words[4].endswith("/input/files/TABLE.csv") and words[5].endswith("/output/out.txt")
    names = {line.partition("=")[0] for line in lines if "=" in line}
    assert {"UWS_JOB_ID", "UWS_PARAM_N", "UWS_INPUT_DIR", "UWS_PROGRESS_FILE"} <= names
    assert not names & {"PYTEST_CURRENT_TEST", "USER", "SHELL", "VIRTUAL_ENV"}
    trial = author.json("try", file, "LOUD=false")
    lines = Path(trial["results"][0]["path"]).read_text().splitlines()
    assert [Path(line).name for line in lines if line.startswith("word ")] == ["out.txt"]


def test_a_result_that_is_elsewhere(author: Author) -> None:
    """The error lists what lies in both folders."""
    author.program(
        '#!/bin/sh\nmkdir "$UWS_OUTPUT_DIR/sub"; : > "$UWS_OUTPUT_DIR/sub/other.txt"; : > out.txt; ln -s /etc x\n'
    )
    trial_run = author.app("try", author.describe(["thing", "{N}"]))
    assert trial_run.returncode == 1
    assert "did not write the result 'result' (out.txt)" in trial_run.stderr
    assert "The output folder has: sub/other.txt. The working folder has: out.txt, x." in trial_run.stderr


def test_limits_hold_in_a_trial(author: Author) -> None:
    """Memory and time end it as they would end a job."""
    file = author.describe([sys.executable, "-c", "x = bytearray(600_000_000); input()", "{N}"])
    path = author.folder / file
    path.write_text(path.read_text() + "resources: {memory: 100MiB}\n")
    assert author.json("try", file)["reason"] == "OutOfMemory"
    file = author.describe(["sleep", "600"])
    path.write_text(path.read_text() + "limits: {execution_duration: {default: 1s}}\n")
    assert author.json("try", file)["reason"] == "Deadline"


def test_requests_are_checked_as_those_of_jobs(author: Author) -> None:
    """Wrong values, files that are not there, parameters of another kind."""
    author.program(PRINT_ALL)
    file = author.describe(["thing", "{N}"])
    wrong = author.app("try", file, "N=-1")
    assert wrong.returncode == 2 and "N='-1' is not allowed" in wrong.stderr
    absent = author.app("try", file, "TABLE=@absent.csv")
    assert absent.returncode == 2 and "absent.csv: No such file" in absent.stderr
    assert author.app("try", file, "word").returncode == 2


def test_cases_that_are_wrong(author: Author) -> None:
    """A case's file is checked like a descriptor."""
    file = author.describe(["thing", "{N}"])
    assert "there is no case" in author.app("test", file).stderr
    folder = author.folder / "tests" / "first"
    folder.mkdir(parents=True)
    case = folder / "case.yaml"
    case.write_text("parameters: {N: 1}\nresult: {}\n")
    assert "case.yaml:2: result: result is not known; allowed: title, parameters" in author.app("test", file).stderr
    case.write_text("parameters: {N: 1}\nresults: {other: x.txt}\n")
    assert "'other' is no result; results: result" in author.app("test", file).stderr
    case.write_text("parameters: {TABLE: '@no.csv'}\n")
    assert "there is no file" in author.app("test", file).stderr
    case.write_text("parameters: {N: 1}\n")
    assert "there is no case second; cases: first" in author.app("test", file, "second").stderr


def test_cases_of_errors(author: Author) -> None:
    """A case may want an error: another one, or none, fails it."""
    author.program('#!/bin/sh\n[ "$1" = 1 ] && { echo "one is too few" >&2; exit 3; }\n: > "$UWS_OUTPUT_DIR/out.txt"\n')
    file = author.describe(["thing", "{N}"])
    for name, text in (
        ("right", "parameters: {N: 1}\nerror: one is too few\n"),
        ("other", "parameters: {N: 1}\nerror: two\n"),
        ("none", "parameters: {N: 2}\nerror: one\n"),
        ("usage", "parameters: {N: -5}\nerror: is not allowed\n"),
        ("good", "parameters: {N: 2}\n"),
    ):
        folder = author.folder / "tests" / name
        folder.mkdir(parents=True)
        (folder / "case.yaml").write_text(text)
    outcomes = {entry["case"]: entry["problems"] for entry in json.loads(author.app("test", file, "--json").stdout)}
    assert [name for name, problems in outcomes.items() if not problems] == ["good", "right", "usage"]
    assert "ended with another error" in outcomes["other"][0] and "ended well instead" in outcomes["none"][0]

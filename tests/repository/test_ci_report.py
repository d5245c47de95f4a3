"""Continuous integration tells a flaky test from a broken one, and hides neither."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[2] / ".ci" / "report.py"
TESTS = """
from pathlib import Path
import pytest

FOLDER = Path(__file__).parent

class TestFirst:
    @pytest.mark.parametrize("text", ["a b", "x@y/[z]"])
    def test_once(self, text):
        mark = FOLDER / str(len(text))
        present = mark.exists()
        mark.touch()
        assert present, "first time"

def test_always():
    raise ValueError("broken")

@pytest.fixture
def resource():
    yield
    mark = FOLDER / "closed"
    present = mark.exists()
    mark.touch()
    assert present, "not closed"

def test_teardown(resource):
    pass

def test_good():
    pass
"""
BROKEN_IMPORT = """
from pathlib import Path
mark = Path(__file__).with_suffix(".mark")
if not mark.exists():
    mark.touch()
    raise RuntimeError("not importable the first time")
def test_nothing():
    pass
"""


def pytest_run(folder: Path, report: str, *words: str) -> int:
    """Run the folder's tests in a pytest of their own, with the report that `.ci/run` has."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1"]
    return subprocess.run(
        [*command, f"--rootdir={folder}", f"--junitxml={folder / report}", *words], cwd=folder, capture_output=True
    ).returncode


def report(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/report.py`."""
    return subprocess.run([sys.executable, str(REPORT), *words], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with flaky tests."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    return tmp_path


def test_flaky_and_broken(folder: Path) -> None:
    """What passes alone is FLAKY with the reason of its failure; what fails again makes the verdict fail."""
    assert pytest_run(folder, "first.xml") == 1
    second = report(folder, "again", "first.xml").stdout
    flaky = ["test_some.py::TestFirst::test_once[a b]", "test_some.py::TestFirst::test_once[x@y/[z]]"]
    assert sorted(second.split("\n")[:-1]) == sorted(
        [*flaky, "test_some.py::test_always", "test_some.py::test_teardown"]
    )
    (folder / "again").write_text(second)
    assert pytest_run(folder, "second.xml", "@again") == 1
    verdict = report(folder, "verdict", "first.xml", "second.xml")
    assert verdict.returncode == 1
    lines = verdict.stdout.splitlines()
    for test in flaky:
        assert any(line.startswith(f"FLAKY {test}: ") and "first time" in line for line in lines), lines
    assert any(line.startswith("FLAKY test_some.py::test_teardown: ") and "not closed" in line for line in lines)
    place = lines.index("FAILED test_some.py::test_always: ValueError: broken")
    assert lines[place + 1].split(": ") == ["       and then", "ValueError", "broken"]
    assert verdict.stdout.count("FAILED") == 1


def test_only_flaky_ones(folder: Path) -> None:
    """They are told, and fail nothing."""
    (folder / "test_some.py").write_text(TESTS.replace('raise ValueError("broken")', "pass"))
    assert pytest_run(folder, "first.xml") == 1
    (folder / "again").write_text(report(folder, "again", "first.xml").stdout)
    assert pytest_run(folder, "second.xml", "@again") == 0
    verdict = report(folder, "verdict", "first.xml", "second.xml")
    assert verdict.returncode == 0 and verdict.stdout.count("FLAKY ") == 3 and "FAILED" not in verdict.stdout


def test_a_module_that_could_not_be_imported_is_never_flaky(folder: Path) -> None:
    """Nothing ran then.

    A second try that passes shows nothing of the rest.
    """
    (folder / "test_other.py").write_text(BROKEN_IMPORT)
    assert pytest_run(folder, "first.xml") == 2
    (folder / "again").write_text(report(folder, "again", "first.xml").stdout)
    pytest_run(folder, "second.xml", "@again")
    verdict = report(folder, "verdict", "first.xml", "second.xml")
    assert verdict.returncode == 1 and "FAILED test_other" in verdict.stdout and "not importable" in verdict.stdout


def test_a_second_run_that_did_not_come_about(folder: Path) -> None:
    """Without its report everything that failed has failed."""
    pytest_run(folder, "first.xml")
    verdict = report(folder, "verdict", "first.xml", "absent.xml")
    assert verdict.returncode == 1 and verdict.stdout.count("FAILED ") == 4

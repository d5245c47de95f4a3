"""The application `sleep`."""

from __future__ import annotations

from pathlib import Path

from tests.apps.programs import run


def test_default(tmp_path: Path) -> None:
    """Sleep a second, write 64 bytes, end with progress 1."""
    outcome = run(tmp_path, "sleep")
    assert (outcome.state, outcome.exit_code) == ("SUCCEEDED", 0)
    assert outcome.result is not None and len(outcome.result) == 64
    assert outcome.media_type == "application/octet-stream"
    assert outcome.progress.splitlines()[-1] == "1.000 1 of 1 s"
    assert outcome.stdout == "sleeping for 1 s\n" and outcome.stderr == ""


def test_size_of_the_result(tmp_path: Path) -> None:
    """The size is exact, also beyond the block size."""
    for size in (0, 1, 65536, 200_001):
        outcome = run(tmp_path / str(size), "sleep", SECONDS=0, OUTPUT=size)
        assert outcome.state == "SUCCEEDED" and outcome.result is not None and len(outcome.result) == size


def test_exit_code(tmp_path: Path) -> None:
    """Any code but 0 is a failure."""
    outcome = run(tmp_path, "sleep", SECONDS="0", exit=3)
    assert (outcome.state, outcome.exit_code, outcome.reason) == ("FAILED", 3, "ExitCode")
    assert "ending with code 3" in outcome.stderr

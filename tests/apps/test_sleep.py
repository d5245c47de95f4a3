"""The application `sleep`: does what it is asked for, and tells how far it has come."""

from __future__ import annotations

from pathlib import Path

from tests.apps.programs import run


def test_default(tmp_path: Path) -> None:
    """A second, 64 bytes, the last progress is 1."""
    done = run(tmp_path, "sleep")
    assert (done.state, done.exit_code) == ("SUCCEEDED", 0)
    assert done.result is not None and len(done.result) == 64
    assert done.media_type == "application/octet-stream"
    assert done.progress.splitlines()[-1] == "1.000 1 of 1 s"
    assert done.stdout == "sleeping for 1 s\n" and done.stderr == ""


def test_size_of_the_result(tmp_path: Path) -> None:
    """To the byte, also over the block size; nothing at all is a result too."""
    for size in (0, 1, 65536, 200_001):
        done = run(tmp_path / str(size), "sleep", SECONDS=0, OUTPUT=size)
        assert done.state == "SUCCEEDED" and done.result is not None and len(done.result) == size


def test_exit_code(tmp_path: Path) -> None:
    """Any code but 0 is a failure, said on stderr."""
    done = run(tmp_path, "sleep", SECONDS="0", exit=3)
    assert (done.state, done.exit_code, done.reason) == ("FAILED", 3, "ExitCode")
    assert "ending with code 3" in done.stderr

"""The environment of a command.

One function for all kinds of site.
"""

from __future__ import annotations

import pytest

from uws_service.agent.environment import Folders, command_environment

FOLDERS = Folders("/w/input", "/w/output", "/w/scratch", "/w/progress")


def test_what_every_command_gets() -> None:
    """The service's own variables win.

    Neither a parameter nor the site's variables override what it says of its folders.
    """
    environment = command_environment(
        "job",
        FOLDERS,
        {"UWS_PARAM_A": "b", "UWS_OUTPUT_DIR": "/etc", "PATH": "/evil"},
        base={"PATH": "/bin", "UWS_JOB_ID": "other"},
        token_variable="BEARER_TOKEN_FILE",
    )
    assert environment == {
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/w/scratch",
        "TMPDIR": "/w/scratch",
        "PATH": "/evil",
        "UWS_PARAM_A": "b",
        "BEARER_TOKEN_FILE": "/w/input/.bearer_token",
        "UWS_JOB_ID": "job",
        "UWS_INPUT_DIR": "/w/input",
        "UWS_OUTPUT_DIR": "/w/output",
        "UWS_PROGRESS_FILE": "/w/progress",
    }


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x" * 100_001, "é" * 50_001])
def test_values_that_no_system_takes(value: str) -> None:
    """They alone are left out."""
    environment = command_environment("job", FOLDERS, {"UWS_PARAM_A": value, "UWS_PARAM_B": "b"})
    assert "UWS_PARAM_A" not in environment and environment["UWS_PARAM_B"] == "b"


def test_values_have_one_limit_together() -> None:
    """A site's own limit counts bytes.

    What does not fit is left out, and what is small still goes in.
    """
    values = {"UWS_PARAM_A": "x" * 60, "UWS_PARAM_B": "é" * 30, "UWS_PARAM_C": "y" * 40}
    environment = command_environment("job", FOLDERS, values, max_bytes=100)
    assert [name for name in environment if name.startswith("UWS_PARAM")] == ["UWS_PARAM_A", "UWS_PARAM_C"]


def test_only_two_folders_are_expanded() -> None:
    """Text that looks like a variable stays."""
    assert FOLDERS.expand("--to=${UWS_OUTPUT_DIR}/a ${UWS_INPUT_DIR} $HOME") == "--to=/w/output/a /w/input $HOME"

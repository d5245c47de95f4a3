"""Tools that a machine may lack: a test that needs one is skipped with the reason, or fails where all are required."""

from __future__ import annotations

import os
import shutil

import pytest


def require(tool: str) -> None:
    """Skip the test when a tool is missing; fail instead with ``UWS_TEST_REQUIRE=all``."""
    if shutil.which(tool) is not None:
        return
    reason = f"{tool} is not installed"
    if os.environ.get("UWS_TEST_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)

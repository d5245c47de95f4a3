"""Tools that a machine may lack: a test that needs one is skipped with the reason, or fails where all are required."""

from __future__ import annotations

import os
import shutil

import pytest


def require(tool: str) -> str:
    """The path of a tool; skips the test when it is missing, or fails it with ``UWS_TEST_REQUIRE=all``."""
    found = shutil.which(tool)
    if found is None:
        reason = f"{tool} is not installed"
        if os.environ.get("UWS_TEST_REQUIRE") == "all":
            pytest.fail(reason)
        pytest.skip(reason)
    return found

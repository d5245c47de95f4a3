"""What a machine may lack: a test that needs it is skipped with the reason, or fails where everything is required."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skip a test for that reason, or fail it with ``UWS_TEST_REQUIRE=all``."""
    if os.environ.get("UWS_TEST_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)


def require(tool: str) -> str:
    """The path of a tool; skips the test when it is missing, or fails it with ``UWS_TEST_REQUIRE=all``."""
    found = shutil.which(tool)
    if found is None:
        lacking(f"{tool} is not installed")
    return found

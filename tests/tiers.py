"""What a machine may lack.

A test that needs it is skipped with the reason, or fails where everything is required.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from uws_service.sites.local.cgroups import prepare


def lacking(reason: str) -> NoReturn:
    """Skip a test for that reason, or fail it with ``UWS_TEST_REQUIRE=all``."""
    if os.environ.get("UWS_TEST_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)


def require_cgroup(*controllers: str) -> None:
    """Skip a test where the service can't make cgroups of version 2, or not with these controllers.

    The machine's kernel has them or not: nothing that could be installed would change it.
    """
    cgroup = prepare(Path("/probe-of-the-tests"))
    try:
        if cgroup.top is None:
            pytest.skip("no cgroup v2 below which this process may make others")
        if absent := set(controllers) - cgroup.controllers:
            pytest.skip(
                f"cgroup v2 without the controllers {', '.join(sorted(absent))} (they may be in use by version 1)"
            )
    finally:
        if cgroup.top is not None:
            cgroup.top.rmdir()


def require(tool: str) -> str:
    """Return the path of a tool.

    Skips the test when it is missing, or fails it with ``UWS_TEST_REQUIRE=all``.
    """
    program = shutil.which(tool)
    if program is None:
        lacking(f"{tool} is not installed")
    return program

"""The installed distribution: command, plug-in, profiles, schemas."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from email.parser import Parser
from pathlib import Path

import pytest

from tests.server import ROOT, Server
from tests.tiers import lacking


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel without its dependencies.

    Those come from this environment.
    """
    if importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("pip") is None:
        lacking("hatchling or pip is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT / "conformance")]
    subprocess.run(build, check=True, timeout=600)
    (wheel,) = folder.glob("uws_conformance-*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    return target


def test_few_dependencies_and_none_of_the_service(installed: Path) -> None:
    (metadata,) = installed.glob("uws_conformance-*.dist-info/METADATA")
    requirements = Parser().parsestr(metadata.read_text()).get_all("Requires-Dist") or []
    assert sorted(requirement.partition(">")[0] for requirement in requirements) == ["httpx2", "lxml", "pyyaml", "rich"]
    sources = (installed / "uws_conformance").rglob("*.py")
    assert not any("import uws_service" in path.read_text() for path in sources)
    (entry_points,) = installed.glob("uws_conformance-*.dist-info/entry_points.txt")
    assert "[pytest11]\nuws-conformance = uws_conformance.pytest_plugin" in entry_points.read_text()


def test_command_checks_the_demo_service_within_a_minute(installed: Path, tmp_path: Path) -> None:
    server = Server(tmp_path / "service")
    server.start()
    # The installed package comes first in the path; its dependencies are those of this environment.
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(installed / "bin" / "uws-conformance"), f"{server.url}/sleep/async", "--strict"]
    started = time.monotonic()
    try:
        process = subprocess.run(
            [*command, "--profile", "uws-service"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
    finally:
        server.stop()
    seconds = time.monotonic() - started
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr
    assert "0 fail, 0 warn" in process.stdout and process.stderr == ""
    assert seconds < 60


def test_plugin_checks_the_demo_service(installed: Path, tmp_path: Path) -> None:
    """The plug-in is found by its entry point."""
    server = Server(tmp_path / "service")
    server.start()
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    options = ["--uws-url", f"{server.url}/sleep/async", "--uws-profile", "uws-service", "--uws-strict"]
    command = [sys.executable, "-m", "pytest", "-q", "-k", "V-0 or D-0 or U-02 or U-05", *options]
    try:
        process = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    finally:
        server.stop()
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr
    assert " passed" in process.stdout and "failed" not in process.stdout

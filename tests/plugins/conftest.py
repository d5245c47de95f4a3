"""Packages outside the service's own tree, installed as their users would install them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.programs import Program
from tests.server import ROOT, Server
from tests.tiers import lacking

EXAMPLES = ROOT / "docs" / "examples"


def install(package: Path, target: Path) -> None:
    """Install a package by pip into a folder, without the dependencies, which this environment has."""
    if importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("pip") is None:
        lacking("hatchling or pip is not installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*pip, *options, str(package)], check=True, timeout=600)


@pytest.fixture(scope="session")
def nice_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which the documentation's kind of site is installed."""
    target = tmp_path_factory.mktemp("nice-site")
    install(EXAMPLES / "nice_site", target)
    return target


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return an application that waits for leave to end, and notes each of its runs."""
    return Program(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def polite(nice_site: Path, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a running service whose only site is of the documentation's kind."""
    config = f"""\
sites: [{{name: polite, kind: nice, niceness: 7, slots: 2}}]
applications: ["{program.descriptor}"]
"""
    server = Server(tmp_path_factory.mktemp("polite"), {"PYTHONPATH": f"{ROOT}:{nice_site}"}, config=config)
    server.start()
    yield server
    server.stop()

"""A package whose registration is wrong stops the start, and the message says which and why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.packages import write_package
from tests.server import ROOT

KIND = """
from typing import Literal
from uws_service.sites.kind import Kind
from uws_service.sites.settings import SiteSettings

class Settings(SiteSettings):
    kind: Literal["{of}"] = "{of}"

KIND = Kind("{name}", Settings, lambda settings, parts: None)
"""
WRONG = {
    "missing module": ("", "nowhere:KIND", "ModuleNotFoundError: No module named 'nowhere'"),
    "missing name": ("", "guest:KIND", "AttributeError: module 'guest' has no attribute 'KIND'"),
    "failing module": ("1 / 0", "guest:KIND", "ZeroDivisionError: division by zero"),
    "ending module": ("import sys\nsys.exit('no')", "guest:KIND", "SystemExit: no"),
    "something else": ("KIND = 'guest'", "guest:KIND", "must be a Kind, is a str"),
    "name in use": (KIND.format(name="local", of="local"), "guest:KIND", "there is a Kind 'local' already"),
    "other settings": (KIND.format(name="guest", of="local"), "guest:KIND", "must be of the type Literal['guest']"),
}


def start(folder: Path, *packages: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Start a service that has some packages, and wait for its end."""
    path = os.pathsep.join(map(str, (ROOT, *packages)))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UWS_")}
    return subprocess.run(
        [sys.executable, "-m", "uws_service", "serve", "--port", "0"],
        env={**clean, "PYTHONPATH": path, "UWS_DATA": str(folder / "data"), **settings},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(("source", "reference", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_kind_stops_the_start(tmp_path: Path, source: str, reference: str, message: str) -> None:
    write_package(tmp_path / "site", "guest", source, {"uws_service.sites": {"guest": reference}})
    process = start(tmp_path, tmp_path / "site")
    assert process.returncode == 2, process.stderr
    assert process.stderr.count("\n") == 1, process.stderr
    assert "entry point uws_service.sites: guest of guest" in process.stderr and message in process.stderr
    assert not (tmp_path / "data").exists()


def test_two_packages_with_a_kind_of_one_name(tmp_path: Path) -> None:
    for name in ("first", "second"):
        points = {"uws_service.sites": {name: f"{name}:KIND"}}
        write_package(tmp_path / name, name, KIND.format(name="guest", of="guest"), points)
    process = start(tmp_path, tmp_path / "first", tmp_path / "second")
    assert process.returncode == 2 and "there is a Kind 'guest' already" in process.stderr
    assert "second" in process.stderr


def test_kind_that_can_not_be_opened(tmp_path: Path) -> None:
    """A kind's own mistake names the site, not a line of a traceback."""
    source = KIND.format(name="guest", of="guest").replace("None)", "1 / 0)")
    write_package(tmp_path / "site", "guest", source, {"uws_service.sites": {"guest": "guest:KIND"}})
    process = start(tmp_path, tmp_path / "site", UWS_SITES='[{"name": "far", "kind": "guest"}]')
    assert process.returncode != 0 and "Traceback" not in process.stderr
    assert "site far: the kind 'guest' does not open it: ZeroDivisionError" in process.stderr

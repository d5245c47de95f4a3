"""A package whose registration is wrong stops the start, and the message says which and why."""

from __future__ import annotations

import json
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
    "class": ("class KIND: ...", "guest:KIND", "must be a Kind, is the class KIND"),
    "settings of no site": (
        "from uws_service.sites.kind import Kind\nKIND = Kind('guest', dict, dict)",
        "guest:KIND",
        "must be a class below SiteSettings",
    ),
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


EXECUTOR = """
from typing import Literal
from uws_service.sites.executor import Executor
from uws_service.sites.kind import Kind
from uws_service.sites.settings import SiteSettings

class Settings(SiteSettings):
    kind: Literal["guest"] = "guest"

class GuestExecutor(Executor):
    def __init__(self, settings, parts):
        {init}
    async def start(self):
        {start}
    async def submit(self, launch): ...
    async def observe(self): return []
    async def kill(self, job_id, number): ...
    async def collect(self, observation, attempt): ...
    async def forget(self, job_id, number): ...

KIND = Kind("guest", Settings, {open}, leased=False)
"""
COMPLETE = "self.site, self.capacity = settings.name, settings.slots"
INCOMPLETE = {
    "no executor": ({"open": "lambda settings, parts: None"}, "does not open it: it returns no Executor, but None"),
    "no site": ({"init": "self.capacity = 1"}, "GuestExecutor must set `site`, here to 'far'"),
    "no capacity": ({"init": "self.site = settings.name"}, "GuestExecutor must set `capacity`, here to 1"),
    "no work folder": ({}, "GuestExecutor.start must set `identity` to the WorkFolder of its jobs"),
    "no start": ({"start": "open('/nowhere')"}, "does not start it: FileNotFoundError: [Errno 2]"),
}


@pytest.mark.parametrize(("parts", "message"), INCOMPLETE.values(), ids=INCOMPLETE.keys())
def test_incomplete_executor_stops_the_start(tmp_path: Path, parts: dict[str, str], message: str) -> None:
    source = EXECUTOR.format(**({"init": COMPLETE, "start": "pass", "open": "GuestExecutor"} | parts))
    write_package(tmp_path / "site", "guest", source, {"uws_service.sites": {"guest": "guest:KIND"}})
    process = start(tmp_path, tmp_path / "site", UWS_SITES='[{"name": "far", "kind": "guest"}]')
    assert process.returncode == 2, process.stderr
    assert "site far: the kind 'guest'" in process.stderr and message in process.stderr
    assert "Traceback" not in process.stderr


RESOURCES = """
from uws_service.auth.policy import Policy
from uws_service.web.resource import Resource

async def read(request): ...

def resources(backend):
    return {table}
"""
UNROUTABLE = {
    "no table": ("[Resource('guest', Policy.OPEN, get=(read, ''))]", "must return a dict of a Resource by each path"),
    "no resource": ("{'/{application}/guest': read}", "must return a dict of a Resource by each path"),
    "no application": (
        "{'/guest/words': Resource('guest', Policy.USE, get=(read, ''))}",
        "/guest/words: GET has the policy USE, so the path must have {application}.",
    ),
    "no job": (
        "{'/{application}/async/{id}/guest': Resource('guest', Policy.OPEN, Policy.WRITE, post=(read, ''))}",
        "/{application}/async/{id}/guest: POST has the policy WRITE, so the path must have {job_id}.",
    ),
}


@pytest.mark.parametrize(("table", "message"), UNROUTABLE.values(), ids=UNROUTABLE.keys())
def test_resource_that_its_policy_can_not_protect(tmp_path: Path, table: str, message: str) -> None:
    """A policy would find no job or application in such a path, and only some requests would show it."""
    points = {"uws_service.resources": {"guest": "guest:resources"}}
    write_package(tmp_path / "guest", "guest", RESOURCES.format(table=table), points)
    process = start(tmp_path, tmp_path / "guest")
    assert process.returncode == 2, process.stderr
    assert f"entry point uws_service.resources: guest of guest: {message}" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("what", ["kind", "protocol"])
def test_message_hints_at_a_package_that_is_not_installed(tmp_path: Path, what: str) -> None:
    descriptor = {"name": "guest", "title": "Guest", "description": "A guest.", "protocol": "guest"}
    (tmp_path / "guest.yaml").write_text(json.dumps(descriptor), encoding="utf-8")
    settings = {
        "kind": {"UWS_SITES": '[{"name": "far", "kind": "guest"}]'},
        "protocol": {"UWS_APPLICATIONS": '["guest.yaml"]'},
    }
    process = start(tmp_path, **settings[what])
    assert process.returncode == 2, process.stderr
    assert "is not known" in process.stderr and "install that where the service is installed" in process.stderr

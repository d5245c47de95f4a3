"""``make release``.

The same bytes twice, checksums, a chart that Helm takes, a wheel that works by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.release.packages import require_packages
from tests.rig import build
from tests.rig.errors import ClusterError
from tests.server import ROOT, Server
from tests.tiers import lacking

EPOCH = "1795000000"
INSTALL_SECONDS = 900


def release(folder: Path, **environment: str) -> Path:
    """Make a release; its folder."""
    words = [sys.executable, str(ROOT / "scripts" / "release.py"), "--folder", str(folder)]
    variables = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, **environment}
    subprocess.run(words, check=True, capture_output=True, timeout=600, env=variables)
    return folder


@pytest.fixture(scope="module")
def release_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a release."""
    return release(tmp_path_factory.mktemp("release") / "dist")


def test_two_runs_give_the_same_bytes(release_folder: Path, tmp_path: Path) -> None:
    """Whatever the time zone, the umask or the order of a folder; the checksums are those of the files."""
    before = os.umask(0o077)
    try:
        second = release(tmp_path / "dist", TZ="Asia/Tokyo")
    finally:
        os.umask(before)
    names = sorted(path.name for path in release_folder.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert [name for name in names if (release_folder / name).read_bytes() != (second / name).read_bytes()] == []
    lines = [line.split("  ") for line in (release_folder / "SHA256SUMS").read_text().splitlines()]
    listed = {name: digest for digest, name in lines}
    assert set(listed) == set(names) - {"SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((release_folder / name).read_bytes()).hexdigest() == digest


def test_what_is_in_it(release_folder: Path) -> None:
    """Both distributions as wheel and sdist, with their schemas; nothing of the machine or the tests' data."""
    (wheel,) = release_folder.glob("uws_service-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"uws_service/schemas/application.schema.json", "uws_service/schemas/case.schema.json"} <= names
    assert {"uws_service/kit/scaffold/bin/program", "uws_service/web/templates/base.html"} <= names
    assert not [name for name in names if name.startswith("tests/") or ".pyc" in name]
    (wheel,) = release_folder.glob("uws_conformance-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "uws_conformance/schemas/uws-1.1.xsd" in archive.namelist()
    for path in release_folder.glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            assert not [entry.name for entry in archive.getmembers() if ".venv" in entry.name or ".git/" in entry.name]


def test_an_sdist_gives_the_same_wheel(release_folder: Path, tmp_path: Path) -> None:
    """Distributions of Linux systems build from the sdist."""
    for name in ("uws_service", "uws_conformance"):
        (sdist,) = release_folder.glob(f"{name}-*.tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(tmp_path, filter="data")
        source = tmp_path / sdist.name.removesuffix(".tar.gz")
        words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheels")]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
        subprocess.run(words, cwd=source, check=True, capture_output=True, timeout=300, env=environment)
        (wheel,) = release_folder.glob(f"{name}-*.whl")
        with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(tmp_path / "wheels" / wheel.name) as second:
            assert sorted(first.namelist()) == sorted(second.namelist())
            assert [name for name in first.namelist() if first.read(name) != second.read(name)] == []


def test_the_chart_is_one_of_helm(release_folder: Path) -> None:
    """Its version is the service's, in Helm's words."""
    (chart,) = release_folder.glob("uws-service-*.tgz")
    try:
        helm = build.ensure("helm")["helm"]
    except ClusterError as error:
        lacking(str(error))
    words = [str(helm), "lint", "--strict", str(chart), "--set", "settings.auth.access.anonymous=true"]
    linted = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert "1 chart(s) linted" in linted.stdout, linted.stdout + linted.stderr
    printed = subprocess.run([str(helm), "show", "chart", str(chart)], capture_output=True, text=True, check=True)
    assert f"version: {chart.name.removeprefix('uws-service-').removesuffix('.tgz')}" in printed.stdout
    with tarfile.open(chart) as archive:
        names = {entry.name for entry in archive.getmembers()}
    source = ROOT / "k8s" / "uws-service"
    assert names == {f"uws-service/{path.relative_to(source)}" for path in source.rglob("*") if path.is_file()}


def test_the_bill_of_materials(release_folder: Path) -> None:
    """It is valid CycloneDX, and names each pinned package."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    (path,) = release_folder.glob("*.cdx.json")
    text = path.read_text()
    try:
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except Exception as error:  # its extra for validation may be absent
        if type(error).__name__ != "MissingOptionalDependencyException":
            raise
        problem = None
    assert problem is None, problem
    document = json.loads(text)
    assert document["bomFormat"] == "CycloneDX" and document["metadata"]["component"]["name"] == "uws-service"
    lines = (ROOT / "requirements" / "runtime.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if line[:1].isalnum()}
    names = {component["name"] for component in document["components"]}
    assert {name.partition("[")[0] for name in pinned} == names and "starlette" in names
    assert all(component["purl"].startswith("pkg:pypi/") for component in document["components"])


@pytest.fixture(scope="module")
def installed(release_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a fresh virtual environment with the wheel, installed from folders alone."""
    packages = require_packages()
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "env", with_pip=True)
    pip = [str(folder / "env" / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    words = ["install", "--no-index", "--find-links", str(release_folder), "--find-links", str(packages), "--pre"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    subprocess.run([*pip, *words, "uws-service[apps]"], check=True, timeout=INSTALL_SECONDS, env=clean, cwd=folder)
    yield folder / "env" / "bin"


def test_the_wheel_works_by_itself(installed: Path, tmp_path: Path) -> None:
    """Help, an application's check, a service with a job; nothing of the checkout is in the path."""
    program = installed / "uws-service"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ended = subprocess.run([program, "--help"], capture_output=True, text=True, cwd=tmp_path, env=clean, timeout=120)
    assert ended.returncode == 0 and "check-config" in ended.stdout
    for words in (["app", "init", "stats"], ["app", "check", "stats/stats.yaml"], ["app", "test", "stats/stats.yaml"]):
        ended = subprocess.run([program, *words], capture_output=True, text=True, cwd=tmp_path, env=clean, timeout=300)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    server = Server(tmp_path / "service", {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"})
    server.executable = str(installed / "python")
    server.start()
    try:
        with httpx2.Client(base_url=server.url, timeout=120) as http:
            answer = http.post("/sleep/sync", data={"SECONDS": "0.1", "OUTPUT": "5"}, follow_redirects=True)
            assert answer.status_code == 200 and len(answer.content) == 5, answer.text
            query = "SELECT TOP 1 * FROM openngc.objects"
            answer = http.post("/tap/sync", data={"LANG": "ADQL", "QUERY": query, "FORMAT": "csv"})
            assert answer.status_code == 200 and len(answer.text.splitlines()) == 2, answer.text
    finally:
        server.stop()

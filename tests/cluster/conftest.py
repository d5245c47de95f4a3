"""Test sites, brought up once and taken away at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import images
from tests.cluster.building import CannotBuild, built
from tests.cluster.service import NAMESPACE, ClusterServer, settings_of
from tests.cluster.site import Site

NEEDED = {
    "containerd": "containerd", "runc": "runc", "ip": "iproute2", "busybox": "busybox-static", "nsenter": "util-linux",
    "gcc": "gcc",
}  # fmt: skip


def _check() -> None:
    """Skip, with the reason, where no cluster can be brought up; fail there if all tests are required."""
    if os.environ.get("UWS_TEST_CLUSTER") != "1":
        pytest.skip("tests on a real cluster are run by `make test-cluster`")
    missing = [package for tool, package in NEEDED.items() if shutil.which(tool) is None]
    reason = f"not installed: {', '.join(missing)}" if missing else ""
    if os.geteuid() != 0:
        reason = "a cluster can only be brought up by root"
    try:
        if not reason:
            built("kubernetes")
    except CannotBuild as error:
        reason = str(error)
    if reason:
        pytest.fail(reason) if os.environ.get("UWS_TEST_REQUIRE") == "all" else pytest.skip(reason)


def _site(name: str) -> Iterator[Site]:
    _check()
    there = Site.find(name) is not None
    site = Site.up(name)
    site.import_image(images.service())
    site.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield site
    if not there and os.environ.get("UWS_CLUSTER_KEEP") != "1":
        site.down()


@pytest.fixture(scope="session")
def site_a() -> Iterator[Site]:
    """The first site."""
    yield from _site("a")


@pytest.fixture(scope="session")
def site_b() -> Iterator[Site]:
    """The second site."""
    yield from _site("b")


@pytest.fixture(scope="module")
def service(site_a: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServer]:
    """A service whose only site is the first one."""
    server = ClusterServer(tmp_path_factory.mktemp("service"), [settings_of(site_a)], site_a.host_address)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for one service."""
    return tmp_path / "service"

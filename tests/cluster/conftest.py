"""Test sites, brought up once and taken away at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import images
from tests.cluster.build import built
from tests.cluster.errors import Unable
from tests.cluster.service import NAMESPACE, ClusterServer, settings_of
from tests.cluster.site import Site, check_machine


def _check() -> None:
    """Skip, with the reason, where no cluster can be brought up; fail there if all tests are required."""
    if os.environ.get("UWS_TEST_CLUSTER") != "1":
        pytest.skip("tests on a real cluster are run by `make test-cluster`")
    try:
        check_machine()
        built("kubernetes")
    except Unable as error:
        pytest.fail(str(error)) if os.environ.get("UWS_TEST_REQUIRE") == "all" else pytest.skip(str(error))


def _site(name: str) -> Iterator[Site]:
    _check()
    there = Site.find(name) is not None
    site = Site.up(name)
    site.import_image(images.service())
    site.import_image(images.agent())
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

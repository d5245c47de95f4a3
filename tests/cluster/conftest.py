"""Test sites, brought up when a test first wants one; what ran before the tests still runs after them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.service import NAMESPACE, ClusterServer, settings_of
from tests.rig import images
from tests.rig.cluster import Cluster
from tests.rig.errors import Unable
from tests.rig.site import Site
from tests.tiers import lacking


def site_named(name: str, *, kueue: bool = False, kwok: bool = False) -> Iterator[Site]:
    """Yield a site for the tests.

    Skips with the reason, or fails where everything is required, if there can be none.
    """
    existed = Site.find(name) is not None
    try:
        site = Site.up(name, kueue=kueue, kwok=kwok)
    except Unable as error:
        lacking(str(error))
    yield site
    if not existed and os.environ.get("UWS_CLUSTER_KEEP") != "1":
        site.down()


def with_service(site: Site) -> Site:
    """Return a site that is ready for jobs.

    It has the images of this checkout and the namespace that its jobs run in.
    """
    site.import_image(images.service())
    site.import_image(images.agent())
    site.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return site


@pytest.fixture(scope="session")
def site_a() -> Iterator[Site]:
    """Yield the first site."""
    for site in site_named("a"):
        yield with_service(site)


@pytest.fixture(scope="session")
def site_b() -> Iterator[Site]:
    """Yield the second site."""
    for site in site_named("b"):
        yield with_service(site)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Return any cluster.

    The one that ``KUBECONFIG`` names, or else the first site.
    """
    cluster = Cluster.named_by_user()
    if cluster is not None:
        return cluster
    site: Site = request.getfixturevalue("site_a")
    return site


def temporary_namespace(cluster: Cluster) -> Iterator[str]:
    """Yield a namespace for one test."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Yield a namespace of its own on ``cluster``."""
    yield from temporary_namespace(cluster)


@pytest.fixture(scope="module")
def service(site_a: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServer]:
    """Yield a service with the first site."""
    server = ClusterServer(tmp_path_factory.mktemp("service"), [settings_of(site_a, stage_out=10)], site_a.host_address)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder for one service."""
    return tmp_path / "service"

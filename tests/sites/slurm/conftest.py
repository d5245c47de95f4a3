"""A real cluster, and services whose only site it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.batch.images import TINY, service_image
from tests.batch.service import BatchServer
from tests.batch.slurm import SlurmCluster
from tests.batch.tree import require_tree


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    """Yield a cluster of two nodes with four cores each."""
    require_tree()
    with SlurmCluster("gamma") as gamma:
        yield gamma


@pytest.fixture(scope="session")
def server(cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer[SlurmCluster]]:
    """Yield a running service that uses the cluster's slurmrestd; a test may kill it, and starts it again."""
    site = cluster.settings(image_names={"local/tiny": TINY}, unknown_after=300)
    with BatchServer(tmp_path_factory.mktemp("cluster"), cluster, site) as service:
        yield service


@pytest.fixture(scope="module")
def server_with_image(
    cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BatchServer[SlurmCluster]]:
    """Yield a service whose applications run in an image of this checkout."""
    site = cluster.settings(image="local/service", image_names={"local/service": service_image()})
    with BatchServer(tmp_path_factory.mktemp("image"), cluster, site, reap_interval=0.3) as service:
        yield service

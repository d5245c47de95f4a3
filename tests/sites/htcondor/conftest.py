"""A real pool, and services whose only site it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.batch.condor import CondorPool
from tests.batch.images import TINY, service_image
from tests.batch.service import BatchServer
from tests.batch.tree import require_tree


@pytest.fixture(scope="session")
def pool() -> Iterator[CondorPool]:
    """Yield a pool with four cores."""
    require_tree()
    with CondorPool("alpha") as alpha:
        yield alpha


@pytest.fixture(scope="session")
def server(pool: CondorPool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer[CondorPool]]:
    """Yield a running service.

    A test may kill it, and starts it again.
    """
    site = pool.settings(image_names={"local/tiny": TINY}, unknown_after=300, lease=15)
    with BatchServer(tmp_path_factory.mktemp("pool"), pool, site, reap_interval=1) as service:
        yield service


@pytest.fixture(scope="module")
def server_with_image(pool: CondorPool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer[CondorPool]]:
    """Yield a service whose applications run in an image of this checkout."""
    site = pool.settings(image="local/service", image_names={"local/service": service_image()})
    with BatchServer(tmp_path_factory.mktemp("image"), pool, site, reap_interval=0.3) as service:
        yield service

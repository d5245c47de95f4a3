"""A Rucio server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rucio.environment import RUCIO
from tests.rucio.network import Network, network


@pytest.fixture(scope="session")
def rucio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Yield a server with data sets."""
    RUCIO.require()
    with network(tmp_path_factory.mktemp("rucio")) as running:
        yield running

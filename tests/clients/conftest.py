"""One running service for all real clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server

PROBE = Path(__file__).parent.parent / "service" / "probe.yaml"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the service with its own applications and probe."""
    running = Server(tmp_path_factory.mktemp("clients"), {"UWS_APPLICATIONS": f'["{PROBE}"]'})
    running.start()
    yield running
    running.stop()

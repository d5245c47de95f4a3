"""A real service on each database, and a client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.server import Server
from tests.service.client import Uws

PROBE = Path(__file__).parent / "probe.yaml"
"""An application of the tests' own: short limits, an archive, every kind of parameter."""


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a service for each database."""
    settings = {
        "UWS_APPLICATIONS": f'["{PROBE}", "{PROBE.with_name("strict.yaml")}"]',
        "UWS_REAP_INTERVAL": "0.3",
        "UWS_IDENTITY_HEADER": "X-Auth-Request-User",
        "UWS_HOSTS": '["other.example"]',
        "UWS_LIMITS__WAIT": "8",
        "UWS_LIMITS__BODY": "4000000",
        "UWS_LIMITS__UPLOAD": "2000000",
    }
    if request.param == "postgresql":
        settings |= {"UWS_DATABASE": databases.new_postgresql(), "UWS_AUTO_MIGRATE": "true"}
    running = Server(tmp_path_factory.mktemp(request.param), settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def uws(server: Server) -> Iterator[Uws]:
    """Open a client for the `probe` application (U-006)."""
    with Uws(server.url) as client:
        yield client

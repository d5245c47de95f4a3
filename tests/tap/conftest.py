"""A running TAP service for all tests, and a web server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server

POSITIONS = "name,ra,dec\nm31,10.6847,41.2687\nm33,23.4621,30.6599\nnowhere,0.5,-89\n"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the embedded service, which may fetch from localhost."""
    service = Server(tmp_path_factory.mktemp("tap"), {"UWS_FETCH__ALLOW_HOSTS": '["localhost"]'})
    service.start()
    yield service
    service.stop()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a CSV file of three positions."""
    path = tmp_path / "positions.csv"
    path.write_text(POSITIONS)
    return path


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Serve ``tmp_path`` on the web; return its URL."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield f"http://localhost:{http_server.server_address[1]}"
        http_server.shutdown()
        thread.join()

"""One running service with the shipped TAP application for all tests, and a web server for uploads by URL."""

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
    """The embedded service; jobs and queries may fetch from the host name localhost."""
    running = Server(tmp_path_factory.mktemp("tap"), {"UWS_FETCH__ALLOW_HOSTS": '["localhost"]'})
    running.start()
    yield running
    running.stop()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three positions as CSV."""
    path = tmp_path / "positions.csv"
    path.write_text(POSITIONS)
    return path


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The URL of a folder on the web: ``tmp_path``."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words, directory=str(tmp_path))

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://localhost:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()

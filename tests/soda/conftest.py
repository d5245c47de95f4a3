"""A real service with images of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server
from tests.service.client import Uws
from tests.soda import skies
from uws_service.cli import run

DID = "ivo://test.example/sky"


@pytest.fixture(scope="session")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images, their index and a descriptor.

    The command line makes the index and the descriptor.
    """
    folder = tmp_path_factory.mktemp("sky")
    skies.write(folder / "pole.fits", skies.numbered(50, 60, dtype="i4"), skies.header(0, 90), EXPTIME=30.0)
    skies.write(folder / "meridian.fits", skies.numbered(50, 60), skies.header(0, 5, turn=30), OBJECT="<b>&M 1")
    skies.cube(folder / "cube.fits")
    index = folder / "images.jsonl"
    arguments = ["images", "add", str(folder), "--index", str(index), "--did", DID]
    assert run([*arguments, "--application", str(folder / "images.yaml"), "--collection", "Tests"]) == 0
    (folder / "broken.fits").write_bytes((folder / "pole.fits").read_bytes()[:8000])
    line = next(entry_line for entry_line in index.read_text().splitlines() if "pole" in entry_line)
    with index.open("a") as file:  # a file that was whole when it was described
        file.write(line.replace("pole", "broken") + "\n")
    return folder


@pytest.fixture(scope="session")
def server(sky: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the running service."""
    service = Server(tmp_path_factory.mktemp("server"), {"UWS_APPLICATIONS": f'["{sky / "images.yaml"}"]'})
    service.start()
    yield service
    service.stop()


@pytest.fixture
def soda(server: Server) -> Iterator[Uws]:
    """Yield a client of the application `images`."""
    with Uws(server.url, "images") as client:
        yield client

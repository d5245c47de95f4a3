"""A real service with images of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server
from tests.service.client import Uws
from tests.soda import skies
from uws_service.cli import run

DID = "ivo://test.example/sky"
COLLECTIONS = ("late", "faults", "store", "closed")


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
def collections(sky: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of descriptors whose indexes come later.

    Each has a folder of its own, except for ``closed``: its images are those of the sky, for a group.
    """
    folder = tmp_path_factory.mktemp("collections")
    for name in COLLECTIONS:
        (folder / name).mkdir()
        index = sky / "images.jsonl" if name == "closed" else folder / name / "images.jsonl"
        access = "access:\n  groups: [friends]\n" if name == "closed" else ""
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\ntitle: t\ndescription: d\nprotocol: soda\nimages: {{index: {index}}}\n{access}"
        )
    return folder


@pytest.fixture(scope="session")
def server(sky: Path, collections: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the running service of all collections.

    There is one for all tests, since a start takes long on a busy machine.
    """
    descriptors = [sky / "images.yaml", *(collections / f"{name}.yaml" for name in COLLECTIONS)]
    settings = {"UWS_APPLICATIONS": json.dumps([str(path) for path in descriptors]), "UWS_IDENTITY_HEADER": "X-User"}
    service = Server(tmp_path_factory.mktemp("server"), settings)
    try:
        service.start()
        yield service
    finally:
        service.stop()


@pytest.fixture
def soda(server: Server) -> Iterator[Uws]:
    """Yield a client of the application `images`."""
    with Uws(server.url, "images") as client:
        yield client

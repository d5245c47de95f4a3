"""Data sets.

Bulk look-ups, the way to the files, and a fetch with its checksum.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from tests.bench.__main__ import Figure
from tests.rucio.environment import RUCIO
from tests.rucio.network import Network, network
from tests.rucio.server import ACCOUNT, PASSWORD, USER, Storage, register
from uws_service.agent.fetch import Policy
from uws_service.agent.replicas import fetch_input
from uws_service.data.catalogues import Catalogues, Datasets
from uws_service.data.identifiers import parse_identifier
from uws_service.data.replicas import Storage as Area
from uws_service.data.replicas import bind
from uws_service.domain.attempt import Launch
from uws_service.domain.dataset import DataParameter, DataSet
from uws_service.placement.locality import needs_of

COUNT = 1000
FILE_BYTES = 256 * 2**20
NAMES = [f"bench:f-{number}" for number in range(COUNT)]


async def measure(folder: Path) -> list[Figure]:
    """Look up 1,000 files in a file and, if it is installed, in a real Rucio."""
    index = folder / "index.csv"
    rows = [f"{name},,10,north,{name[6:]},https://north.example.org/{name[6:]}" for name in NAMES]
    index.write_text("\n".join(["identifier,file,size,area,path,url", *rows]) + "\n")
    seconds, sets = await _look_up({"name": "index", "kind": "static", "index": str(index)})
    figures = [
        Figure.plain("look-up of 1,000 identifiers, static", seconds * 1000, "from a CSV file in memory", "ms"),
        *_way(sets),
    ]
    if RUCIO.is_built:
        with network(folder / "rucio") as running:
            figures += await _in_rucio(running, folder)
    return figures


async def _look_up(settings: dict[str, object]) -> tuple[float, tuple[DataSet, ...]]:
    """Return the seconds of a look-up that is not cached, and its data sets."""
    catalogues = Catalogues(Datasets.model_validate({"catalogues": [{"cache": 0, **settings}]}))
    await catalogues.start()
    identifiers = [parse_identifier(name) for name in NAMES]
    await catalogues.find(identifiers[:1])
    began = time.perf_counter()
    answers = await catalogues.find(identifiers)
    seconds = time.perf_counter() - began
    await catalogues.close()
    sets = tuple(answer for answer in answers.values() if isinstance(answer, DataSet))
    assert len(sets) == COUNT
    return seconds, sets


def _way(sets: tuple[DataSet, ...]) -> list[Figure]:
    """Measure the pure functions over 1,000 files."""
    parameter = DataParameter("D", tuple(NAMES), 2**60, several=True, sets=sets)
    launch = Launch("j", 1, "a", "o", ("run",), "", {}, "{}", (), (), 0, 1.0, 1, 1, data=(parameter,))
    areas = [Area(f"site-{number}", f"v-{number}") for number in range(19)] + [Area("north", "v")]
    needs = needs_of([parameter])
    began = time.perf_counter()
    assert len(needs) == 1
    middle = time.perf_counter()
    assert len(bind(launch, areas).inputs) == COUNT
    end = time.perf_counter()
    return [
        Figure.plain("needs of 1,000 files", (middle - began) * 1e6, "for the choice of a site", "µs"),
        Figure.plain("inputs of 1,000 files at a site", (end - middle) * 1000, "20 storage areas", "ms"),
    ]


async def _in_rucio(running: Network, folder: Path) -> list[Figure]:
    files = [{"scope": "bench", "name": name[6:], "bytes": 10, "adler32": "00000001"} for name in NAMES]
    parts = [("add_replicas", [running.north.name, files[start : start + 100]]) for start in range(0, COUNT, 100)]
    running.server.operate(("add_scope", ["root", "bench"]), *parts)
    login = {"account": ACCOUNT, "username": USER, "password": PASSWORD}
    seconds, _ = await _look_up({"name": "lake", "kind": "rucio", "url": running.server.url, **login})
    return [
        Figure.plain("look-up of 1,000 identifiers, Rucio", seconds * 1000, "two requests of 500 each, SQLite", "ms"),
        _fetch(running.north, running, folder),
    ]


def _fetch(storage: Storage, running: Network, folder: Path) -> Figure:
    content = os.urandom(FILE_BYTES)
    register(running.server, "bench", {"large": content}, {"large": [storage]})
    (path,) = storage.files.rglob("large")
    item = {
        "url": f"{storage.url}/{path.relative_to(storage.files)}",
        "size": FILE_BYTES,
        "max_size": FILE_BYTES,
        "checksums": {"sha256": hashlib.sha256(content).hexdigest()},
    }
    began = time.perf_counter()
    fetch_input(item, str(folder / "large"), Policy(allow_private=True), {})
    rate = FILE_BYTES / 1e6 / (time.perf_counter() - began)
    return Figure.plain("fetch of 256 MiB", rate, "four streams from a local WebDAV server, SHA-256 verified", "MB/s")

"""A Rucio server from the package registry, on SQLite, with two storage elements: start, memory, a rule's way.

Its transfer tool only pretends, so the recipe copies the bytes itself, as ``tests/rucio/server.py`` says. Needs the
environment of ``python -m tests.rucio``.
"""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from recipe import Show, main, resident

from tests.rucio.environment import RUCIO
from tests.rucio.server import RucioServer, Storage, path_of, register


def measure(folder: Path, show: Show) -> None:
    """Start a server and its storages, replicate a file, and show the figures."""
    RUCIO.build()
    storages = [Storage(folder / name, name) for name in ("NORTH", "SOUTH")]
    began = time.perf_counter()
    server = RucioServer(folder / "rucio")
    processes = [*storages, server]
    try:
        server.start()
        show("rucio.start", time.perf_counter() - began, "s with a schema to make")
        for storage in storages:
            storage.start()
        server.add_storage(*storages)
        server.connect(*storages)
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        show("rucio.memory", resident([process, *process.children(recursive=True)]), "MiB")
        began = time.perf_counter()
        states = replicate(server, *storages)
        assert states == {"NORTH": "AVAILABLE", "SOUTH": "AVAILABLE"}, states
        show("rucio.rule", time.perf_counter() - began, "s from a rule to its replica")
    finally:
        for entry in processes:
            entry.stop()


def replicate(server: RucioServer, north: Storage, south: Storage) -> dict[str, str]:
    """Put a file to a storage, ask for a replica at another one, and return the states of its replicas."""
    register(server, "study", {"cube.fits": b"a cube"}, {"cube.fits": [north]})
    server.operate(("add_replication_rule", [[{"scope": "study", "name": "cube.fits"}], 1, south.name]))
    server.transfer(south, [north], [path_of("study", "cube.fits")])
    [[replica]] = server.operate(("list_replicas", [[{"scope": "study", "name": "cube.fits"}]]))
    return dict(replica["states"])


if __name__ == "__main__":
    main(__doc__, measure)

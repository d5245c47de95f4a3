"""A Rucio server with two storage elements, and data sets at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.rucio.server import RucioServer, Storage, register

SCOPE = "survey"
CONTENTS = {f"obs-{number}.fits": bytes([number]) * (1000 * (number + 1)) for number in range(6)}
"""Files 0 to 3 are at NORTH, 2 to 5 at SOUTH."""


@dataclass(frozen=True, slots=True)
class Network:
    """The server and its storage elements."""

    server: RucioServer
    north: Storage
    south: Storage


@contextmanager
def network(folder: Path, host: str = "127.0.0.1") -> Iterator[Network]:
    """Yield a network with a scope, a dataset of all files, a container of it, and an empty dataset.

    ``host`` is the address of this machine at which the storage elements are reached.
    """
    server = RucioServer(folder / "rucio")
    north, south = (Storage(folder / name[0].lower(), name, host) for name in ("NORTH", "SOUTH"))
    processes = (north, south, server)
    try:
        for process in processes:
            process.start()
        server.add_storage(north, south)
        places = {
            name: [*([north] if number <= 3 else []), *([south] if number >= 2 else [])]
            for number, name in enumerate(CONTENTS)
        }
        register(server, SCOPE, CONTENTS, places)
        files = [{"scope": SCOPE, "name": name} for name in CONTENTS]
        server.operate(
            ("add_dataset", [SCOPE, "night-1"]),
            ("attach_dids", [SCOPE, "night-1", files]),
            ("add_container", [SCOPE, "year-1"]),
            ("attach_dids", [SCOPE, "year-1", [{"scope": SCOPE, "name": "night-1"}]]),
            ("add_dataset", [SCOPE, "empty"]),
        )
        yield Network(server, north, south)
    finally:
        for process in processes:
            process.stop()

"""Forty jobs over ten data sets of a real Rucio, of which each of two sites holds half.

While there is room each job runs where its data are, and reads them in place. With one site drained they go to the
other: the lake brings the data there, or the job fetches them where the site does not bring.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.data.test_jobs import ended, run, service, show
from tests.data.test_rucio import settings_of
from tests.rucio.network import SCOPE, Network
from tests.rucio.server import path_of, register
from tests.server import Server
from tests.service.client import Uws
from uws_service.cli import run as run_command

SETS = {f"cube-{number}.fits": bytes([number + 1]) * 20_000 for number in range(10)}
"""Those of even numbers are at NORTH, the others at SOUTH."""
JOBS = 40
WAIT_SECONDS = 180


def home_of(name: str) -> str:
    return "north" if list(SETS).index(name) % 2 == 0 else "south"


@pytest.fixture(scope="module")
def lake(rucio: Network) -> Network:
    rucio.server.connect(rucio.north, rucio.south)
    places = {name: [rucio.north if home_of(name) == "north" else rucio.south] for name in SETS}
    register(rucio.server, SCOPE, SETS, places)
    return rucio


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, lake: Network) -> Iterator[Server]:
    """Yield a service with two sites: `south` brings what it has not, `north` fetches it."""
    slow = {"any_bandwidth": 100}  # bytes a second: nobody moves data while their own site has room
    sites: list[dict[str, Any]] = [
        {
            "name": storage.name.lower(),
            "slots": JOBS,
            "facts": slow,
            "storage": [{"area": storage.name, "path": str(storage.files), "bring": storage is lake.south}],
        }
        for storage in (lake.north, lake.south)
    ]
    folder = tmp_path_factory.mktemp("service")
    server = service(folder, [settings_of(lake.server.url)], UWS_SITES=json.dumps(sites))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def user(ready: Server) -> Iterator[Uws]:
    with Uws(ready.url, "reader") as client:
        yield client


def reads(lake: Network) -> int:
    """Return how many files the storage elements' servers have sent so far."""
    return sum(storage.log.read_text(errors="replace").count("GET /survey/") for storage in (lake.north, lake.south))


def drain(server: Server, site: str, *, undo: bool = False) -> None:
    database = f"sqlite:///{server.folder / 'data' / 'uws.db'}"
    sites = server.settings["UWS_SITES"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UWS_SITES", sites)
        patch.setenv("UWS_DATASETS", server.settings["UWS_DATASETS"])
        command = ["sites", "undrain" if undo else "drain", site, "--database", database]
        assert run_command([*command, *([] if undo else ["--reason", "new disks"])]) == 0


def right(user: Uws, job: str, name: str) -> dict[str, Any]:
    """Return jobInfo of a job that read what it should have."""
    content = ended(user, job)
    assert content["phase"] == "COMPLETED", content
    found = user.http.get(f"{job}/results/result", follow_redirects=True).json()["files"]
    assert found == {f"data/DATA/{name}": [len(SETS[name]), hashlib.sha256(SETS[name]).hexdigest()]}
    info: dict[str, Any] = content["jobInfo"]
    return info


def test_jobs_run_where_their_data_are(ready: Server, user: Uws, lake: Network) -> None:
    before = reads(lake)
    jobs = [(run(user, {"DATA": f"{SCOPE}:{name}"}), name) for name in list(SETS) * (JOBS // len(SETS))]
    sites: Counter[str] = Counter()
    for job, name in jobs:
        info = right(user, job, name)
        assert info["site"] == home_of(name), info
        assert info["data"] is None
        sites[info["site"]] += 1
    assert sites == {"north": JOBS // 2, "south": JOBS // 2}
    assert reads(lake) == before, "all were read in place"


@pytest.mark.parametrize(("drained", "other"), [("south", "north"), ("north", "south")])
def test_jobs_of_a_drained_site_go_to_the_other(
    ready: Server, user: Uws, lake: Network, drained: str, other: str
) -> None:
    """They say so: brought by a rule to `south`, fetched by `north`."""
    names = [name for name in SETS if home_of(name) == drained]
    before = reads(lake)
    drain(ready, drained)
    try:
        jobs = [(run(user, {"DATA": f"{SCOPE}:{name}"}), name) for name in names]
        if other == "south":
            deadline = time.monotonic() + WAIT_SECONDS
            words = "its data are brought to south: 0 of 1 file is there"
            while not all(words in (show(user, job)["jobInfo"]["waiting"] or "") for job, _ in jobs):
                assert time.monotonic() < deadline, [show(user, job) for job, _ in jobs]
                time.sleep(0.2)
            lake.server.transfer(lake.south, [lake.north], [path_of(SCOPE, name) for name in names])
        for job, name in jobs:
            info = right(user, job, name)
            assert info["site"] == other
            assert "it takes no new jobs: new disks" in json.dumps(info["placement"])
            if other == "south":
                assert info["data"] == "1 file was brought to south (SOUTH) by lake"
        assert (reads(lake) > before) == (other == "north"), "fetched at north alone"
    finally:
        drain(ready, drained, undo=True)

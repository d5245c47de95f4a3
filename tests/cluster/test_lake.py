"""Data of a real Rucio at two clusters, of which each has half: mounted, fetched and brought, and what can go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.service import Client, ClusterServer, settings_of, until
from tests.data.test_rucio import settings_of as rucio_settings
from tests.rig.site import Site
from tests.rucio.environment import RUCIO
from tests.rucio.network import SCOPE, Network, network
from tests.rucio.server import path_of, register
from uws_service.cli import run as run_command

APPLICATIONS = Path(__file__).parent / "lake"
FILE_BYTES = 8 << 20
SETS = {f"cube-{number}.fits": bytes([number + 1]) * FILE_BYTES for number in range(10)}
"""Those of even numbers are at NORTH, the others at SOUTH."""
JOBS = int(os.environ.get("UWS_TEST_LAKE_JOBS", "20"))
"""`make soak-cluster` takes 40: 320 MiB that are read in place."""
WAIT_SECONDS = 900
PATIENCE_SECONDS = 12
"""Long enough for a pod whose volumes are there, on a busy machine too."""
BROKEN = b"\x05\x06" * (FILE_BYTES // 2)
"""What comes over a link that breaks."""


def home_of(name: str) -> str:
    return "a" if list(SETS).index(name) % 2 == 0 else "b"


@pytest.fixture(scope="module")
def lake(site_a: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Yield a Rucio whose storage elements the pods of the first site reach."""
    RUCIO.require()
    with network(tmp_path_factory.mktemp("rucio"), site_a.host_address) as running:
        running.server.connect(running.north, running.south)
        places = {name: [running.north if home_of(name) == "a" else running.south] for name in SETS}
        register(running.server, SCOPE, SETS, places)
        yield running


class BreakingLink(ThreadingHTTPServer):
    """Serves one file, of which the first answer ends at 90 %."""

    def __init__(self, host: str) -> None:
        self.starts: list[int] = []
        super().__init__((host, 0), _BreakingHandler)


class _BreakingHandler(BaseHTTPRequestHandler):
    server: BreakingLink

    def do_GET(self) -> None:
        words = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(words[0]), int(words[2]) + 1 if words[2] else len(BROKEN)
        is_first = not self.server.starts
        self.server.starts.append(start)
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(BROKEN)}")
        self.end_headers()
        self.wfile.write(BROKEN[start : len(BROKEN) * 9 // 10 if is_first else end])
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def link(site_a: Site) -> Iterator[BreakingLink]:
    with BreakingLink(site_a.host_address) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def extras(folder: Path, row: str) -> dict[str, Any]:
    """Return a catalogue of one file."""
    (folder / "index.csv").write_text(f"identifier,file,size,md5,area,url,path\n{row}\n")
    return {"name": "extras", "kind": "static", "index": str(folder / "index.csv")}


@pytest.fixture(scope="module")
def server(
    site_a: Site, site_b: Site, lake: Network, link: BreakingLink, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterServer]:
    """Yield a service with both sites.

    ``b`` brings what it has not, ``a`` fetches it.
    """
    folder = tmp_path_factory.mktemp("service")
    sites = []
    for site, storage in ((site_a, lake.north), (site_b, lake.south)):
        volume = {"hostPath": {"path": str(storage.files), "type": "Directory"}}
        area = {"area": storage.name, "volume": volume, "results": True, "bring": storage is lake.south}
        # One byte a second: nobody moves data while the data's own site takes jobs.
        facts = {"any_bandwidth": 1}
        sites.append(settings_of(site, storage=[area], facts=facts))
    row = f"extra:broken,,{len(BROKEN)},{md5_of(BROKEN)},,http://{link.server_address[0]!s}:{link.server_port}/x,"
    catalogues = [extras(folder, row), rucio_settings(lake.server.url, cache=0)]
    datasets = {"catalogues": catalogues, "results": "lake"}
    running = ClusterServer(folder, sites, "0.0.0.0", applications=[str(APPLICATIONS)], datasets=datasets)
    running.start()
    until(lambda: running.log.read_text().count("site is reachable") == 2, "both sites to be reached")
    yield running
    running.stop()


@pytest.fixture
def client(server: ClusterServer) -> Iterator[Client]:
    with server.client("digest") as user:
        yield user


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def drain(server: ClusterServer, site: str, *, undo: bool = False) -> None:
    words = ["undrain", site] if undo else ["drain", site, "--reason", "new disks"]
    database = f"sqlite:///{server.folder / 'data' / 'uws.db'}"
    assert run_command(["sites", *words, "--config", str(server.folder / "service.yaml"), "--database", database]) == 0


def carried(*sites: Site) -> int:
    """Return the bytes that have gone between this machine and sites, either way."""
    counters = (
        Path(f"/sys/class/net/{site.layout.label}/statistics/{name}_bytes") for site in sites for name in ("rx", "tx")
    )
    return sum(int(counter.read_text()) for counter in counters)


def submit(client: Client, identifier: str) -> str:
    return client.create({"DATA": identifier, "PHASE": "RUN"})


def waiting(client: Client, job: str) -> str:
    """Return why a job waits."""
    return str(client.json(job)["jobInfo"]["waiting"] or "")


def info_of(client: Client, job: str, content: bytes) -> dict[str, Any]:
    """Return jobInfo of a job that has read what it should have."""
    document = client.ended(job, timeout=WAIT_SECONDS)
    assert document["phase"] == "COMPLETED", document
    assert client.http.get(f"{job}/results/result", follow_redirects=True).text.strip() == md5_of(content)
    info: dict[str, Any] = document["jobInfo"]
    return info


def test_jobs_run_where_their_data_are(client: Client, lake: Network, site_a: Site, site_b: Site) -> None:
    """Every job at its data's site, by mounts: what the cables carry is a small part of what the jobs read."""
    before = carried(site_a, site_b)
    names = list(SETS) * (JOBS // len(SETS))
    jobs = [(submit(client, f"{SCOPE}:{name}"), name) for name in names]
    for job, name in jobs:
        info = info_of(client, job, SETS[name])
        assert (info["site"], info["attempt"], info["data"]) == (home_of(name), 1, None), info
    assert carried(site_a, site_b) - before < JOBS * FILE_BYTES / 5
    dids = [{"scope": SCOPE, "name": f"digest-{job.rpartition('/')[2]}-result"} for job, _ in jobs]
    (registered,) = lake.server.operate(("list_replicas", [dids]))
    results = {replica["name"]: replica for replica in registered}
    for (_, name), did in zip(jobs, dids, strict=True):
        content, result = f"{md5_of(SETS[name])}\n".encode(), results[did["name"]]
        assert (result["bytes"], result["md5"]) == (len(content), md5_of(content))
        assert result["adler32"] == f"{zlib.adler32(content):08x}"
        storage = lake.north if home_of(name) == "a" else lake.south
        assert list(result["rses"]) == [storage.name]
        assert (storage.files / path_of(SCOPE, did["name"])).read_bytes() == content


@pytest.mark.parametrize(("drained", "target"), [("b", "a"), ("a", "b")])
def test_jobs_of_a_drained_site_go_to_the_other(
    server: ClusterServer, client: Client, lake: Network, site_a: Site, site_b: Site, drained: str, target: str
) -> None:
    """They say so: fetched at ``a``, brought by a rule to ``b``."""
    names = [name for name in SETS if home_of(name) == drained]
    before = carried(site_a, site_b)
    drain(server, drained)
    try:
        jobs = [(submit(client, f"{SCOPE}:{name}"), name) for name in names]
        if target == "b":
            words = "its data are brought to b: 0 of 1 file is there"
            until(lambda: all(words in waiting(client, job) for job, _ in jobs), words, WAIT_SECONDS)
            lake.server.transfer(lake.south, [lake.north], [path_of(SCOPE, name) for name in names])
        for job, name in jobs:
            info = info_of(client, job, SETS[name])
            assert info["site"] == target
            assert "it takes no new jobs: new disks" in json.dumps(info["placement"])
            assert info["data"] == (None if target == "a" else "1 file was brought to b (SOUTH) by lake")
    finally:
        drain(server, drained, undo=True)
    moved = carried(site_a, site_b) - before
    assert (moved > len(names) * FILE_BYTES) == (target == "a"), "fetched at `a` alone"


def test_a_mount_that_is_not_there(lake: Network, site_a: Site, tmp_path: Path) -> None:
    """The pod never starts; the next attempt fetches the data, and says why."""
    cube = SETS["cube-1.fits"]
    url = f"{lake.south.url}/{path_of(SCOPE, 'cube-1.fits')}"
    catalogue = extras(tmp_path, f"extra:attic,,{len(cube)},{md5_of(cube)},ATTIC,{url},attic.fits")
    attic = {"area": "ATTIC", "volume": {"hostPath": {"path": str(tmp_path / "no-such-mount"), "type": "Directory"}}}
    site = settings_of(site_a, storage=[attic], volume_patience=PATIENCE_SECONDS)
    server = ClusterServer(
        tmp_path, [site], site_a.host_address, applications=[str(APPLICATIONS)], datasets={"catalogues": [catalogue]}
    )
    server.start()
    try:
        with server.client("digest") as client:
            info = info_of(client, submit(client, "extra:attic"), cube)
    finally:
        server.stop()
    assert (info["site"], info["attempt"]) == ("a", 2)
    assert info["data"] == (
        "its data could not be read in place at a, and are fetched: The machine did not get the storage that its data "
        f"are read from ready in {PATIENCE_SECONDS} s"
    )
    assert [attempt["reason"] for attempt in info["lost"]] == ["StageIn"]


def test_a_replica_that_vanishes_between_choice_and_start(server: ClusterServer, client: Client, lake: Network) -> None:
    """It is fetched from where another one is, although the catalogue goes on listing the first."""
    name, content = "vanishing.fits", b"v" * FILE_BYTES
    register(lake.server, SCOPE, {name: content}, {name: [lake.north, lake.south]})
    for site in ("a", "b"):
        drain(server, site)
    try:
        job = submit(client, f"{SCOPE}:{name}")
        until(lambda: "new disks" in waiting(client, job), "the job to be looked up", WAIT_SECONDS)
        (lake.north.files / path_of(SCOPE, name)).unlink()
    finally:
        drain(server, "a", undo=True)
    try:
        info = info_of(client, job, content)
    finally:
        drain(server, "b", undo=True)
    assert (info["site"], info["attempt"]) == ("a", 2)
    assert "could not be read in place at a, and are fetched" in info["data"]
    assert "is no file at the storage area NORTH" in info["lost"][0]["message"]


def test_a_link_that_breaks_at_90_percent(client: Client, link: BreakingLink) -> None:
    """The agent goes on where it was cut, in the same attempt."""
    info = info_of(client, submit(client, "extra:broken"), BROKEN)
    assert info["attempt"] == 1
    assert link.starts == [0, len(BROKEN) * 9 // 10]

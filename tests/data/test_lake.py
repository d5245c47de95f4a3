"""Results into the data lake.

Uploaded by WebDAV, registered in a real Rucio.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.test_jobs import FOLDER, ended, files_of, run, show
from tests.data.test_rucio import settings_of
from tests.rucio.network import Network
from tests.rucio.server import path_of
from tests.server import Server, free_port
from tests.service.client import Uws
from uws_service.data.answers import CatalogueFault
from uws_service.data.catalogues import Catalogues, Datasets
from uws_service.data.deposit import Deposited, upload
from uws_service.data.identifiers import Did
from uws_service.domain.errors import ConfigurationError
from uws_service.settings import Settings


def service(folder: Path, catalogue: dict[str, Any], storage: list[dict[str, Any]]) -> Server:
    return Server(
        folder,
        {
            "UWS_APPLICATIONS": json.dumps([str(FOLDER / "writer.yaml"), str(FOLDER / "reader.yaml")]),
            "UWS_FETCH": '{"allow_private": true}',
            "UWS_SITES": json.dumps([{"name": "local", "storage": storage}]),
            "UWS_DATASETS": json.dumps({"catalogues": [catalogue], "results": "lake"}),
        },
    )


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, rucio: Network) -> Iterator[Server]:
    storage: list[Any] = [{"area": "SOUTH"}, {"area": "NORTH", "results": True}]
    server = service(tmp_path_factory.mktemp("service"), settings_of(rucio.server.url), storage)
    server.start()
    yield server
    server.stop()


def results_of(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {result["id"]: result for result in content["results"]}


def test_provenance_lies_beside_the_results(rucio: Network, tmp_path: Path) -> None:
    """It is a file of the same data set, and says where the others are."""
    server = service(tmp_path, settings_of(rucio.server.url), [{"area": "NORTH", "results": True}])
    server.settings |= {"UWS_PROVENANCE__LAKE": "true", "UWS_BASE_URL": "https://uws.example.org/x"}
    server.start()
    try:
        with Uws(server.url, "writer") as user:
            answer = user.http.post(user.jobs, data={"TEXT": "z", "PHASE": "RUN"})
            job_id = answer.headers["location"].rpartition("/")[2]
            content = ended(user, f"{user.jobs}/{job_id}")
        assert content["phase"] == "COMPLETED", content["errorSummary"]
        dataset = f"writer-{job_id}"
        names = [item["name"] for item in rucio.server.operate(("list_files", ["survey", dataset]))[0]]
        assert f"{dataset}-provenance.json" in names and len(names) == 3
        stored = rucio.north.files / path_of("survey", f"{dataset}-provenance.json")
        document = json.loads(stored.read_bytes())
        (activity,) = document["activity"].values()
        assert activity["uws:phase"] == "COMPLETED" and activity["prov:endTime"]
        places = {name.rpartition("/")[2]: entity for name, entity in document["entity"].items() if "/results/" in name}
        assert places["a.bin"]["voprov:location"] == f"{rucio.north.url}/{path_of('survey', f'{dataset}-a.bin')}"
        assert places["result"]["voprov:location"].startswith("https://uws.example.org/x/writer/async/")
    finally:
        server.stop()


def test_results_are_registered_replicas_with_right_checksums(ready: Server, rucio: Network) -> None:
    with Uws(ready.url, "writer") as user, Uws(ready.url, "reader") as reader:
        job = run(user, {"TEXT": "y"})
        content = ended(user, job)
        assert content["phase"] == "COMPLETED", content["errorSummary"]
        results = results_of(content)
        assert set(results) == {"result", "a.bin", "b.bin"}
        assert results["result"]["href"].startswith(ready.url)
        dataset = f"writer-{content['jobId']}"
        for name in ("a.bin", "b.bin"):
            expected = f"{name}y".encode() * 1000
            did = f"{dataset}-{name}"
            url = f"{rucio.north.url}/{path_of('survey', did)}"
            assert results[name] | {"href": url, "size": len(expected)} == results[name]
            assert results[name]["sha256"] == hashlib.sha256(expected).hexdigest()
            assert (rucio.north.files / path_of("survey", did)).read_bytes() == expected
            (registered,) = rucio.server.operate(("list_replicas", [[{"scope": "survey", "name": did}]]))[0]
            assert list(registered["rses"]) == ["NORTH"]
            assert registered["bytes"] == len(expected)
            assert registered["adler32"] == f"{zlib.adler32(expected):08x}"
            assert registered["md5"] == hashlib.md5(expected).hexdigest()
            answer = user.http.get(f"{job}/results/{name}", follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (303, url)
        user.get(job)  # the document is valid
        files = files_of(reader, run(reader, {"DATA": f"survey:{dataset}"}))["files"]
        assert {size for size, _ in files.values()} == {len("a.biny") * 1000}
        depot = ready.folder / "data" / "depot" / "jobs" / content["jobId"]
        kept = [path.name for path in depot.rglob("*") if path.is_file() and path.suffix == ".bin"]
        assert not kept, "what is in the lake is not kept twice"


@pytest.mark.parametrize("fault", ["closed", "no area", "down"])
def test_lake_that_refuses_keeps_the_results_here(tmp_path: Path, rucio: Network, fault: str) -> None:
    """Nothing is lost, and the owner is told."""
    url = f"http://127.0.0.1:{free_port()}" if fault == "down" else rucio.server.url
    storage = [{"area": "SOUTH", "results": fault != "no area"}]
    server = service(tmp_path / "service", settings_of(url), storage)
    server.start()
    if fault == "closed":
        rucio.south.stop()
    try:
        with Uws(server.url, "writer") as user:
            job = run(user, {"TEXT": "z"})
            content = ended(user, job)
            assert content["phase"] == "COMPLETED", content
            assert "is not in the data lake, but kept here" in json.dumps(show(user, job)["jobInfo"])
            for name, result in results_of(content).items():
                assert result["href"].startswith(server.url)
                assert user.http.get(result["href"]).status_code == 200, name
    finally:
        server.stop()
        if fault == "closed":
            rucio.south.start()


@pytest.mark.anyio
async def test_registered_twice_is_registered_once(rucio: Network) -> None:
    """What is there with the same bytes is no error; with others it is, and stays as it is."""
    catalogues = Catalogues(Datasets.model_validate({"catalogues": [settings_of(rucio.server.url)]}))
    (lake,) = catalogues.catalogues
    did, dataset = Did("survey", "twice.bin"), Did("survey", "twice")
    checksums = {"md5": hashlib.md5(b"abc").hexdigest(), "adler32": f"{zlib.adler32(b'abc'):08x}"}
    try:
        url = await lake.upload_url("NORTH", did, None)
        assert url == f"{rucio.north.url}/{path_of(*did)}"
        for _ in range(2):
            deposited = await upload(lake.http, url, lambda: _chunks(b"a", b"bc"), 3, {})  # type: ignore[attr-defined]
            assert deposited == Deposited(3, checksums)
            await lake.register("NORTH", did, 3, deposited.checksums, dataset, None)
        with pytest.raises(CatalogueFault, match="with other bytes"):
            await lake.register("NORTH", did, 3, {**checksums, "md5": "0" * 32}, dataset, None)
        with pytest.raises(CatalogueFault, match="answers 404"):
            await lake.register("NOWHERE", Did("survey", "x"), 3, checksums, dataset, None)
    finally:
        await catalogues.close()


async def _chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        ({"results": "lake"}, "there is no catalogue 'lake'"),
        (
            {"results": "x", "catalogues": [{"name": "x", "kind": "static", "index": "x.csv"}]},
            "can't register files",
        ),
    ],
)
def test_settings_that_contradict_each_other(datasets: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Settings.load(datasets=datasets)

"""SRCNet's catalogue, in the callers' names.

Tokens of a real issuer, a real Rucio behind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.test_jobs import FOLDER, ended, expected, files_of, run
from tests.issuers import CLIENT, SECRET, OidcProvider
from tests.rucio.network import CONTENTS, Network
from tests.rucio.srcnet import SrcNet
from tests.server import Server
from tests.service.client import Uws
from uws_service.auth.claims import _segment
from uws_service.configuration import applications_of
from uws_service.data.catalogue import Absent
from uws_service.data.catalogues import Catalogues, Datasets
from uws_service.data.identifiers import parse_identifier
from uws_service.domain.dataset import DataSet
from uws_service.domain.errors import ConfigurationError
from uws_service.settings import Settings

AUDIENCE = "https://data.example.org"


def may_see(authorization: str, namespace: str) -> bool:
    """Return whether the token is for Data Management, and its owner is the robot, who may see the survey."""
    if not authorization.startswith("Bearer ") or authorization.count(".") != 2:
        return False
    claims = _segment(authorization.split(".")[1])
    return bool(claims["aud"] == AUDIENCE and claims["exp"] > time.time() and claims["sub"] == "robot")


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    running = OidcProvider(tmp_path_factory.mktemp("issuer"), redirects=("http://127.0.0.1:1/login/callback",))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def srcnet(rucio: Network) -> Iterator[SrcNet]:
    running = SrcNet(rucio, may_see)
    yield running
    running.stop()


def settings_of(srcnet: SrcNet, **changes: Any) -> dict[str, Any]:
    return {
        "name": "dm",
        "kind": "srcnet",
        "url": srcnet.url,
        "capabilities": srcnet.url,
        "caller_audience": AUDIENCE,
        "caller_scopes": ["storage.read"],
        **changes,
    }


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, issuer: OidcProvider, srcnet: SrcNet) -> Iterator[Server]:
    auth = {
        "issuers": [issuer.settings(client_id=CLIENT, client_secret=SECRET)],
        "applications": {"reader": {"anonymous": True}},
    }
    server = Server(
        tmp_path_factory.mktemp("service"),
        {
            "UWS_APPLICATIONS": json.dumps([str(FOLDER / "reader.yaml")]),
            "UWS_FETCH": '{"allow_private": true}',
            "UWS_DATASETS": json.dumps({"catalogues": [settings_of(srcnet)]}),
            "UWS_AUTH": json.dumps(auth),
        },
    )
    server.start()
    yield server
    server.stop()


def user(server: Server, token: str | None) -> Uws:
    client = Uws(server.url, "reader")
    if token is not None:
        client.http.headers["Authorization"] = f"Bearer {token}"
    return client


def test_data_are_looked_up_in_the_callers_name(ready: Server, issuer: OidcProvider, srcnet: SrcNet) -> None:
    """What the robot may see is not what another caller gets, not even from a cache a moment later."""
    with (
        user(ready, issuer.token("robot")) as robot,
        user(ready, issuer.token("other")) as other,
        user(ready, None) as nobody,
    ):
        data = {"DATA": "survey:obs-2.fits", "MORE": "survey:obs-1.fits"}
        found = files_of(robot, run(robot, data))["files"]
        assert found == expected("data/DATA", "obs-2.fits") | expected("data/MORE", "obs-1.fits")
        refused = ended(other, run(other, data))
        assert "not yours to see" in refused["errorSummary"]["message"]
        count = len(srcnet.requests)
        unknown = ended(nobody, run(nobody, data))
        assert "asked in its callers' names" in unknown["errorSummary"]["message"]
        assert len(srcnet.requests) == count, "nobody's look-up has nothing to ask with"
        files_of(robot, run(robot, data))
        assert len(srcnet.requests) == count, "the same caller's answer is used again"


@pytest.mark.parametrize(
    ("name", "words"),
    [("survey:nothing", "is not known to the catalogue"), ("survey:night-1", "does not say which files")],
)
def test_reasons(ready: Server, issuer: OidcProvider, name: str, words: str) -> None:
    with user(ready, issuer.token("robot")) as robot:
        content = ended(robot, run(robot, {"DATA": name}))
        assert content["phase"] == "ERROR"
        assert words in content["errorSummary"]["message"]


@pytest.mark.anyio
async def test_places_sizes_and_lies(srcnet: SrcNet, rucio: Network) -> None:
    srcnet.may_see = lambda _authorization, _namespace: True
    catalogues = Catalogues(Datasets.model_validate({"catalogues": [settings_of(srcnet, cache=0)]}))
    name = "survey:obs-3.fits"

    async def look() -> DataSet | Absent:
        return (await catalogues.find([parse_identifier(name)], owner="o", tokens={"dm": "t"}))[name]

    try:
        answer = await look()
        assert isinstance(answer, DataSet)
        (file,) = answer.files
        assert file.size == len(CONTENTS["obs-3.fits"])
        assert {replica.area for replica in file.replicas} == set(srcnet.areas.values())
        for replica in file.replicas:
            storage = rucio.north if replica.area == srcnet.areas["NORTH"] else rucio.south
            assert (storage.files / replica.path).read_bytes() == CONTENTS["obs-3.fits"]
        for lie in ({"bytes": -1}, {"bytes": "many"}, {"bytes": 10**30}, {"md5": "zz"}, {"did_type": "DATASET"}):
            srcnet.lies = lie
            wrong = await look()
            assert isinstance(wrong, Absent), lie
            assert not wrong.transient
        srcnet.lies = {}
        srcnet.capabilities_down = True
        assert await look() == answer, "the last picture of the storage areas is used"
    finally:
        srcnet.may_see, srcnet.lies, srcnet.capabilities_down = may_see, {}, False
        await catalogues.close()


def test_callers_names_need_an_issuer(tmp_path: Path, srcnet: SrcNet) -> None:
    """Without it every look-up would fail."""
    settings = Settings.load(data=tmp_path, datasets={"catalogues": [settings_of(srcnet)]})
    with pytest.raises(ConfigurationError, match=r"datasets\.catalogues: dm: .* client_id"):
        applications_of(settings)


def test_storage_path_of_nonsense(tmp_path: Path) -> None:
    from uws_service.data.srcnet import storage_area_paths

    assert storage_area_paths(None, {"a": 1}) == {}
    assert storage_area_paths(
        [{"id": "s", "base_path": None}, 7], [{"id": "a", "associated_storage_id": "s"}, None]
    ) == {"a": "/"}

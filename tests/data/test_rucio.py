"""The catalogue of a real Rucio server."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rucio.network import CONTENTS, Network
from tests.rucio.server import ACCOUNT, PASSWORD, USER, path_of
from tests.server import free_port
from uws_service.cli.online_checks import check_online
from uws_service.data.catalogue import Absent
from uws_service.data.catalogues import Catalogues, Datasets
from uws_service.data.identifiers import parse_identifier
from uws_service.domain.dataset import DataSet
from uws_service.settings import Settings

pytestmark = pytest.mark.anyio


def settings_of(url: str, **changes: object) -> dict[str, object]:
    login = {"account": ACCOUNT, "username": USER, "password": PASSWORD}
    return {"name": "lake", "kind": "rucio", "url": url, "ivo": ["ivo://example.org/data?"], **login, **changes}


@pytest.fixture
async def catalogues(rucio: Network) -> AsyncIterator[Catalogues]:
    opened = Catalogues(Datasets.model_validate({"catalogues": [settings_of(rucio.server.url)]}))
    yield opened
    await opened.close()


async def find(catalogues: Catalogues, *texts: str) -> dict[str, DataSet | Absent]:
    return await catalogues.find([parse_identifier(text) for text in texts])


async def test_file_has_its_size_checksums_and_replicas(catalogues: Catalogues, rucio: Network) -> None:
    answer = (await find(catalogues, "survey:obs-2.fits"))["survey:obs-2.fits"]
    assert isinstance(answer, DataSet)
    assert answer.is_file
    (file,) = answer.files
    content = CONTENTS["obs-2.fits"]
    assert file.size == len(content)
    assert file.checksums == {"md5": hashlib.md5(content).hexdigest(), "adler32": f"{zlib.adler32(content):08x}"}
    below = path_of("survey", "obs-2.fits")
    assert {(replica.area, replica.url, replica.path) for replica in file.replicas} == {
        (storage.name, f"{storage.url}/{below}", below) for storage in (rucio.north, rucio.south)
    }


@pytest.mark.parametrize("name", ["survey:night-1", "survey:year-1", "ivo://example.org/data?survey/night-1"])
async def test_datasets_and_containers_are_their_files(catalogues: Catalogues, name: str) -> None:
    answer = (await find(catalogues, name))[name]
    assert isinstance(answer, DataSet)
    assert answer.identifier == name
    assert not answer.is_file
    assert {file.name: file.size for file in answer.files} == {name: len(data) for name, data in CONTENTS.items()}
    assert all(file.replicas for file in answer.files)


async def test_what_is_not_there_is_a_reason_and_not_a_fault(catalogues: Catalogues) -> None:
    answers = await find(catalogues, "survey:nothing", "nobody:obs-1.fits", "survey:empty", "survey:obs-1.fits")
    for name in ("survey:nothing", "nobody:obs-1.fits"):
        answer = answers[name]
        assert isinstance(answer, Absent), answer
        assert not answer.transient
        assert name in answer.reason
    empty = answers["survey:empty"]
    assert isinstance(empty, DataSet)
    assert empty.files == ()
    assert isinstance(answers["survey:obs-1.fits"], DataSet)


async def test_a_thousand_identifiers_take_few_requests(rucio: Network, catalogues: Catalogues) -> None:
    names = [f"survey:none-{number}" for number in range(994)] + [f"survey:{name}" for name in CONTENTS]
    answers = await find(catalogues, *names)
    assert sum(isinstance(answer, DataSet) for answer in answers.values()) == len(CONTENTS)
    assert len(answers) == 1000


async def test_wrong_password_is_the_operators_fault(rucio: Network) -> None:
    catalogues = Catalogues(Datasets.model_validate({"catalogues": [settings_of(rucio.server.url, password="no")]}))
    answer = (await find(catalogues, "survey:obs-1.fits"))["survey:obs-1.fits"]
    await catalogues.close()
    assert isinstance(answer, Absent)
    assert answer.transient
    assert "login" in answer.reason
    assert "no" not in answer.reason.split()[-1:]


async def test_foreign_token_is_the_callers_fault(rucio: Network) -> None:
    settings = {
        "name": "lake", "kind": "rucio", "url": rucio.server.url, "caller_audience": "rucio",
    }  # fmt: skip
    catalogues = Catalogues(Datasets.model_validate({"catalogues": [settings]}))
    name = "survey:obs-1.fits"
    answers = await catalogues.find([parse_identifier(name)], owner="a@b", tokens={"lake": "nonsense"})
    nobody = await catalogues.find([parse_identifier(name)])
    await catalogues.close()
    for answer in (answers[name], nobody[name]):
        assert isinstance(answer, Absent)
        assert not answer.transient


async def test_server_that_is_down_is_asked_again_later() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    catalogues = Catalogues(Datasets.model_validate({"catalogues": [settings_of(url)]}))
    answer = (await find(catalogues, "survey:obs-1.fits"))["survey:obs-1.fits"]
    await catalogues.close()
    assert isinstance(answer, Absent)
    assert answer.transient
    assert "lake" in answer.reason


async def test_check_config_tries_the_catalogues(rucio: Network, tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    index.write_text("identifier,file,url\n")
    static = {"name": "index", "kind": "static", "index": str(index)}
    gone = settings_of("http://127.0.0.1:1", name="gone")
    settings = Settings.load(
        data=tmp_path / "data",
        datasets={"catalogues": [settings_of(rucio.server.url), gone, static]},
    )
    checks = {check.part: check for check in await check_online(settings)}
    assert checks["catalogue lake"].problem == ""
    assert checks["catalogue index"].problem == ""
    assert "can't be asked now" in checks["catalogue gone"].problem
    index.write_text("nonsense\n")
    checks = {check.part: check for check in await check_online(settings)}
    assert "index.csv:1" in checks["catalogue index"].problem

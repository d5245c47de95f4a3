"""Data that a real Rucio brings to a site by a rule before the job starts there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.data.test_jobs import WAIT_SECONDS, ended, files_of, run, service, show
from tests.data.test_rucio import settings_of
from tests.rucio.network import SCOPE, Network
from tests.rucio.server import path_of, register
from tests.server import Server
from tests.service.client import Uws
from uws_service.configuration import applications_of
from uws_service.data.answers import CatalogueFault
from uws_service.data.catalogue import Brought
from uws_service.data.catalogues import Catalogues, Datasets
from uws_service.data.identifiers import parse_identifier
from uws_service.data.rucio_rules import state_of
from uws_service.domain.errors import ConfigurationError
from uws_service.settings import Settings

NIGHT = {f"late-{number}.fits": bytes([number + 1]) * 1000 for number in range(6)}
"""Files of this module alone: other tests of the same server count on where theirs are."""
NORTH_ALONE = ("late-0.fits", "late-1.fits")
"""Files that are not at SOUTH."""


@pytest.fixture(scope="module")
def lake(rucio: Network) -> Network:
    """Return a network whose storage elements copy from each other, with a data set that one of them has in part."""
    rucio.server.connect(rucio.north, rucio.south)
    register(
        rucio.server, SCOPE, NIGHT, {name: [rucio.north if name in NORTH_ALONE else rucio.south] for name in NIGHT}
    )
    files = [{"scope": SCOPE, "name": name} for name in NIGHT]
    rucio.server.operate(("add_dataset", [SCOPE, "late-night"]), ("attach_dids", [SCOPE, "late-night", files]))
    return rucio


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, lake: Network) -> Iterator[Server]:
    """Yield a service with a site that has SOUTH, and has the lake bring there what it has not."""
    storage: list[Any] = [{"area": "SOUTH", "path": str(lake.south.files), "bring": True}]
    server = service(
        tmp_path_factory.mktemp("service"),
        [settings_of(lake.server.url)],
        UWS_SITES=json.dumps([{"name": "south", "storage": storage}]),
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def user(ready: Server) -> Iterator[Uws]:
    with Uws(ready.url, "reader") as client:
        yield client


def waiting_for(user: Uws, job: str, words: str) -> dict[str, Any]:
    """Return the job once it says these words of why it waits."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        content = show(user, job)
        if words in (content["jobInfo"]["waiting"] or ""):
            return content
        assert content["phase"] == "QUEUED", content
        time.sleep(0.1)
    raise AssertionError(show(user, job))


def bytes_of(server: Server, job: str) -> tuple[int, int]:
    """Return the bytes that came into a job's input folder, and those that were moved to its site."""
    with contextlib.closing(sqlite3.connect(server.folder / "data" / "uws.db")) as database:
        query = "SELECT sum(bytes_in), sum(bytes_moved) FROM usage_record WHERE job_id = ?"
        staged, moved = database.execute(query, [job.rpartition("/")[2]]).fetchone()
    return staged, moved


def rules_at(network: Network, name: str, area: str) -> list[dict[str, Any]]:
    (rules,) = network.server.operate(("list_did_rules", [SCOPE, name]))
    return [rule for rule in rules if rule["rse_expression"] == area]


def test_job_waits_until_the_lake_has_brought_its_data(ready: Server, user: Uws, lake: Network) -> None:
    """Two files of six are missing at the site: a rule copies them, and the job reads all six in place."""
    first, second = (run(user, {"DATA": "survey:late-night"}) for _ in range(2))
    for job in (first, second):
        content = waiting_for(user, job, "4 of 6 files are there")
        assert content["phase"] == "QUEUED"
    ready.stop()  # the service is killed while the data are on their way
    ready.start()
    waiting_for(user, first, "its data are brought to south: 4 of 6 files are there")
    assert len(rules_at(lake, "late-night", "SOUTH")) == 1, "the same rule for both jobs, and after a restart"
    served = lake.north.log.read_text().count("GET")
    lake.server.transfer(lake.south, [lake.north], [path_of(SCOPE, name) for name in NORTH_ALONE])
    for job in (first, second):
        assert files_of(user, job)["files"] == {
            f"data/DATA/{name}": [len(content), hashlib.sha256(content).hexdigest()] for name, content in NIGHT.items()
        }
        content = show(user, job)
        assert content["jobInfo"]["data"] == "6 files were brought to south (SOUTH) by lake"
        assert content["jobInfo"]["attempt"] in (None, 1)
    assert lake.north.log.read_text().count("GET") == served, "nothing was fetched from elsewhere"
    assert "6 files were brought to south" in user.http.get(first).text
    brought = sum(len(NIGHT[name]) for name in NORTH_ALONE)
    for job in (first, second):
        staged, moved = bytes_of(ready, job)
        assert moved == brought > staged, "what lay at the site already was not moved, and is not copied"
    near = run(user, {"DATA": f"survey:{NORTH_ALONE[0]}"})
    assert len(files_of(user, near)["files"]) == 1
    assert bytes_of(ready, near)[1] == 0, "an earlier job has had it brought"


def test_what_is_refused_is_fetched(ready: Server, user: Uws, lake: Network) -> None:
    """The account may have nothing more at SOUTH."""
    name = "refused.fits"
    content = b"r" * 5000
    register(lake.server, SCOPE, {name: content}, {name: [lake.north]})
    lake.server.operate(("set_local_account_limit", ["root", "SOUTH", 1]))
    try:
        job = run(user, {"DATA": f"survey:{name}"})
        assert [size for size, _ in files_of(user, job)["files"].values()] == [5000]
        words = show(user, job)["jobInfo"]["data"]
        assert "could not be brought to south, and are fetched" in words
        assert "quota" in words.lower()
        staged, moved = bytes_of(ready, job)
        assert moved == 5000 <= staged
    finally:
        lake.server.operate(("set_local_account_limit", ["root", "SOUTH", 10**15]))


def test_abort_while_the_data_are_on_their_way(user: Uws, lake: Network) -> None:
    register(lake.server, SCOPE, {"slow.fits": b"s" * 100}, {"slow.fits": [lake.north]})
    job = run(user, {"DATA": "survey:slow.fits"})
    waiting_for(user, job, "0 of 1 file is there")
    assert user.http.post(f"{job}/phase", data={"PHASE": "ABORT"}).status_code == 303
    assert ended(user, job)["phase"] == "ABORTED"


@pytest.fixture
async def catalogues(lake: Network) -> AsyncIterator[Catalogues]:
    opened = Catalogues(Datasets.model_validate({"catalogues": [settings_of(lake.server.url)]}))
    yield opened
    await opened.close()


@pytest.mark.anyio
async def test_unknown_data_and_areas_are_refused(catalogues: Catalogues) -> None:
    (rucio,) = catalogues.catalogues
    for area, name in (("SOUTH", "survey:no-such"), ("NOWHERE", "survey:night-1")):
        with pytest.raises(CatalogueFault) as raised:
            await rucio.bring(area, parse_identifier(name), None)
        assert not raised.value.transient
    with pytest.raises(CatalogueFault, match="no scope and name"):
        await rucio.bring("SOUTH", parse_identifier("https://example.org/a"), None)


@pytest.mark.anyio
async def test_caller_is_asked_for_its_account(lake: Network) -> None:
    """With a token of a caller the rule is that of the token's account."""
    answer = httpx2.get(
        f"{lake.server.url}/auth/userpass",
        headers={"x-rucio-account": "root", "x-rucio-username": "ops", "x-rucio-password": "ops-password"},
        trust_env=False,
    )
    token = answer.headers["x-rucio-auth-token"]
    settings = {"name": "mine", "kind": "rucio", "url": lake.server.url, "caller_audience": "rucio"}
    opened = Catalogues(Datasets.model_validate({"catalogues": [settings]}))
    try:
        (rucio,) = opened.catalogues
        state = await rucio.bring("SOUTH", parse_identifier("survey:obs-3.fits"), token)
        assert state == Brought(1, 1, complete=True)
    finally:
        await opened.close()
    assert [rule["account"] for rule in rules_at(lake, "obs-3.fits", "SOUTH")] == ["root"]


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ({"state": "OK", "locks_ok_cnt": 3, "locks_replicating_cnt": 0, "locks_stuck_cnt": 0}, Brought(3, 3, True)),
        ({"state": "REPLICATING", "locks_ok_cnt": 3, "locks_replicating_cnt": 2, "locks_stuck_cnt": 0}, Brought(3, 5)),
        (
            {
                "state": "STUCK",
                "locks_ok_cnt": 3,
                "locks_replicating_cnt": 1,
                "locks_stuck_cnt": 1,
                "error": "no\nlink",
            },
            Brought(3, 5, problem="no link"),
        ),
        ({"state": "INJECT", "locks_ok_cnt": None, "locks_stuck_cnt": "x"}, Brought(0, 0)),
        ({"state": "WAITING_APPROVAL"}, Brought(0, 0, problem="the rule waits for its approval")),
    ],
)
def test_state_of_a_rule(rule: dict[str, Any], state: Brought) -> None:
    assert state_of(rule) == state


def test_sites_that_bring_need_a_lake(tmp_path: Path) -> None:
    sites = [{"name": "south", "storage": [{"area": "SOUTH", "path": str(tmp_path), "bring": True}]}]
    settings = Settings.load(sites=sites, data=tmp_path)
    with pytest.raises(ConfigurationError, match="no catalogue that can bring data"):
        applications_of(settings)

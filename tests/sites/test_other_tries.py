"""Jobs whose data are not where their site should have them: the next attempt fetches them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.sites.test_launches import new_job
from uws_service.applications import Application, load_applications
from uws_service.data.replicas import bind
from uws_service.domain.attempt import Reason
from uws_service.domain.dataset import DataFile, DataParameter, DataSet, Replica
from uws_service.placement.placer import Placer
from uws_service.sites.local.settings import LocalSite
from uws_service.sites.other_tries import Failure, OtherTry, other_try
from uws_service.store import Store
from uws_service.web.faces.registry import STANDARDS

pytestmark = pytest.mark.anyio

DESCRIPTOR = """
name: reader
title: Reads
description: Reads.
command: [cat, "{NAME}"]
parameters:
  - {name: NAME, arraysize: "*", required: true, description: What to read.}
results:
  - {id: result, path: result, media_type: text/plain}
"""
MISSING = Failure(Reason.STAGE_IN, "DATA: x is no file at the storage area HERE.")
NEAR, FAR = Replica("HERE", "https://here.example.org/x", "x"), Replica("THERE", "https://there.example.org/x", "x")
UNFETCHED = Replica("HERE", "", "x")


@pytest.fixture
def applications(tmp_path: Path) -> dict[str, Application]:
    (tmp_path / "reader.yaml").write_text(DESCRIPTOR)
    return load_applications([tmp_path / "reader.yaml"], STANDARDS, builtin=False)


@pytest.fixture
def placer(store: Store, tmp_path: Path) -> Placer:
    storage = [{"area": "HERE", "path": str(tmp_path)}]
    sites = [{"name": "a", "kind": "local", "storage": storage}, {"name": "b", "kind": "local"}]
    return Placer(store, [LocalSite.model_validate(site) for site in sites], ["a", "b"])


async def next_try(
    store: Store,
    placer: Placer,
    applications: dict[str, Application],
    *replicas: Replica,
    failure: Failure = MISSING,
    number: int = 1,
) -> OtherTry | None:
    """Return what follows a try at the site ``a``, which mounts the area NEAR, over a file with these replicas."""
    job, attempt = await new_job(store, applications, placer)
    launch = await store.attempts.launch(job.id, 1)
    assert launch is not None
    sets = (DataSet("s:x", (DataFile("x", 5, {}, replicas),), is_file=True, lake="lake"),)
    launch = replace(launch, number=number, data=(DataParameter("DATA", ("s:x",), 100, sets=sets),))
    failed_attempt = replace(attempt, site="a", number=number)
    return await other_try(placer, applications["reader"], job, failed_attempt, launch, failure)


@pytest.mark.parametrize("replicas", [(NEAR,), (NEAR, FAR), (UNFETCHED, FAR)])
async def test_what_is_not_there_is_fetched(
    store: Store, placer: Placer, applications: dict[str, Application], replicas: tuple[Replica, ...]
) -> None:
    """From the same area too, if it has a URL; nothing is mounted, and no copy is brought."""
    second = await next_try(store, placer, applications, *replicas)
    assert second is not None
    assert second.launch.number == 2
    (data_set,) = second.launch.data[0].sets or ()
    assert data_set.lake == ""
    bound = bind(second.launch, placer.configured["a"].storage_areas())
    (item,) = (item for item in bound.inputs if item.path.startswith("data/"))
    assert item.mount is None
    urls = [replica.url for replica in replicas if replica.url]
    assert [item.url, *item.urls] == urls
    assert second.words == second.data
    assert second.words.startswith("its data could not be read in place at a, and are fetched: DATA: x is no file")


@pytest.mark.parametrize(
    ("replicas", "failure", "number"),
    [
        ((FAR,), MISSING, 1),  # it was fetched: every replica has been tried
        ((UNFETCHED,), MISSING, 1),  # it can't be fetched
        ((NEAR, FAR), Failure(Reason.EXIT_CODE, ""), 1),
        ((NEAR, FAR), Failure(Reason.OUT_OF_MEMORY, ""), 1),  # its application allows no more
        ((NEAR, FAR), MISSING, 3),  # tried often enough
    ],
)
async def test_no_other_try(
    store: Store,
    placer: Placer,
    applications: dict[str, Application],
    replicas: tuple[Replica, ...],
    failure: Failure,
    number: int,
) -> None:
    assert await next_try(store, placer, applications, *replicas, failure=failure, number=number) is None

"""Look-ups whose job can't go on any more."""

from __future__ import annotations

import asyncio

import pytest

from tests.store.samples import attempt, job
from uws_service.data.catalogues import Catalogues, Datasets
from uws_service.domain.attempt import AWAITS_DATA, AttemptState, Launch
from uws_service.domain.dataset import DataParameter
from uws_service.domain.job import Phase
from uws_service.placement.placer import Placer
from uws_service.service.lookups import DataLookups
from uws_service.sites.local.settings import LocalSite
from uws_service.store import Store

pytestmark = pytest.mark.anyio
NOW = 10_000


async def test_job_of_an_application_that_was_removed_ends(store: Store) -> None:
    """It is an error that says so, and no attempt that waits for a site for ever."""
    data = (DataParameter("DATA", ("https://example.org/a",), max_size=10),)
    launch = Launch(
        "gone", 1, "app", "", ("true",), "", {}, "{}", (), (), duration=0, cpu=1.0, memory=1, max_output=1, data=data
    )
    waiting = attempt("gone", site="", network=True, not_before=AWAITS_DATA, launch=launch)
    await store.create(job("gone", phase=Phase.QUEUED), actor="me", attempt=waiting)
    placer = Placer(store, [LocalSite(name="a"), LocalSite(name="b")], ["a", "b"])
    lookups = DataLookups(store, Catalogues(Datasets()), {}, placer, clock=lambda: NOW)
    assert await lookups._take()
    await asyncio.gather(*lookups._tasks)
    after = await store.get("gone")
    assert after is not None and after.error is not None
    assert (after.phase, after.error.reason) == (Phase.ERROR, "Command")
    assert after.error.message == "The application app is not declared here any more."
    (row,) = await store.attempts.of("gone")
    assert row.state is AttemptState.CLOSED
    assert not await lookups._take(), "nothing is looked up once more"

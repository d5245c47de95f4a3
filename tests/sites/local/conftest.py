"""A depot in a folder, and a local site."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from uws_service.depot import Depot
from uws_service.sites.local.executor import LocalExecutor


@pytest.fixture
def depot(tmp_path: Path) -> Depot:
    """Return an empty depot."""
    (tmp_path / "depot").mkdir()
    return Depot.open(str(tmp_path / "depot"))


@pytest.fixture
async def executor(tmp_path: Path, depot: Depot) -> AsyncIterator[LocalExecutor]:
    """Yield a site that has started.

    What still runs at the end is removed.
    """
    site = LocalExecutor("local", tmp_path / "work", depot, capacity=4, allow_private=True)
    await site.start()
    yield site
    for observation in await site.observe():
        await site.forget(observation.job_id, observation.number)
    await site.stop()

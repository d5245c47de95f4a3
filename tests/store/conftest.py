"""Stores on fresh databases: each test of this folder runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import databases
from uws_service.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is still empty."""
    return databases.new_sqlite(tmp_path) if request.param == "sqlite" else databases.new_postgresql()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A store with its tables; its feed does not run."""
    opened = await Store.open(url, create=True)
    yield opened
    await opened.close()


@pytest.fixture
async def peer(store: Store, url: str) -> AsyncIterator[Store]:
    """A second store on the same database, as another process would have it."""
    opened = await Store.open(url)
    yield opened
    await opened.close()

"""Stores on fresh databases, SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import databases
from uws_service.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    return databases.new_sqlite(tmp_path) if request.param == "sqlite" else databases.new_postgresql()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open a store whose feed does not run."""
    opened = await Store.open(url, create=True)
    yield opened
    await opened.close()


@pytest.fixture
async def peer(store: Store, url: str) -> AsyncIterator[Store]:
    """Open a second store on the same database."""
    opened = await Store.open(url)
    yield opened
    await opened.close()

"""Fixtures for the whole suite."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The service runs on asyncio; so do its tests."""
    return "asyncio"

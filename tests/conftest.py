"""Fixtures for the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3 import S3Server


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The service runs on asyncio; so do its tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server with a bucket, for all tests that need one."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()

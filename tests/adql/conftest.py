"""The engines with the corpus' tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adql.sky import MAKERS, engines
from uws_service.tap.engines.base import Engine


@pytest.fixture(scope="package", params=list(MAKERS))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    yield from engines(tmp_path_factory.mktemp("sky"), request.param)

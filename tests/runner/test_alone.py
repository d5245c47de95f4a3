"""A runner's site as the only one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.batch.service import APPS
from tests.batch.trials import conformance, crossmatch
from tests.runner.programs import SITE, Far, far_site


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    applications = [str(APPS / f"{name}.yaml") for name in ("sleep", "crossmatch")]
    with far_site(tmp_path_factory.mktemp("far"), applications=applications, reap_interval=0.3) as far:
        yield far


def test_crossmatch_by_pyvo(far: Far) -> None:
    crossmatch(far.server, SITE)


def test_conformance(far: Far) -> None:
    conformance(far.server)

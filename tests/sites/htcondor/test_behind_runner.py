"""A pool that a runner drives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.batch import behind_trials
from tests.batch.behind import behind_runner
from tests.batch.condor import CondorPool
from tests.batch.trials import crossmatch
from tests.batch.victims import PoolVictim
from tests.runner.programs import SITE, Far


@pytest.fixture(scope="module")
def far(pool: CondorPool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    with behind_runner(tmp_path_factory.mktemp("far"), pool) as far:
        yield far


def test_crossmatch_by_pyvo(far: Far) -> None:
    crossmatch(far.server, SITE)


def test_logs_and_failure(far: Far) -> None:
    behind_trials.logs_and_failure(far)


def test_abort(far: Far, pool: CondorPool) -> None:
    behind_trials.abort(far, PoolVictim(pool, far.server).leftovers)


def test_results_of_a_cut(far: Far, pool: CondorPool) -> None:
    behind_trials.results_of_a_cut(far, pool.shared)


def test_kills(far: Far, pool: CondorPool) -> None:
    behind_trials.kills(far, pool, PoolVictim(pool, far.server).leftovers)

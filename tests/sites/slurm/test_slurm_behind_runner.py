"""A cluster that a runner drives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.batch import behind_trials
from tests.batch.behind import behind_runner
from tests.batch.slurm import SlurmCluster
from tests.batch.trials import crossmatch
from tests.batch.victims import ClusterVictim
from tests.runner.programs import SITE, Far


@pytest.fixture(scope="module")
def far(cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    with behind_runner(tmp_path_factory.mktemp("far"), cluster) as far:
        yield far


def test_crossmatch_by_pyvo(far: Far) -> None:
    crossmatch(far.server, SITE)


def test_logs_and_failure(far: Far) -> None:
    behind_trials.logs_and_failure(far)


def test_abort(far: Far, cluster: SlurmCluster) -> None:
    behind_trials.abort(far, ClusterVictim(cluster, far.server).leftovers)


@pytest.mark.soak  # test_behind_runner.py has the same for HTCondor, in every run
def test_results_of_a_cut(far: Far, cluster: SlurmCluster) -> None:
    behind_trials.results_of_a_cut(far, cluster.shared)


@pytest.mark.soak  # test_behind_runner.py has the same for HTCondor, in every run
def test_kills(far: Far, cluster: SlurmCluster) -> None:
    behind_trials.kills(far, cluster, ClusterVictim(cluster, far.server).leftovers)

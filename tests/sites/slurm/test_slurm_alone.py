"""A cluster as the service's only site."""

from __future__ import annotations

from tests.batch.service import BatchServer
from tests.batch.slurm import SlurmCluster
from tests.batch.trials import conformance, crossmatch


def test_crossmatch_by_pyvo(server_with_image: BatchServer[SlurmCluster]) -> None:
    crossmatch(server_with_image, server_with_image.system.name)


def test_conformance(server_with_image: BatchServer[SlurmCluster]) -> None:
    conformance(server_with_image)

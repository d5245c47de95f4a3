"""A batch system behind a runner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.batch import soak
from tests.batch.images import service_image
from tests.batch.service import APPS, Nodes
from tests.batch.victims import RunnerVictim
from tests.runner.programs import Far, far_site
from tests.server import free_port

IMAGE = "local/service"


class Configured(Nodes, Protocol):
    """A pool or a cluster."""

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return the settings of its site."""


@contextmanager
def behind_runner(folder: Path, system: Configured) -> Iterator[Far]:
    """Yield a service, and a runner before a batch system; the shipped applications name an image."""
    port = free_port()
    local = system.settings(agent_url=f"http://127.0.0.1:{port}", image_names={IMAGE: service_image()})
    del local["name"]
    applications = []
    for name in ("sleep", "crossmatch"):
        path = folder / f"{name}.yaml"
        path.write_text(f"{(APPS / path.name).read_text()}\nimage: {IMAGE}\n")
        applications.append(str(path))
    applications.append(soak.write_descriptor(folder, system.inner_shared))
    soak.make_ledger(system.shared)
    runner = {"local": local, "relay": {"host": "127.0.0.1", "port": port}}
    site = {"images": True, "slots": 50, "unknown_after": 1}
    with far_site(folder, site=site, runner=runner, applications=applications, reap_interval=0.3) as far:
        yield far


class BehindVictim(RunnerVictim):
    """A runner before a batch system; its jobs are looked for there."""

    def __init__(self, far: Far, system: Configured, leftovers: Any) -> None:
        super().__init__(far.server, far.runner, system.shared)
        self._leftovers = leftovers

    def leftovers(self, job_ids: frozenset[str]) -> list[str]:
        """Return what the batch system has of jobs."""
        return list(self._leftovers(job_ids))

"""Two replicas of the service over one database.

One drives the site, either one answers, and one can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.cluster.service import NAMESPACE, ClusterServer, job_id, settings_of, until
from tests.rig.site import Site


@pytest.fixture
def replicas(site_a: Site, folder: Path) -> Iterator[tuple[ClusterServer, ClusterServer]]:
    """Yield two services on one database.

    The agents know the second one only.
    """
    shared = {"database": databases.new_postgresql(), "depot": str(folder / "depot"), "auto_migrate": True}
    second = ClusterServer(folder / "2", [settings_of(site_a)], site_a.host_address, **shared)
    first_site = settings_of(site_a, agent_url=f"http://{site_a.host_address}:{second.port}")
    first = ClusterServer(folder / "1", [first_site], site_a.host_address, **shared)
    first.start()
    second.start()
    yield first, second
    first.stop()
    second.stop()


def test_one_drives_and_the_other_takes_over(replicas: tuple[ClusterServer, ClusterServer], site_a: Site) -> None:
    """The driver is killed amid jobs.

    The other one goes on, and nothing is made twice.
    """
    first, second = replicas
    until(lambda: "driving the site" in first.log.read_text(), "the first to drive")
    with first.client() as first_client, second.client() as two:
        running = first_client.script("echo begun; sleep 12; echo x > $UWS_OUTPUT_DIR/result")
        url_there = running.replace(first.url, second.url)
        two.wait(url_there, "EXECUTING")
        # A replica that does not drive the site shows the live log all the same.
        until(lambda: "begun" in two.log(url_there), "the live log at the other replica")
        assert "driving the site" not in second.log.read_text()
        first.kill()
        late = two.script("echo x > $UWS_OUTPUT_DIR/result")
        for url in (url_there, late):
            document = two.ended(url)
            assert document["phase"] == "COMPLETED", document["errorSummary"]
            assert document["jobInfo"]["attempt"] == 1
            creations = {name: count for name, count in site_a.job_creations(NAMESPACE).items() if job_id(url) in name}
            assert creations == {f"uws-{job_id(url)}-1": 1}
        assert "driving the site" in second.log.read_text()
        first_client.made.clear()

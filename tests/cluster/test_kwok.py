"""A site's fake nodes.

Many pods without a container, beside the real node.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import site_named, temporary_namespace
from tests.cluster.jobs import job, wait_complete
from tests.rig import images, kwok
from tests.rig.processes import wait_for
from tests.rig.site import Site

FAKE = {"tolerations": [kwok.TOLERATION], "nodeSelector": {"type": "kwok"}}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Yield a site with KWOK and two fake nodes."""
    for site in site_named("kwok", kwok=True):
        site.apply(kwok.node("fake-0"), kwok.node("fake-1"))
        site.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "node/fake-0", "node/fake-1")
        yield site
        site.kubectl("delete", "node", "fake-0", "fake-1")


@pytest.fixture
def namespace(site: Site) -> Iterator[str]:
    """Yield a namespace of its own."""
    yield from temporary_namespace(site)


@pytest.mark.soak
def test_jobs_on_fake_nodes_complete(site: Site, namespace: str) -> None:
    """Twenty Jobs complete on fake nodes.

    One that does not ask for these runs on the real node.
    """
    fake = [job(f"fake-{number}", namespace, "no/such:image", "true", pod=FAKE) for number in range(20)]
    site.apply(*fake, job("real", namespace, images.BUSYBOX, "true"))
    wait_for("twenty Jobs", lambda: {item["metadata"]["name"] for item in fake} <= _complete(site, namespace), 90)
    wait_complete(site, "real", namespace)
    pods = site.get("pods", "-n", namespace)["items"]
    nodes = {pod["metadata"]["labels"]["job-name"]: pod["spec"]["nodeName"] for pod in pods}
    assert nodes.pop("real") == "node-kwok"
    assert set(nodes.values()) <= {"fake-0", "fake-1"}
    assert set(site.job_creations(namespace).values()) == {1}


def _complete(site: Site, namespace: str) -> set[str]:
    jobs = site.get("jobs", "-n", namespace)["items"]
    return {job["metadata"]["name"] for job in jobs if job["status"].get("succeeded") == 1}

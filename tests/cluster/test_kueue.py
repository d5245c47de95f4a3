"""A site's Kueue is the real one.

It holds what a queue has no room for, and tells why and at which place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import site_named, temporary_namespace
from tests.cluster.jobs import conditions, job, wait_complete
from tests.rig import images, kueue
from tests.rig.processes import wait_for
from tests.rig.site import Site

pytestmark = pytest.mark.soak  # the tests of the service in queues need the same of it

ONE_CPU = {"requests": {"cpu": "1"}}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Yield a site with Kueue, apart from those where other tests count and break things."""
    yield from site_named("kueue", kueue=True)


@pytest.fixture
def namespace(site: Site) -> Iterator[str]:
    """Yield a namespace with a queue ``main`` of one CPU."""
    for name in temporary_namespace(site):
        site.apply(*kueue.queue("main", name, cpu=1))
        yield name
        site.kubectl("delete", "clusterqueue", f"{name}-main", "--wait=false")


def queued(name: str, namespace: str, command: str) -> dict[str, object]:
    """Return a Job of one CPU for the queue."""
    manifest = job(name, namespace, images.BUSYBOX, "sh", "-c", command, labels={"kueue.x-k8s.io/queue-name": "main"})
    manifest["spec"]["template"]["spec"]["containers"][0]["resources"] = ONE_CPU
    return manifest


def pending(site: Site, namespace: str) -> list[tuple[str, int]]:
    """Return who waits in the queue, and at which place."""
    path = f"/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/{namespace}/localqueues/main/pendingworkloads"
    items = json.loads(site.kubectl("get", "--raw", path))["items"]
    return [(item["metadata"]["ownerReferences"][0]["name"], item["positionInLocalQueue"]) for item in items]


def test_the_second_waits_for_the_first(site: Site, namespace: str) -> None:
    """In a queue of one CPU one Job runs.

    The next are held, their workloads tell why, and all complete in the end.
    """
    site.apply(queued("first", namespace, "while [ ! -e /tmp/go ]; do sleep 0.1; done"))
    wait_for("the first", lambda: "Running" in site.kubectl("get", "pods", "-n", namespace), 60, every=0.2)
    site.apply(queued("second", namespace, "true"))
    site.apply(queued("third", namespace, "true"))
    wait_for("the places", lambda: pending(site, namespace) == [("second", 0), ("third", 1)], 30, every=0.2)
    assert "Suspended" in conditions(site, "job", "second", namespace)
    (workload,) = [
        item
        for item in site.get("workloads.kueue.x-k8s.io", "-n", namespace)["items"]
        if item["metadata"]["ownerReferences"][0]["name"] == "second"
    ]
    reasons = {condition["type"]: condition["message"] for condition in workload["status"]["conditions"]}
    assert "insufficient unused quota for cpu in flavor default, 1 more needed" in reasons["QuotaReserved"]
    site.kubectl("exec", "-n", namespace, "job/first", "--", "touch", "/tmp/go")
    for name in ("first", "second", "third"):
        wait_complete(site, name, namespace, timeout=90)


def test_killed_controller_goes_on(site: Site, namespace: str) -> None:
    """Without its controller no Job is let in.

    With it again, they are.
    """
    site.apply(queued("before", namespace, "true"))
    wait_complete(site, "before", namespace)
    site.kill("kueue")
    assert "failed calling webhook" in site.kubectl(
        "create", "-f", "-", input=json.dumps(queued("without", namespace, "true")), check=False
    )
    site.start("kueue")
    wait_for(
        "the webhook",
        lambda: "created" in site.kubectl(
            "create", "-f", "-", input=json.dumps(queued("after", namespace, "true")), check=False
        ),
        30, every=0.5,
    )  # fmt: skip
    wait_complete(site, "after", namespace)

"""Kueue's own fair sharing and the service's.

The same shares make the same order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import site_named, temporary_namespace
from tests.cluster.jobs import job
from tests.rig import images, kueue, kwok
from tests.rig.processes import wait_for
from tests.rig.site import Site
from uws_service.placement.shares import FairShares, GroupShare, Ledger, Lot, plan

SHARES = {"gold": 60, "silver": 30, "bronze": 10}
JOBS_OF_GROUP = 14
"""Jobs of each group."""
ROUND = 20
"""The first so many admissions are looked at; no group has run out of jobs by then."""
SLOTS = 4
QUEUE = "kueue.x-k8s.io/queue-name"
FAKE = {"tolerations": [kwok.TOLERATION], "nodeSelector": {"type": "kwok"}}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Yield a site with Kueue and a fake node, whose pods end at once."""
    for site in site_named("shares", kueue=True, kwok=True):
        site.apply(kwok.node("fake-0"))
        site.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "node/fake-0")
        yield site
        site.kubectl("delete", "node", "fake-0")


@pytest.fixture
def namespace(site: Site) -> Iterator[str]:
    """Yield a namespace in which each group has a LocalQueue, whose weight is its share."""
    for name in temporary_namespace(site):
        scope: dict[str, Any] = {"admissionScope": {"admissionMode": "UsageBasedAdmissionFairSharing"}}
        flavor, cluster_queue, local_queue = kueue.queue("main", name, cpu=SLOTS, stopPolicy="Hold", **scope)
        queues = [
            {
                **local_queue,
                "metadata": {"name": group, "namespace": name},
                "spec": {**local_queue["spec"], "fairSharing": {"weight": str(share)}},
            }
            for group, share in SHARES.items()
        ]
        site.apply(flavor, cluster_queue, *queues)
        yield name
        site.kubectl("delete", "clusterqueue", f"{name}-main", "--wait=false")


def admissions(site: Site, namespace: str) -> list[tuple[str, str]]:
    """Return when Kueue let Jobs start, and the group of each, in that order."""
    jobs = [item for item in site.get("jobs", "-n", namespace)["items"] if item["status"].get("startTime")]
    return sorted((item["status"]["startTime"], item["metadata"]["labels"][QUEUE]) for item in jobs)


def our_order(number: int) -> Counter[str]:
    """Return how many of each group the service would take first."""
    groups = {group: GroupShare(share=share) for group, share in SHARES.items()}
    lots = [Lot(group, group, f"owner of {group}", 0, JOBS_OF_GROUP) for group in SHARES]
    picks = plan(lots, Ledger(), FairShares(groups=groups, aged=10**6), now_ms=1, room=number)
    counts: Counter[str] = Counter()
    for pick in picks:
        counts[pick.lot.group] += pick.count
    return counts


@pytest.mark.soak
def test_kueue_and_the_service_agree(site: Site, namespace: str) -> None:
    """All groups wait with the same jobs before the queue opens."""
    waiting = []
    for group in reversed(SHARES):  # who was there first must not count
        for number in range(JOBS_OF_GROUP):
            labels = {QUEUE: group}
            manifest = job(f"{group}-{number}", namespace, images.BUSYBOX, "true", pod=FAKE, labels=labels)
            manifest["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
            waiting.append(manifest)
    site.apply(*waiting)
    expected_jobs = len(waiting)

    def all_listed() -> bool:
        return len(site.get("workloads.kueue.x-k8s.io", "-n", namespace)["items"]) == expected_jobs

    wait_for("all workloads", all_listed, 60, every=0.3)
    assert not admissions(site, namespace)
    opened = '{"spec": {"stopPolicy": "None"}}'
    site.kubectl("patch", "clusterqueue", f"{namespace}-main", "--type=merge", "-p", opened)
    wait_for("the first jobs", lambda: len(admissions(site, namespace)) >= ROUND, 180, every=0.5)
    order = admissions(site, namespace)
    last = order[ROUND - 1][0]
    first = [group for instant, group in order if instant <= last]  # those of the same second too
    # Kueue counts what has ended only every few seconds.
    service_counts, kueue_counts = our_order(len(first)), Counter(first)
    for group in SHARES:
        assert abs(service_counts[group] - kueue_counts[group]) <= 2, (service_counts, kueue_counts)

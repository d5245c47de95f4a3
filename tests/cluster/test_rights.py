"""The chart's Role, right by right.

With all of them the service's requests are answered, without one they are not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import temporary_namespace
from tests.cluster.service import settings_of, until
from tests.cluster.test_chart import OPEN, template
from tests.rig import images
from tests.rig.site import Site
from uws_service.sites.kubernetes.cluster import Cluster, Exists, SiteDown
from uws_service.sites.kubernetes.settings import KubernetesSite

ACCOUNT = "service"
Ask = Callable[[Cluster], Awaitable[Any]]


def _role() -> dict[str, Any]:
    """Return the Role as the chart makes it for a site without queues; Kueue's two rights are used in test_queues."""
    (role,) = (
        document
        for document in yaml.safe_load_all(template(*OPEN, "site.namespace=jobs"))
        if document and document["kind"] == "Role"
    )
    return dict(role)


def _job(name: str) -> dict[str, Any]:
    container = {"name": "job", "image": images.SERVICE, "imagePullPolicy": "Never", "command": ["echo", "printed"]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"rights": name}},
        "spec": {"template": {"metadata": {"labels": {"rights": name}}, "spec": spec}},
    }


async def _watch(cluster: Cluster, kind: str) -> None:
    """Wait for the first change of a watch.

    What is there.
    """
    async for _ in cluster.watch(kind, "rights", "0"):
        return


async def _log(cluster: Cluster, pod: str) -> bytes:
    return b"".join([chunk async for chunk in cluster.log(pod, "job", limit=1000)])


@pytest.fixture(scope="module")
def place(site_a: Site) -> Iterator[tuple[Site, str, str]]:
    """Yield a site, a namespace with an account without rights, and the name of a pod that has printed something."""
    for namespace in temporary_namespace(site_a):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "service", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "service"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        }
        first = _job("first")
        first["metadata"]["namespace"] = namespace
        site_a.apply(account, binding, first)
        yield site_a, namespace, until(partial(_ended_pod, site_a, namespace), "the first pod to end")


def _ended_pod(site: Site, namespace: str) -> str:
    """Return the first pod that has printed."""
    pods = site.get("pods", "-n", namespace, "-l", "rights=first")["items"]
    return next((pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Succeeded"), "")


def _grant(site: Site, namespace: str, without: tuple[str, str] | None = None) -> None:
    """Grant the Role without one right."""
    rules = []
    for rule in _role()["rules"]:
        (resource,) = rule["resources"]
        verbs = [verb for verb in rule["verbs"] if (resource, verb) != without]
        if verbs:
            rules.append({**rule, "verbs": verbs})
    metadata = {"name": "service", "namespace": namespace}
    site.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules})


def _asks(pod: str) -> dict[tuple[str, str], Ask]:
    """Return the requests by their right."""
    return {
        ("jobs", "create"): lambda cluster: cluster.create(_job("second")),
        ("jobs", "get"): lambda cluster: cluster.get("jobs", "first"),
        ("jobs", "list"): lambda cluster: cluster.all("jobs", "rights"),
        ("jobs", "watch"): lambda cluster: _watch(cluster, "jobs"),
        ("jobs", "delete"): lambda cluster: cluster.delete("second"),
        ("pods", "list"): lambda cluster: cluster.all("pods", "rights"),
        ("pods", "watch"): lambda cluster: _watch(cluster, "pods"),
        ("pods", "delete"): lambda cluster: cluster.delete_pod("nobody", "0"),
        ("pods/log", "get"): lambda cluster: _log(cluster, pod),
    }


def _answered(site: Site, namespace: str, ask: Ask) -> bool:
    async def asked() -> bool:
        kubeconfig = site.kubeconfig_for(ACCOUNT, namespace)
        cluster = Cluster(KubernetesSite(**settings_of(site, namespace=namespace, kubeconfig=str(kubeconfig))))
        try:
            await ask(cluster)
        except Exists:  # allowed, and done before
            return True
        except SiteDown as error:
            assert "lacks rights" in error.message, error.message
            return False
        finally:
            await cluster.close()
        return True

    return asyncio.run(asked())


def test_every_right_is_stated(place: tuple[Site, str, str]) -> None:
    """The table has exactly the Role's rights."""
    rights = {(resource, verb) for rule in _role()["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert rights == _asks("").keys()


@pytest.mark.parametrize("right", _asks("").keys(), ids="-".join)
def test_each_is_needed(place: tuple[Site, str, str], right: tuple[str, str]) -> None:
    """All together they do.

    Without this one its request is refused.
    """
    site, namespace, pod = place
    ask = _asks(pod)[right]
    _grant(site, namespace)
    until(lambda: _answered(site, namespace, ask), "the right to be there")  # the API server follows Roles by a watch
    _grant(site, namespace, without=right)
    until(lambda: not _answered(site, namespace, ask), "the right to be gone")

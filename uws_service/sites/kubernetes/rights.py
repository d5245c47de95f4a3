"""What the operator of a cluster has to make there for a site of the service. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from uws_service.sites.kind import Right
from uws_service.sites.kubernetes.settings import KubernetesSite

NAME = "uws-service"
RBAC = "rbac.authorization.k8s.io"
RULES: tuple[dict[str, Any], ...] = (
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete", "get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
)
"""What the service does in the namespace of the jobs, as in the chart's Role."""
QUEUE_RULES: tuple[dict[str, Any], ...] = (
    {"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["list", "watch"]},
    {"apiGroups": ["visibility.kueue.x-k8s.io"], "resources": ["localqueues/pendingworkloads"], "verbs": ["get"]},
)
CLUSTER_QUEUE = "astro"
"""Stands for the ClusterQueue, which is the operator's."""
_TOKEN = """\
# A token of that account, which the kubeconfig of the site has; renew it before it ends.
kubectl -n {namespace} create token {name} --duration 720h
"""


def rights(site: KubernetesSite) -> list[Right]:
    """Return the namespace, the accounts, the role and the queues, and a token for a service elsewhere."""
    applied = "kubectl apply -f -"
    sections = [Right(applied, yaml.safe_dump_all(documents(site), sort_keys=False))]
    if site.kubeconfig is not None:
        sections.append(Right("as an administrator", _TOKEN.format(namespace=site.namespace, name=NAME)))
    return sections


def documents(site: KubernetesSite) -> list[dict[str, Any]]:
    """Return the objects, in the order in which they are to be made."""
    metadata = {"name": NAME, "namespace": site.namespace}
    rules = [*RULES, *(QUEUE_RULES if site.queue else ())]
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": site.namespace, "labels": labels}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        },
    ]
    if site.service_account != "default":  # of the pods: it needs no rights at all
        pods = {"name": site.service_account, "namespace": site.namespace}
        objects.insert(
            2,
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": pods, "automountServiceAccountToken": False},
        )
    for queue in site.all_queues:
        objects.append(
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": "LocalQueue",
                "metadata": {"name": queue, "namespace": site.namespace},
                "spec": {"clusterQueue": CLUSTER_QUEUE},
            }
        )
    return objects

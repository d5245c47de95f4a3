"""Kueue at a site.

Its controller as a process of the site, with its own API extensions and webhooks.

The controller finds files at fixed places, so it runs in a folder of its own as the root; there it has a service
account's token where a pod would have it. The API server reaches its webhooks on the site's loopback interface, and its
list of pending workloads (who is waiting at which place) as an aggregated API at the site's address.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.rig import build
from tests.rig.cluster import Cluster
from tests.rig.components import Layout
from tests.rig.errors import ClusterError

NAME = "kueue"
NAMESPACE = "kueue-system"
ACCOUNT = "kueue-controller-manager"
WEBHOOKS = "https://127.0.0.1:9443"
READY = "http://127.0.0.1:8081/readyz"

# Kinds stored in an older version than they are served in: the controller converts them, or fields would be lost.
CONVERTED = {"clusterqueues", "cohorts", "localqueues", "workloads", "multikueueclusters"}
# Webhooks for kinds that these clusters have.
WATCHED = {"job", "workload", "clusterqueue", "resourceflavor", "cohort"}


def root(layout: Layout) -> Path:
    """Return the folder that the controller sees as the root."""
    return layout.folder / NAME


def command(layout: Layout) -> list[str]:
    """Return the controller's command line."""
    return ["chroot", str(root(layout)), f"/{NAME}", "--config=/config.json"]


def environment() -> dict[str, str]:
    """Return where a pod would find the API server."""
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def prepare(site: Cluster, layout: Layout) -> None:
    """Make what the controller needs before it starts."""
    program = build.ensure(NAME)[NAME]
    files = program.parent / "config" / "components"
    authority = Path(layout.certificate("ca.crt")).read_bytes()
    definitions = [
        convert(load(path.read_text()), authority) for path in sorted((files / "crd" / "bases").glob("*.yaml"))
    ]
    _apply_server_side(site, definitions)
    names = [f"crd/{definition['metadata']['name']}" for definition in definitions]
    site.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    site.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        },
    )
    _fill_root(site, layout, program, authority)


def _fill_root(site: Cluster, layout: Layout, program: Path, authority: bytes) -> None:
    top = root(layout)
    account = top / "var" / "run" / "secrets" / "kubernetes.io" / "serviceaccount"
    account.mkdir(parents=True, exist_ok=True)
    if not (top / NAME).exists():
        try:
            os.link(program, top / NAME)
        except OSError:  # another file system
            shutil.copy2(program, top / NAME)
    token = site.kubectl("create", "token", ACCOUNT, "-n", NAMESPACE, "--duration=720h")
    for name, content in (("token", token.encode()), ("ca.crt", authority), ("namespace", NAMESPACE.encode())):
        (account / name).write_bytes(content)
    (top / "tmp").mkdir(exist_ok=True)
    for folder in ("webhooks", "visibility", "etc/kueue/metrics/certs"):
        (top / folder).mkdir(parents=True, exist_ok=True)
        for suffix in ("crt", "key"):
            shutil.copyfile(layout.certificate(f"kueue.{suffix}"), top / folder / f"tls.{suffix}")
    (top / "config.json").write_text(json.dumps(configuration(), indent=1))


def configuration() -> dict[str, Any]:
    """Return the controller's configuration file."""
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": "127.0.0.1:8081"},
        "metrics": {"bindAddress": "127.0.0.1:8443"},
        "webhook": {"host": "127.0.0.1", "port": 9443, "certDir": "/webhooks"},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "clientConnection": {"qps": 200, "burst": 400},
        "integrations": {"frameworks": ["batch/job"]},
        # For cluster queues that ask for it: who has used less, for the weight of its local queue, comes first.
        "admissionFairSharing": {"usageHalfLifeTime": "1h", "usageSamplingInterval": "5m"},
    }


def finish(site: Cluster, layout: Layout) -> None:
    """Make what needs a controller that serves.

    The API server would refuse objects for want of an answer.
    """
    files = build.ensure(NAME)[NAME].parent / "config" / "components"
    authority = Path(layout.certificate("ca.crt")).read_bytes()
    documents = yaml.safe_load_all((files / "webhook" / "manifests.yaml").read_text())
    configurations = [webhooks(document, authority) for document in documents if document]
    services = [yaml.safe_load(path.read_text()) for path in sorted((files / "visibility").glob("apiservice_*.yaml"))]
    for service in services:
        service["spec"]["insecureSkipTLSVerify"] = False
        service["spec"]["caBundle"] = base64.b64encode(authority).decode()
    _apply_server_side(site, [*configurations, *services, *_visibility_service(layout)])


def _visibility_service(layout: Layout) -> list[dict[str, Any]]:
    """Return a Service without a selector, whose one endpoint is the controller."""
    metadata = {"name": "visibility-server", "namespace": NAMESPACE}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 8082}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "visibility-server"}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": 8082, "protocol": "TCP"}],
            "endpoints": [{"addresses": [layout.block.site], "conditions": {"ready": True}}],
        },
    ]


def load(text: str) -> Any:
    """Return a YAML document, read by the fast reader where there is one: the definitions are long."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def convert(definition: dict[str, Any], authority: bytes) -> dict[str, Any]:
    """Return a custom resource definition.

    Where versions differ, the controller beside the cluster converts.
    """
    conversion: dict[str, Any] = {"strategy": "None"}
    if definition["spec"]["names"]["plural"] in CONVERTED:
        client = {"url": f"{WEBHOOKS}/convert", "caBundle": base64.b64encode(authority).decode()}
        conversion = {
            "strategy": "Webhook",
            "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]},
        }
    definition["spec"]["conversion"] = conversion
    return definition


def webhooks(configuration: dict[str, Any], authority: bytes) -> dict[str, Any]:
    """Return a webhook configuration with the kinds that matter here, pointed at the controller beside the cluster."""
    watched = [webhook for webhook in configuration["webhooks"] if webhook["name"][1:].partition(".")[0] in WATCHED]
    if not watched:
        raise ClusterError("Kueue's webhook configuration names none of the expected kinds")
    for item in watched:
        path = item["clientConfig"]["service"]["path"]
        item["clientConfig"] = {"url": WEBHOOKS + path, "caBundle": base64.b64encode(authority).decode()}
    configuration["metadata"]["name"] = f"kueue-{configuration['metadata']['name']}"
    configuration["webhooks"] = watched
    return configuration


def _apply_server_side(site: Cluster, objects: list[dict[str, Any]]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    site.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)


def queue(name: str, namespace: str, *, cpu: int | str, memory: str = "64Gi", **spec: Any) -> list[dict[str, Any]]:
    """Return a local queue and its cluster queue.

    The latter has that much; ``spec`` adds to it.
    """
    version = "kueue.x-k8s.io/v1beta2"
    quota = [{"name": "cpu", "nominalQuota": cpu}, {"name": "memory", "nominalQuota": memory}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "default", "resources": quota}]}
    return [
        {"apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": "default"}},
        {
            "apiVersion": version,
            "kind": "ClusterQueue",
            "metadata": {"name": f"{namespace}-{name}"},
            "spec": {"namespaceSelector": {}, "resourceGroups": [group], **spec},
        },
        {
            "apiVersion": version,
            "kind": "LocalQueue",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterQueue": f"{namespace}-{name}"},
        },
    ]

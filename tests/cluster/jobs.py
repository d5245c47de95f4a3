"""Plain Jobs for the tests of the clusters themselves."""

from __future__ import annotations

from typing import Any

from tests.rig.cluster import Cluster
from tests.rig.processes import wait_for


def job(name: str, namespace: str, image: str, *command: str, pod: Any = None, **metadata: Any) -> dict[str, Any]:
    """Return a Job of one container that is tried once; ``pod`` adds to the pod's specification."""
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": list(command)}
    specification = {
        "restartPolicy": "Never",
        "containers": [container],
        "terminationGracePeriodSeconds": 1,
        **(pod or {}),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"backoffLimit": 0, "template": {"spec": specification}},
    }


def conditions(cluster: Cluster, kind: str, name: str, namespace: str) -> dict[str, str]:
    """Return the messages of conditions that hold."""
    listed = cluster.get(kind, name, "-n", namespace).get("status", {}).get("conditions", [])
    return {condition["type"]: condition.get("message", "") for condition in listed if condition["status"] == "True"}


def wait_complete(cluster: Cluster, name: str, namespace: str, timeout: float = 60) -> None:
    """Wait until a Job is complete.

    Fail at once when it has failed.
    """

    def failure() -> str:
        current = conditions(cluster, "job", name, namespace)
        return f"it failed: {current['Failed']}\n{log(cluster, name, namespace)}" if "Failed" in current else ""

    wait_for(
        f"job {name}",
        lambda: "Complete" in conditions(cluster, "job", name, namespace),
        timeout,
        every=0.2,
        unless=failure,
    )


def log(cluster: Cluster, name: str, namespace: str) -> str:
    """Return what a Job's container printed."""
    return cluster.kubectl("logs", f"job/{name}", "-n", namespace, check=False)

"""KWOK at a site.

Nodes that exist in the API server alone, whose pods run and succeed at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.rig import build
from tests.rig.components import Layout, as_flags

NAME = "kwok"
ANNOTATION = "kwok.x-k8s.io/node"
READY = "http://127.0.0.1:10247/healthz"

# How fake nodes and their pods live: KWOK's own stages, kept beside the program.
STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")

# Only pods that ask for a fake node, by this toleration, are put on one.
TAINT = {"key": ANNOTATION, "value": "fake", "effect": "NoSchedule"}
TOLERATION = {"key": ANNOTATION, "operator": "Exists", "effect": "NoSchedule"}


def command(layout: Layout) -> list[str]:
    """Return the controller's command line."""
    flags = {
        "kubeconfig": layout.folder / "kubeconfigs" / "admin",
        "config": layout.folder / "kwok.yaml",
        "node-lease-duration-seconds": 40,
        "manage-nodes-with-annotation-selector": f"{ANNOTATION}=fake",
        "server-address": "127.0.0.1:10247",
    }
    return [str(build.ensure(NAME)[NAME]), *as_flags(flags)]


def prepare(layout: Layout) -> None:
    """Write the stages that the controller reads."""
    top = build.ensure(NAME)[NAME].parent / "kustomize" / "stage"
    (layout.folder / "kwok.yaml").write_text("---\n".join(path.read_text() for path in stages(top)))


def stages(top: Path) -> list[Path]:
    """Return the files that the chosen folders of stages list."""
    selected = []
    for name in STAGES:
        listed = yaml.safe_load((top / name / "kustomization.yaml").read_text())["resources"]
        selected += [top / name / file for file in listed]
    return selected


def node(name: str, *, cpu: str = "64", memory: str = "256Gi", pods: str = "1000") -> dict[str, Any]:
    """Return a fake node.

    Pods get there with ``TOLERATION`` and, to get nowhere else, the node selector ``type: kwok``.
    """
    resources = {"cpu": cpu, "memory": memory, "pods": pods, "ephemeral-storage": "1Ti"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: "fake"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": resources, "capacity": resources},
    }

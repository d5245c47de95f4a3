"""What kubeconform is told of Kubernetes' kinds."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from tests.cluster.jobs import job
from tests.rig import build, kueue, schemas
from tests.rig.errors import ClusterError
from tests.tiers import require

JOB = job("x", "ns", "local/busybox:1", "true")


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    """Build all programs once."""
    require("go")
    build.ensure("kubernetes", "kueue", "kubeconform", "helm")


def test_right_manifests_pass() -> None:
    """Kinds of Kubernetes and of Kueue, quantities as numbers, empty fields, and a kind that describes other kinds."""
    manifest = job("x", "ns", "local/busybox:1", "true")
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"cpu": 1, "memory": "1Gi"}}
    container["livenessProbe"] = {"httpGet": {"path": "/", "port": "http"}}
    empty = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "annotations": None}}
    schemas.check(yaml.safe_dump_all([manifest, empty, *kueue.queue("main", "ns", cpu=1)]))
    definitions = build.ensure("kueue")["kueue"].parent / "config" / "components" / "crd" / "bases"
    schemas.check((definitions / "kueue.x-k8s.io_localqueues.yaml").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {**JOB["spec"], "backofLimit": 1}}, "backofLimit"),
        ({"spec": {**JOB["spec"], "backoffLimit": "one"}}, "integer"),
        ({"kind": "Jobs"}, "could not find schema"),
        ({"spec": {"suspend": True}}, "template"),
    ],
)
def test_wrong_manifests_do_not(change: dict[str, object], message: str) -> None:
    """An unknown field, a wrong type, an unknown kind, a missing field: each is named."""
    with pytest.raises(ClusterError, match=message):
        schemas.check(json.dumps({**JOB, **change}))


def test_helm_runs() -> None:
    """Helm is built when first wanted, and runs."""
    program = build.ensure("helm")["helm"]
    output = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=True).stdout
    assert output.startswith(f"v{build.TOOLS['helm'].version.split('.')[0]}.")
